"""What is pending, running and dead, and the proof that the queue is an index that can be built again."""

from __future__ import annotations

from typing import Any, Final, LiteralString

from ledger.connection import Connection
from ledger.span import format_instant

SHOWN: Final = 100

_COUNTS: Final[LiteralString] = """
SELECT count(*) FILTER (WHERE status = 'scheduled') AS scheduled, count(*) FILTER (WHERE status = 'running') AS running,
       (SELECT count(*) FROM ledger_idx.dead_request) AS dead,
       (SELECT count(*) FROM ledger_idx.schedule WHERE due_at < 'infinity') AS functions
  FROM ledger_idx.pending
"""
_PENDING: Final[LiteralString] = """
SELECT status, tenant_id, owner_id, request_id, attempts, ready_at AS at FROM ledger_idx.pending
 ORDER BY ready_at, request_id LIMIT %s
"""
_DEAD: Final[LiteralString] = """
SELECT status, tenant_id, owner_id, request_id, attempts, at FROM ledger_idx.dead_request
 ORDER BY at DESC, request_id LIMIT %s
"""
_REBUILDS: Final[tuple[LiteralString, ...]] = (
    "SELECT * FROM ledger.rebuild_pending()",
    "SELECT * FROM ledger.rebuild_schedule()",
    "SELECT * FROM ledger.rebuild_policies()",
)


def show_queue(connection: Connection) -> dict[str, Any]:
    """Counts, and the first 100 requests of each kind: those waiting longest, those that died last."""
    with connection.transaction():
        connection.execute("SET LOCAL ROLE admin")
        counts = connection.execute(_COUNTS).fetchone()
        rows = connection.execute(_PENDING, [SHOWN]).fetchall() + connection.execute(_DEAD, [SHOWN]).fetchall()
    requests = [{**row, "request_id": str(row["request_id"]), "at": format_instant(row["at"])} for row in rows]
    return {**(counts or {}), "requests": requests}


def rebuild_queue(connection: Connection) -> dict[str, Any]:
    """Put the indexes back to what the spans say; how many entries were missing, wrong or surplus."""
    rebuilt: list[dict[str, Any]] = []
    for statement in _REBUILDS:
        with connection.transaction():
            connection.execute("SET LOCAL ROLE admin")
            rebuilt += connection.execute(statement).fetchall()
    return {"rebuilt": rebuilt}
