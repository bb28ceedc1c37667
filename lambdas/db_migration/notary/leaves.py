"""The ledger as the log's leaves: its spans in commit order, each by the hash that its columns have now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, LiteralString
from uuid import UUID

import psycopg

from ledger.connection import Connection, Target, connect
from ledger.database import Identity, Row, raise_typed
from ledger.errors import InvalidInput
from ledger.proof import span_hash
from ledger.read import Cursor

from .settings import SealingRefused

PAGE: Final = 64  # what is in memory at once: a span may have 1 MB

# Only what no open transaction can still precede; earlier eras are whole.
_SPANS: Final[LiteralString] = """
SELECT id, seq, entity_type, who, did, this, at, parent_id, related_to, owner_id, tenant_id, visibility, status,
       is_deleted, name, description, code, language, runtime, input, output, error, metadata, duration_ms, trace_id,
       prev_hash, curr_hash, era, xid, position
  FROM ledger.universal_registry
 WHERE position >= 0 AND (era, xid, position) > (%s, %s::text::xid8, %s)
   AND (era, xid) < (ledger.current_era(), pg_snapshot_xmin(pg_current_snapshot()))
 ORDER BY era, xid, position LIMIT %s
"""
_BY_THE_INDEX: Final[LiteralString] = """
SELECT set_config('enable_seqscan', 'off', false), set_config('enable_bitmapscan', 'off', false)
"""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A span of the ledger: the log's entry for it, and where it stands."""

    entry: bytes
    entity_type: str
    cursor: Cursor
    id: UUID
    seq: int
    owner: Identity


def open_spans(target: Target) -> Connection:
    """A connection that reads along the index of the ledger's order. Raises LedgerUnavailable."""
    connection = connect(target)
    connection.execute(_BY_THE_INDEX)
    return connection


def leaves(connection: Connection, after: Cursor, limit: int) -> Iterator[Leaf]:
    """At most `limit` spans behind `after` in commit order, as far as that order is final.

    It reads page by page: a snapshot that is held for minutes keeps the vacuum from its work.

    Raises:
        SealingRefused: the columns of a span do not match its hash.
        LedgerError: the database's own.
    """
    while limit > 0:
        asked = min(limit, PAGE)
        rows = page(connection, after, asked)
        for row in rows:
            leaf = _leaf(row)
            after = leaf.cursor
            yield leaf
        if len(rows) < asked:
            return
        limit -= asked


def page(connection: Connection, after: Cursor, limit: int) -> list[Row]:
    """The next rows, as they are stored."""
    given = [after.era, str(after.xid), after.position, limit]
    try:
        return connection.execute(_SPANS, given, prepare=True).fetchall()
    except psycopg.Error as error:
        raise_typed(error)


def _leaf(row: dict[str, Any]) -> Leaf:
    try:
        computed = span_hash(row)
    except InvalidInput as error:
        raise _damaged(row, f"its columns cannot be hashed: {error.message}") from None
    if computed != row["curr_hash"]:
        raise _damaged(row, "its columns do not match its hash")
    place, owner = Cursor(row["era"], row["xid"], row["position"]), Identity(row["owner_id"], row["tenant_id"])
    return Leaf(bytes.fromhex(computed), row["entity_type"], place, row["id"], row["seq"], owner)


def _damaged(row: dict[str, Any], reason: str) -> SealingRefused:
    return SealingRefused(
        f"span {row['id']} seq {row['seq']} is not what was appended: {reason}. Nothing is sealed from there on;"
        " run `loglineos fsck`",
        span_id=str(row["id"]),
        seq=row["seq"],
    )
