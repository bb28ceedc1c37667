"""What a backup says about itself, and the chain that the backups of a folder form."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ledger.errors import InvalidInput
from ledger.read import Cursor
from ledger.span import COLUMNS, Hash, first_problem

from .errors import BackupDamaged, BackupFailed

FORMAT: Final = "loglineos-backup/1"
_NAME: Final = re.compile(r"(\d{4,})-(full|incremental)\.json")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Place(_Part):
    """A place in the ledger's order. `xid` is text, as everywhere in JSON: it has 64 bits."""

    era: int
    xid: str = Field(pattern=r"^\d{1,20}$")
    position: int

    @property
    def cursor(self) -> Cursor:
        """The same to compare with."""
        return Cursor(self.era, int(self.xid), self.position)

    @classmethod
    def of(cls, cursor: Cursor) -> Place:
        """The same to write down."""
        return cls(era=cursor.era, xid=str(cursor.xid), position=cursor.position)


class Newest(_Part):
    """The last span of the backup: by it an incremental backup knows the ledger again."""

    id: str
    seq: int
    curr_hash: Hash
    place: Place


class AppliedMigration(_Part):
    """A migration that the ledger had."""

    name: str
    sha256: Hash
    phase: Literal["pre", "post"]
    breaking: bool


class EraRow(_Part):
    """A row of `ledger_idx.era`."""

    era: int
    started_at: datetime
    reason: str


class KnownCheckpoint(_Part):
    """The newest checkpoint that the ledger knew: the root (hex) of its first `size` spans, in a signed note."""

    origin: str
    size: int = Field(ge=0)
    root: Hash
    note: str


class DataFile(_Part):
    """A file beside the manifest. `bytes` as it is, `raw_bytes` when decompressed."""

    name: str = Field(pattern=r"^\d{4,}-(full|incremental)\.spans\.zst$")
    bytes: int
    raw_bytes: int
    sha256: Hash


class Predecessor(_Part):
    """The manifest that came before, and the SHA-256 of its bytes."""

    name: str
    sha256: Hash


class Manifest(_Part):
    """One backup: the spans from `after` (exclusive) to `horizon`, below which everything was decided by then.

    `total` counts the spans of the folder up to here, `peaks` is the edge of the Merkle tree over their hashes (hex),
    `digest` the SHA-256 over this part's 32-byte hashes in order. `taken_at` is the database's clock.
    """

    format: Literal["loglineos-backup/1"] = FORMAT
    number: int = Field(ge=0)
    kind: Literal["full", "incremental"]
    taken_at: datetime
    release: str
    postgresql: str
    after: Place
    horizon: Place
    count: int = Field(ge=0)
    total: int = Field(ge=0)
    newest: Newest | None
    digest: Hash
    peaks: list[Hash]
    migrations: list[AppliedMigration]
    eras: list[EraRow]
    checkpoint: KnownCheckpoint | None
    columns: list[str]
    file: DataFile
    predecessor: Predecessor | None

    @property
    def name(self) -> str:
        """The name of its own file."""
        return manifest_name(self.number, self.kind)


@dataclass(frozen=True)
class Backup:
    """A manifest as it lies in a folder."""

    manifest: Manifest
    sha256: str


def manifest_name(number: int, kind: str) -> str:
    """`0001-incremental.json`; the number has more digits from 10,000 on."""
    return f"{number:04}-{kind}.json"


def manifests_in(folder: Path) -> list[str]:
    """The names of the manifests in a folder, which need not be whole, in the order of their numbers."""
    names = [path.name for path in folder.glob("*.json") if _NAME.fullmatch(path.name)] if folder.is_dir() else []
    return sorted(names, key=lambda name: (int(name.partition("-")[0]), name))


def read_chain(folder: Path) -> list[Backup]:
    """The backups of a folder, the full one first.

    Raises:
        BackupFailed: there is none.
        BackupDamaged: names the manifest that is missing, not one, or not the one that the next one follows.
    """
    if not folder.is_dir():
        raise BackupFailed(f"there is no folder {folder}: name the one that `loglineos backup` wrote")
    names = manifests_in(folder)
    if not names:
        raise BackupFailed(f"there is no backup in {folder}: name the folder that `loglineos backup` wrote")
    chain: list[Backup] = []
    for name in names:
        backup = _read(folder / name)
        _require_next(backup.manifest, name, chain[-1] if chain else None, len(chain))
        chain.append(backup)
    return chain


def _read(path: Path) -> Backup:
    data = path.read_bytes()
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        problem: InvalidInput = first_problem(error, "", tuple(Manifest.model_fields))
        raise BackupDamaged(path.name, f"it is no manifest of this release: {problem.message}") from None
    unknown = [column for column in manifest.columns if column not in COLUMNS]
    if unknown:
        raise BackupDamaged(path.name, f"this release knows no column {unknown[0]}: use the release that made it")
    return Backup(manifest, hashlib.sha256(data).hexdigest())


def _require_next(manifest: Manifest, name: str, before: Backup | None, number: int) -> None:
    if manifest.number > number and name == manifest.name:
        raise BackupDamaged(
            manifest_name(number, "incremental" if number else "full"), "it is missing, and later backups need it"
        )
    if name != manifest.name or manifest.number != number or (manifest.kind == "full") != (number == 0):
        raise BackupDamaged(name, f"this is backup {manifest.number} ({manifest.kind}): it does not belong here")
    if manifest.file.name != f"{name.removesuffix('.json')}.spans.zst":
        raise BackupDamaged(name, f"it names the file of another backup, {manifest.file.name}")
    found = manifest.predecessor
    expected = Predecessor(name=before.manifest.name, sha256=before.sha256) if before else None
    if found != expected or (before and manifest.after != before.manifest.horizon):
        follows = before.manifest.name if before else "nothing"
        raise BackupDamaged(name, f"it does not follow {follows} as that is here: one of them was changed or swapped")
