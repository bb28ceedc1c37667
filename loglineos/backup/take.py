"""Take a backup: one snapshot of the ledger, streamed into a file."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg

from ledger.connection import Target, connect
from ledger.read import BEGINNING
from ledger.span import COLUMNS
from loglineos import __version__

from .errors import BackupDamaged, BackupFailed
from .files import SpanFile, write_manifest
from .manifest import Backup, Manifest, Newest, Place, Predecessor, manifest_name, manifests_in, read_chain
from .snapshot import Snapshot
from .target import raise_clear
from .tree import Edge

_TELL_EVERY: Final = 1000


@dataclass(frozen=True)
class Taken:
    """A backup that was made. `waiting`: spans that were committed, but stand above a transaction still open."""

    manifest: Manifest
    sha256: str
    waiting: int


def take_backup(folder: Path, target: Target, *, incremental: bool, tell: Callable[[int, int], None]) -> Taken:
    """Write a full backup into a new folder, or what was committed since the last one there.

    Args:
        folder: made, for its owner alone, where it is missing.
        target: a login that is a member of `admin`.
        tell: is told how many spans are written, and of about how many.

    Raises:
        BackupFailed: the folder has a full backup already, or none; the ledger is not the one that it is of.
        BackupDamaged: the backup that an incremental one would follow is not whole.
        LedgerUnavailable, QueryFailed
    """
    if incremental:
        read_chain(folder)  # before anything is made there
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with only_writer(folder):
        before = _chain(folder, incremental)
        connection = connect(target)
        try:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            with connection.transaction():
                return _write(Snapshot(connection), folder, before, tell)
        except psycopg.Error as error:
            raise_clear(error)
        finally:
            connection.close()


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold the folder. Raises BackupFailed where another one does."""
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BackupFailed(
            f"another backup is being written to {folder}: wait for it, or take another folder"
        ) from None
    else:
        yield
    finally:
        os.close(descriptor)


def _chain(folder: Path, incremental: bool) -> list[Backup]:
    """The backups that the new one follows."""
    if not incremental and manifests_in(folder):
        raise BackupFailed(f"{folder} has a backup already: add to it with --incremental, or name a new folder")
    chain = read_chain(folder) if incremental else []
    for backup in chain:
        file = backup.manifest.file
        path = folder / file.name
        if not path.is_file() or path.stat().st_size != file.bytes:
            raise BackupDamaged(file.name, "it is missing or was changed: make a full backup in a new folder")
    return chain


def _write(snapshot: Snapshot, folder: Path, before: list[Backup], tell: Callable[[int, int], None]) -> Taken:
    last = before[-1].manifest if before else None
    if last:
        snapshot.require_same_ledger([backup.manifest for backup in before])
    after = last.horizon.cursor if last else BEGINNING
    expected = snapshot.count(after) if last else snapshot.estimate
    name = manifest_name(len(before), "incremental" if last else "full")
    passing = _Passing(last)
    with SpanFile(folder / name.replace(".json", ".spans.zst")) as file:
        for line in snapshot.lines(after):
            file.write(line)
            passing.see(line)
            if passing.count % _TELL_EVERY == 0:
                tell(passing.count, max(passing.count, expected))
        manifest = Manifest(
            number=len(before),
            kind="incremental" if last else "full",
            taken_at=snapshot.taken_at,
            release=__version__,
            postgresql=snapshot.postgresql,
            after=Place.of(after),
            horizon=Place.of(snapshot.horizon),
            count=passing.count,
            total=passing.edge.size,
            newest=passing.newest(),
            digest=passing.digest.hexdigest(),
            peaks=[peak.hex() for peak in passing.edge.peaks],
            migrations=snapshot.migrations(),
            eras=snapshot.eras(),
            checkpoint=snapshot.checkpoint(),
            columns=list(COLUMNS),
            file=file.finish(),
            predecessor=Predecessor(name=last.name, sha256=before[-1].sha256) if last else None,
        )
    text = manifest.model_dump_json(indent=2) + "\n"
    write_manifest(folder / name, text)
    return Taken(manifest, hashlib.sha256(text.encode()).hexdigest(), snapshot.count_waiting())


class _Passing:
    """What the manifest says of the spans that pass by."""

    def __init__(self, last: Manifest | None) -> None:
        self.count, self.digest = 0, hashlib.sha256()
        self.edge = Edge(last.total, [bytes.fromhex(peak) for peak in last.peaks]) if last else Edge()
        self._newest_before, self._line = last.newest if last else None, b""

    def see(self, line: bytes) -> None:
        """One more span. Its hash is taken as it stands: `backup verify` and `restore` compute it."""
        digest = bytes.fromhex(line.rsplit(b"\t", 6)[1].decode())
        self.count += 1
        self.digest.update(digest)
        self.edge.add(digest)
        self._line = line

    def newest(self) -> Newest | None:
        """The last of them, or of the backups before."""
        if not self._line:
            return self._newest_before
        span_id, seq = self._line.split(b"\t", 2)[:2]
        _, curr_hash, _, _, era, xid, position = (field.decode() for field in self._line.rstrip().rsplit(b"\t", 6))
        place = Place(era=int(era), xid=xid, position=int(position))
        return Newest(id=span_id.decode(), seq=int(seq), curr_hash=curr_hash, place=place)
