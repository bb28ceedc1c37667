"""Follow the ledger in commit order: first where spans stand, which is cheap, then the spans themselves.

What is read is complete: it stops below the oldest open transaction, which may yet commit an earlier span.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, LiteralString
from uuid import UUID

from .database import Identity, Queries, Row
from .read import Cursor, span_of
from .span import Span

_OF_ALL: Final[LiteralString] = "SELECT * FROM ledger.committed_after(%s, %s::text::xid8, %s, %s, %s, %s)"
_OF_ONE: Final[LiteralString] = """
SELECT id, seq, owner_id, tenant_id, era, xid, position, entity_type = ANY(%s) AS matched
FROM ledger.timeline(true, %s, %s::text::xid8, %s, %s, %s) ORDER BY era, xid, position
"""
_SPANS: Final[LiteralString] = """
SELECT * FROM ledger.universal_registry r JOIN unnest(%s::uuid[], %s::int[]) AS given (id, seq) USING (id, seq)
"""


@dataclass(frozen=True)
class Place:
    """Where a span stands and whose it is."""

    id: UUID
    seq: int
    owner_id: str
    tenant_id: str | None
    cursor: Cursor


@dataclass(frozen=True)
class Stretch:
    """A stretch of the ledger: the places that were looked for, where it ends, and whether there may be more."""

    places: list[Place]
    end: Cursor
    more: bool


def stretch_of_all(database: Queries, after: Cursor, types: Sequence[str], *, scan: int, limit: int) -> Stretch:
    """At most `limit` spans of these types, of every tenant, among the next `scan` of the ledger.

    The places alone: what stands there is read with the rights of its owner (`spans_at`).
    """
    given = [after.era, str(after.xid), after.position, list(types), scan, limit]
    rows = database.query(None, _OF_ALL, given)
    return _stretch(rows, after, limit, more=bool(rows) and rows[-1]["scanned"] == scan)


def stretch_of(
    database: Queries, identity: Identity, after: Cursor, types: Sequence[str], *, scan: int, limit: int
) -> Stretch:
    """The same among the next `scan` spans (at most 1,000) that the identity may see."""
    only = types[0] if len(types) == 1 else None
    given = [list(types), after.era, str(after.xid), after.position, scan, only]
    rows = database.query(identity, _OF_ONE, given)
    return _stretch(rows, after, limit, more=len(rows) == scan)


def _stretch(rows: Sequence[Row], after: Cursor, limit: int, *, more: bool) -> Stretch:
    places = [
        Place(row["id"], row["seq"], row["owner_id"], row["tenant_id"], _cursor(row)) for row in rows if row["matched"]
    ]
    if len(places) >= limit:
        return Stretch(places[:limit], places[limit - 1].cursor, more=True)
    return Stretch(places, _cursor(rows[-1]) if rows else after, more)


def _cursor(row: Row) -> Cursor:
    return Cursor(row["era"], row["xid"], row["position"])


def spans_at(database: Queries, identity: Identity, places: Sequence[Place]) -> dict[tuple[UUID, int], Span]:
    """The spans at these places by id and seq, as far as the identity may see them."""
    given = [[place.id for place in places], [place.seq for place in places]]
    return {(row["id"], row["seq"]): span_of(row) for row in database.query(identity, _SPANS, given)}
