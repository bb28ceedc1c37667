"""A span as a row of the archive: the values that its file holds, and what is recomputed from them.

Everything is kept without loss: ids as text, JSON as PostgreSQL's own text of it, times as whole microseconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ledger.connection import read_json
from ledger.errors import InvalidInput, LedgerError
from ledger.read import BEGINNING, Cursor
from ledger.span import (
    ASSIGNED_COLUMNS,
    COLUMNS,
    HASHED_COLUMNS,
    JSON_COLUMNS,
    canonical_span,
    format_instant,
)

Row = Sequence[Any]  # values in the order of COLUMNS

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PLACE: Final = {name: number for number, name in enumerate(COLUMNS)}
_HASHED: Final = tuple((name, _PLACE[name]) for name in HASHED_COLUMNS)
_HASH, _ERA, _XID, _POSITION = (_PLACE[name] for name in ("curr_hash", *ASSIGNED_COLUMNS))


class ArchiveRefused(LedgerError):
    """A span, a file or the log is not what it has to be, so nothing is recorded as archived from there on."""

    code = "archive_refused"


def cursor_of(row: Row) -> Cursor:
    """Where the span stands in the ledger."""
    return Cursor(row[_ERA], int(row[_XID]), row[_POSITION])


def hash_of(row: Row) -> bytes:
    """The 32 bytes of the span's hash, recomputed from its columns. Raises InvalidInput: they have none."""
    values: dict[str, Any] = {name: row[place] for name, place in _HASHED}
    try:
        values["at"] = format_instant(EPOCH + timedelta(microseconds=values["at"]))
    except OverflowError:
        raise InvalidInput("at", "a time in the years 1 to 9999") from None
    for name in JSON_COLUMNS:
        if values[name] is not None:
            values[name] = read_json(values[name])
    return hashlib.sha256(canonical_span(values)).digest()


@dataclass
class Spans:
    """What a run of spans comes to, told one row after the other from a ledger or from a file: two that are equal
    were made of the same spans, in the same order, to the last column."""

    end: Cursor = BEGINNING
    hashes: bytearray = field(default_factory=bytearray)
    _rows: Any = field(default_factory=hashlib.sha256)

    def add(self, row: Row, where: str) -> None:
        """Tell of the next one. Raises ArchiveRefused: its columns do not match its hash, or it is out of order."""
        name = f"span {row[0]} seq {row[1]}, in {where}"
        try:
            computed = hash_of(row)
        except (InvalidInput, ValueError) as error:
            raise ArchiveRefused(f"{name}: its columns cannot be hashed: {error}", **_of(row)) from None
        if computed.hex() != row[_HASH]:
            raise ArchiveRefused(f"{name}: its columns do not match its hash; run `loglineos fsck`", **_of(row))
        place = cursor_of(row)
        if place <= self.end:
            raise ArchiveRefused(f"{name}: it stands before the one ahead of it", **_of(row))
        self.end = place
        self.hashes += computed
        self._rows.update(repr(tuple(row)).encode())

    @property
    def count(self) -> int:
        """How many they are."""
        return len(self.hashes) // 32

    def hash(self, number: int) -> bytes:
        """Of one of them, counted from 0."""
        return bytes(self.hashes[32 * number : 32 * number + 32])

    @property
    def digest(self) -> str:
        """SHA-256, in hex, over their 32-byte hashes in order."""
        return hashlib.sha256(self.hashes).hexdigest()

    def same_as(self, other: Spans) -> bool:
        """Also in the columns that no hash covers, and in how JSON is written?"""
        return self.hashes == other.hashes and self._rows.digest() == other._rows.digest()


def _of(row: Row) -> dict[str, Any]:
    return {"span_id": str(row[0]), "seq": row[1]}
