"""Read the ledger for its archive: all spans, in its order, as rows that go into a file without loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, LiteralString

import psycopg

from ledger.connection import Connection
from ledger.database import raise_typed
from ledger.read import Cursor
from ledger.span import COLUMNS

from .columns import Row, cursor_of

PAGE: Final = 5_000

# Page by page, so that no snapshot is held for minutes: on the primary it would keep the queue's dead rows, and a
# replica cancels what is in the way of its replay. COPY, because a page of it is in memory nowhere.
_ROWS: Final[LiteralString] = """
COPY (
  SELECT id::text, seq, entity_type, who, did, this, (extract(epoch FROM at) * 1000000)::bigint, parent_id::text,
         related_to::text[], owner_id, tenant_id, visibility, status, is_deleted, name, description, code, language,
         runtime, input::text, output::text, error::text, metadata::text, duration_ms, trace_id, prev_hash, curr_hash,
         signature, public_key, era, xid::text, position
    FROM ledger.universal_registry r
   WHERE r.position >= 0 AND (r.era, r.xid, r.position) > (%s, %s::text::xid8, %s)
     AND (r.era, r.xid, r.position) <= (%s, %s::text::xid8, %s)
   ORDER BY r.era, r.xid, r.position LIMIT %s
) TO STDOUT (FORMAT BINARY)
"""
_INTEGERS: Final = {"seq": "int4", "at": "int8", "duration_ms": "int4", "era": "int4", "position": "int8"}
_TYPES: Final = {**dict.fromkeys(COLUMNS, "text"), "related_to": "text[]", "is_deleted": "bool", **_INTEGERS}


# The planner takes a comparison of rows for its first column's and expects a handful behind any place: enough to sort
# them. There is one index in the ledger's order (migrations/0005), and a page is a walk along it.
_WALK: Final[LiteralString] = "SET enable_sort = off; SET enable_seqscan = off; SET enable_bitmapscan = off"


def in_order(connection: Connection) -> Connection:
    """The connection, for nothing but reading rows in the ledger's order."""
    connection.execute(_WALK)
    return connection


def rows(connection: Connection, after: Cursor, end: Cursor, limit: int) -> Iterator[Row]:
    """At most `limit` spans behind `after`, up to and with the one at `end`. Raises LedgerError."""
    while limit > 0:
        read = 0
        for row in _page(connection, after, end, min(PAGE, limit)):
            after, read = cursor_of(row), read + 1
            yield row
        if read < min(PAGE, limit):
            return
        limit -= read


def _page(connection: Connection, after: Cursor, end: Cursor, limit: int) -> Iterator[Row]:
    given = [after.era, str(after.xid), after.position, end.era, str(end.xid), end.position, limit]
    try:
        with connection.cursor() as cursor, cursor.copy(_ROWS, given) as copy:
            copy.set_types(list(_TYPES.values()))
            yield from copy.rows()
    except psycopg.Error as error:
        raise_typed(error)
