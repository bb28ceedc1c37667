"""Read spans under the caller's rights: the latest version, all versions, pages of the timeline."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString
from uuid import UUID

from .database import Identity, Queries, Row
from .errors import InvalidInput
from .span import COLUMNS, Span

MAX_PAGE = 1000

# A newer version may be hidden from the caller (made private): then an older one must not pass for the latest.
_LATEST: Final[LiteralString] = """
SELECT * FROM (
  SELECT DISTINCT ON (id) * FROM ledger.universal_registry WHERE id = ANY(%s) ORDER BY id, seq DESC
) head WHERE ledger.is_latest(id, seq)
"""
_VERSIONS: Final[LiteralString] = "SELECT * FROM ledger.universal_registry WHERE id = %s ORDER BY seq"
_PAGE: Final[LiteralString] = "SELECT * FROM ledger.timeline(%s, %s, %s::text::xid8, %s, %s, %s)"
_PAGE_WITH_LATEST: Final[LiteralString] = """
SELECT *, ledger.is_latest(id, seq) AS is_latest FROM ledger.timeline(%s, %s, %s::text::xid8, %s, %s, %s)
"""


@dataclass(frozen=True, order=True)
class Cursor:
    """A place in the ledger's order. As text it is opaque to callers."""

    era: int
    xid: int
    position: int

    def __str__(self) -> str:
        text = f"{self.era}.{self.xid}.{self.position}"
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str, field: str = "cursor") -> Cursor:
        """The cursor that an earlier page gave. Raises InvalidInput for anything else."""
        try:
            raw = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4)).decode("ascii")
            era, xid, position = (int(part) for part in raw.split("."))
        except ValueError:
            raise InvalidInput(field, "a cursor that an earlier page gave") from None
        if not (0 <= era < 2**31 and 0 <= xid < 2**64 and 0 <= position < 2**63):
            raise InvalidInput(field, "a cursor that an earlier page gave")
        return cls(era, xid, position)


BEGINNING = Cursor(0, 0, 0)
END = Cursor(2**31 - 1, 2**64 - 1, 2**63 - 1)


@dataclass(frozen=True)
class Page:
    """Spans of the timeline and where to go on: backwards from `before`, or forwards from `after`."""

    spans: list[Span]
    cursor: Cursor


def span_of(row: dict[str, Any]) -> Span:
    """A span from a stored row. Its values are as stored: `proof.verify` says whether to believe them."""
    return Span.model_construct(**{name: row[name] for name in COLUMNS})


def cursor_of(span: Span) -> Cursor:
    """Where a stored span stands in the ledger's order."""
    return Cursor(span.era or 0, span.xid or 0, span.position or 0)


def latest(database: Queries, identity: Identity, ids: Sequence[UUID]) -> dict[UUID, Span]:
    """The latest version of each id; ids whose latest version the identity may not see are left out."""
    rows = database.query(identity, _LATEST, [list(ids)])
    return {row["id"]: span_of(row) for row in rows}


def versions(database: Queries, identity: Identity, span_id: UUID) -> list[Span]:
    """All versions of a span that the identity may see, oldest first, deleted ones included."""
    return [span_of(row) for row in database.query(identity, _VERSIONS, [span_id])]


def newest_page(
    database: Queries,
    identity: Identity,
    *,
    before: Cursor = END,
    limit: int = 50,
    entity_type: str | None = None,
) -> Page:
    """A page of the timeline, newest first. Its cursor leads to the next older one."""
    return _page(database, identity, False, before, limit, entity_type)


def newest_latest(
    database: Queries, identity: Identity, *, before: Cursor = END, limit: int = 50, entity_type: str | None = None
) -> Page:
    """`newest_page` without what has a later version, be it a tombstone or hidden. It may be empty before the end is
    reached: at the end its cursor is `before`."""
    rows = _rows(database, identity, _PAGE_WITH_LATEST, False, before, limit, entity_type)
    spans = [span_of(row) for row in rows if row["is_latest"]]
    return Page(spans, cursor_of(span_of(rows[-1])) if rows else before)


def next_page(
    database: Queries, identity: Identity, *, after: Cursor, limit: int = 50, entity_type: str | None = None
) -> Page:
    """What was committed after the cursor, in commit order, missing and repeating nothing.

    It stops below the oldest transaction that is still open, since that one may yet commit an earlier span.
    """
    return _page(database, identity, True, after, limit, entity_type)


def _page(
    database: Queries, identity: Identity, forward: bool, cursor: Cursor, limit: int, entity_type: str | None
) -> Page:
    rows = _rows(database, identity, _PAGE, forward, cursor, limit, entity_type)
    spans = [span_of(row) for row in rows]
    return Page(spans, cursor_of(spans[-1]) if spans else cursor)


def _rows(
    database: Queries,
    identity: Identity,
    statement: LiteralString,
    forward: bool,
    cursor: Cursor,
    limit: int,
    entity_type: str | None,
) -> list[Row]:
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidInput("limit", f"a number from 1 to {MAX_PAGE}")
    place = (cursor.era, str(cursor.xid), cursor.position)
    return database.query(identity, statement, [forward, *place, limit, entity_type])
