"""The files of `row/`: signed and checked without a ledger, and the manifest's next version."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from nacl.signing import SigningKey

from db_migration.rows import read_rows
from ledger.errors import InvalidInput, VerificationFailed
from ledger.ids import MANIFEST_ID
from ledger.keys import Announced, KeyRing, announced_keys, earliest
from ledger.proof import seal, signature_matches
from ledger.span import Span

ROWS = Path(__file__).resolve().parents[1] / "row"
Version = tuple[UUID, int]


@dataclass(frozen=True)
class Checked:
    """A row, and why it would not be seeded: None where it would."""

    place: str
    span: Span
    problem: str | None


def chain(directory: Path) -> dict[Version, Span]:
    """Every version with the hashes that it will have in a ledger, and the signature that its line gives it.

    Raises:
        InvalidInput: names file, line and field.
    """
    sealed: dict[Version, Span] = {}
    for versions in read_rows(directory).values():
        before: Span | None = None
        for row in versions:
            linked = seal(row.with_values(prev_hash=before.curr_hash if before else None), None)
            before = linked.with_values(signature=row.signature, public_key=row.public_key)
            sealed[row.id, row.seq] = before
    return sealed


def sign_rows(paths: Iterable[Path], key: SigningKey, *, again: bool) -> list[tuple[str, Span, bool]]:
    """Sign the lines of files, or of all files of folders; `again`: those too that are signed already.

    Returns:
        Of each row its place, the row, and whether it was signed now.

    Raises:
        InvalidInput: a line is no row, or its signature is wrong.
    """
    done: list[tuple[str, Span, bool]] = []
    for directory, files in map(_folder_of, paths):
        sealed = chain(directory)
        for file in files:
            lines: list[str] = []
            for place, line, span in _lines(file, sealed):
                fresh = span is not None and (again or span.signature is None)
                if span is not None:
                    span = seal(span, key) if fresh else _require_right(span, place)
                    done.append((place, span, fresh))
                lines.append(_with_signature(line, span) if fresh and span is not None else line)
            _replace(file, lines)
    return done


def check_rows(paths: Sequence[Path], trusted: frozenset[str]) -> list[Checked]:
    """Would a new ledger that trusts these keys, and those that its manifest then announces, take the rows?"""
    checked: list[Checked] = []
    for directory, files in map(_folder_of, paths):
        sealed = chain(directory)
        ring = KeyRing.build({"row": trusted}, [span for span in sealed.values() if span.id == MANIFEST_ID])
        unheard = {version.seq: version.reason for version in ring.unheard}
        for file in files:
            for place, _, span in _lines(file, sealed):
                if span is not None:
                    said = unheard.get(span.seq) if span.id == MANIFEST_ID else None
                    checked.append(Checked(place, span, said or _problem(span, ring)))
    return checked


def manifest_keys(directory: Path) -> tuple[int, list[Announced]]:
    """The newest manifest's seq, and what it and those before it say of keys. Raises InvalidInput."""
    versions = read_rows(directory).get(MANIFEST_ID, [])
    if not versions:
        raise InvalidInput(str(directory), "expected the rows of a release, the manifest among them")
    keys: list[Announced] = []
    for version in versions:
        keys = merged(keys, announced_keys(version.metadata, f"manifest seq {version.seq}: metadata"))
    return versions[-1].seq, keys


def merged(known: Sequence[Announced], said: Sequence[Announced]) -> list[Announced]:
    """Both, each key once; of two retirements the earlier."""
    by_key = {entry.public_key: entry for entry in known}
    for entry in said:
        before = by_key.get(entry.public_key, entry)
        retired = earliest(before.retired_at, entry.retired_at)
        by_key[entry.public_key] = before.model_copy(update={"retired_at": retired})
    return list(by_key.values())


def add_manifest(directory: Path, keys: Sequence[Announced], signer: SigningKey | None) -> tuple[Path, Span]:
    """Write the manifest's next version, which says this of keys and nothing else that is new, and sign it.

    Returns:
        The file that has it now, and the version.
    """
    seq, known = manifest_keys(directory)
    file, head = _line_of(directory, seq)
    line = _following(json.loads(head), [entry.as_json() for entry in merged(known, keys)])
    lines = file.read_text(encoding="utf-8").splitlines()
    _replace(file, [*lines, line])
    added = chain(directory)[MANIFEST_ID, seq + 1]
    if signer is not None:
        added = seal(added, signer)
        _replace(file, [*lines, _with_signature(line, added)])
    return file, added


def _line_of(directory: Path, seq: int) -> tuple[Path, str]:
    """Where a version of the manifest stands."""
    sealed = chain(directory)
    for file in sorted(directory.rglob("*.ndjson")):
        for _, line, span in _lines(file, sealed):
            if span is not None and (span.id, span.seq) == (MANIFEST_ID, seq):
                return file, line
    raise AssertionError("the manifest was read from one of these files")


def _following(values: dict[str, Any], entries: Sequence[dict[str, Any]]) -> str:
    kept = {name: value for name, value in values.items() if name not in ("signature", "public_key", "prev_hash")}
    metadata = {**kept["metadata"], "keys": list(entries)}
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return json.dumps({**kept, "seq": kept["seq"] + 1, "at": now, "metadata": metadata}, ensure_ascii=False)


def _folder_of(path: Path) -> tuple[Path, list[Path]]:
    """The folder within which all versions of a row are, and the files that are meant."""
    if path.is_dir():
        return path, sorted(path.rglob("*.ndjson"))
    return path.parent, [path]


def _lines(file: Path, sealed: dict[Version, Span]) -> Iterator[tuple[str, str, Span | None]]:
    """Place, text and row of each line; None is an empty one."""
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        values = json.loads(line) if line.strip() else None
        span = sealed[UUID(values["id"]), values.get("seq", 0)] if values else None
        yield f"{file} line {number}", line, span


def _require_right(span: Span, place: str) -> Span:
    if not signature_matches(span.curr_hash or "", span.signature or "", span.public_key or ""):
        raise InvalidInput(f"{place}.signature", "is not of this row: `keys sign --again` signs it anew")
    return span


def _problem(span: Span, ring: KeyRing) -> str | None:
    try:
        ring.verify(span, "row")
    except VerificationFailed as error:
        return error.reason
    return None


def _with_signature(line: str, span: Span) -> str:
    values = {**json.loads(line), "signature": span.signature, "public_key": span.public_key}
    return json.dumps(values, ensure_ascii=False)


def _replace(file: Path, lines: Sequence[str]) -> None:
    """Whole or not at all, and only if something changed."""
    text = "".join(f"{line}\n" for line in lines)
    if text != file.read_text(encoding="utf-8"):
        draft = file.with_name(f".{file.name}.draft")
        draft.write_text(text, encoding="utf-8")
        draft.replace(file)
