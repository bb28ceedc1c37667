"""What the ledger says of its own archive: checkpoints that are old enough, and `archive` spans."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, LiteralString

from ledger.append import append
from ledger.database import Database, Identity
from ledger.errors import VerificationFailed
from ledger.ids import MANIFEST_ID, derived_id
from ledger.read import BEGINNING, Cursor, latest, span_of, versions
from ledger.span import Span, parse_span

from ..notary.settings import Settings
from .columns import ArchiveRefused, Spans

ARCHIVIST: Final = Identity("archivist", "system")

_FIRST_COVERING: Final[LiteralString] = """
SELECT * FROM ledger.universal_registry
 WHERE id = %s AND at <= %s AND (metadata ->> 'size')::bigint > %s ORDER BY seq LIMIT 1
"""
_LAST_OF_MONTH: Final[LiteralString] = """
SELECT * FROM ledger.universal_registry
 WHERE id = %s AND at <= %s AND date_trunc('month', at) = date_trunc('month', %s::timestamptz)
 ORDER BY seq DESC LIMIT 1
"""
_LAST: Final[LiteralString] = """
SELECT * FROM ledger.universal_registry WHERE id = %s AND at <= %s ORDER BY seq DESC LIMIT 1
"""
_ERA: Final[LiteralString] = "SELECT ledger.current_era() AS era"


@dataclass(frozen=True)
class Checkpoint:
    """That the first `size` spans, the last of which stands at `end`, were committed before `at`."""

    size: int
    end: Cursor
    at: datetime
    span: Span

    @property
    def month(self) -> str:
        """In which its spans are archived: YYYY-MM, UTC."""
        return self.at.astimezone(UTC).strftime("%Y-%m")


@dataclass(frozen=True)
class Stored:
    """A file of a range: its name in storage, its spans, its size in bytes, its SHA-256 in hex."""

    name: str
    count: int
    bytes: int
    sha256: str


class Record:
    """The archive's spans of one log."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database, self.origin, self._key = database, settings.origin, settings.key
        self._advice = settings.advice
        self._ring = settings.keys(versions(database, ARCHIVIST, MANIFEST_ID))
        self._checkpoints, self._id = derived_id("checkpoint", self.origin), derived_id("archive", self.origin)
        self._last: Span | None = latest(database, ARCHIVIST, [self._id]).get(self._id)
        if self._last is not None:
            self._prove(self._last)

    @property
    def archived(self) -> int:
        """How many spans are archived: the index at which the next range begins."""
        return int((self._last.metadata or {})["to"]) if self._last else 0

    @property
    def end(self) -> Cursor:
        """Where the last of them stands."""
        return Cursor.parse((self._last.metadata or {})["end"]) if self._last else BEGINNING

    def covering(self, before: datetime) -> tuple[Checkpoint, Checkpoint] | None:
        """The first checkpoint, of those until `before`, which has the next span to archive, and the last one of the
        same month. None: there is nothing to archive."""
        first = self._checkpoint(_FIRST_COVERING, [self._checkpoints, before, self.archived])
        last = first and self._checkpoint(_LAST_OF_MONTH, [self._checkpoints, before, first.at])
        return (first, last) if first and last else None

    def sealing(self, count: int) -> Checkpoint | None:
        """The first checkpoint, however young, that has so many spans."""
        return self._checkpoint(_FIRST_COVERING, [self._checkpoints, datetime.now(UTC), count - 1])

    def sealed(self, before: datetime) -> int:
        """How many spans there are that may be archived, or are."""
        last = self._checkpoint(_LAST, [self._checkpoints, before])
        return last.size if last else 0

    def _checkpoint(self, statement: LiteralString, parameters: list[Any]) -> Checkpoint | None:
        rows = self._database.query(ARCHIVIST, statement, parameters)
        if not rows:
            return None
        span = span_of(rows[0])
        self._prove(span)
        metadata = span.metadata or {}
        return Checkpoint(int(metadata["size"]), Cursor.parse(metadata["end"]), span.at, span)

    def era(self) -> int:
        """In which the ledger is."""
        return int(self._database.query(ARCHIVIST, _ERA)[0]["era"])

    def add(self, spans: Spans, files: list[Stored], checkpoint: Checkpoint) -> Span:
        """Append the span that says: these are archived."""
        begin, last = self.archived, self._last
        span = parse_span(
            {
                "id": self._id,
                "seq": last.seq + 1 if last else 0,
                "prev_hash": last.curr_hash if last else None,
                "entity_type": "archive",
                "who": "archivist",
                "did": "archived",
                "this": "ledger",
                "at": datetime.now(UTC),
                "owner_id": ARCHIVIST.user_id,
                "tenant_id": ARCHIVIST.tenant_id,
                "visibility": "tenant",
                "status": "active",
                "metadata": {
                    "origin": self.origin,
                    "from": begin,
                    "to": begin + spans.count,
                    "end": str(spans.end),
                    "count": spans.count,
                    "digest": spans.digest,
                    "files": [vars(file) for file in files],
                    "checkpoint_size": checkpoint.size,
                },
            }
        )
        self._last = append(self._database, ARCHIVIST, [span], self._key)[0].span
        return self._last

    def _prove(self, span: Span) -> None:
        """What the archive goes by is as it was written, and signed by a key that counts. Raises ArchiveRefused."""
        try:
            self._ring.verify(span, "checkpoint")
        except VerificationFailed as error:
            raise ArchiveRefused(
                f"{span.entity_type} span {span.id} seq {span.seq} cannot be gone by: {error.reason}."
                f" {self._advice(self._ring, span)}",
                span_id=str(span.id),
                seq=span.seq,
            ) from None
