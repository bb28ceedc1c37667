"""What only the login that migrates may read: the indexes beside the ledger. On the primary, in a read-only session."""

from __future__ import annotations

from typing import Final, LiteralString

from ledger.ids import derived_id
from ledger.settings import asset_directory

from ..migrations import MigrationFailed, read_migrations, state_of
from .reader import Reader, Section

_QUEUE: Final[LiteralString] = """
SELECT count(*) FILTER (WHERE status = 'scheduled') AS pending, count(*) FILTER (WHERE status = 'running') AS running,
       extract(epoch FROM statement_timestamp() - min(ready_at) FILTER (WHERE ready_at <= statement_timestamp()))::float
         AS oldest_s,
       (SELECT count(*) FROM ledger_idx.dead_request) AS dead,
       (SELECT count(*) FROM ledger_idx.dead_request WHERE at > statement_timestamp() - interval '24 hours')
         AS dead_of_the_day,
       (SELECT count(*) FROM ledger_idx.schedule WHERE due_at < 'infinity') AS functions,
       (SELECT extract(epoch FROM statement_timestamp() - min(due_at))::float FROM ledger_idx.schedule
         WHERE due_at < statement_timestamp()) AS oldest_due_s
  FROM ledger_idx.pending
"""
_POLICIES: Final[LiteralString] = """
SELECT p.id, p.seq, p.tenant_id, p.owner_id, p.on_demand, p.behind, p.ran_at,
       extract(epoch FROM statement_timestamp() - p.ran_at)::float AS waited_s,
       (SELECT left(r.name, 200) FROM ledger.universal_registry r WHERE r.id = p.id AND r.seq = p.seq) AS name
  FROM ledger_idx.policy p WHERE p.active ORDER BY p.ran_at LIMIT 200
"""
_PUBLISHED: Final[LiteralString] = """
SELECT left(r.who, 200) AS who, r.at, r.public_key FROM ledger.universal_registry r WHERE r.id = %s AND r.seq = %s
"""
# A cursor is never older than its policy; what it holds is the place up to which the policy has seen the ledger.
_CURSOR: Final[LiteralString] = """
SELECT (SELECT s.position FROM ledger.universal_registry s WHERE s.position >= 0
         ORDER BY s.era DESC, s.xid DESC, s.position DESC LIMIT 1)
       - (c.metadata ->> 'position')::bigint AS behind_spans,
       jsonb_array_length(c.metadata -> 'paused') AS paused
  FROM ledger.universal_registry c WHERE c.id = %s ORDER BY c.seq DESC LIMIT 1
"""
_ERAS: Final[LiteralString] = "SELECT era, started_at, reason FROM ledger_idx.era ORDER BY era DESC LIMIT 5"


def migrations(reader: Reader) -> Section:
    """`pending`, `ahead`, `applied` of this release's migrations; `problem` where they cannot be compared."""
    try:
        state = state_of(reader.connection, read_migrations(asset_directory("migrations")))
    except MigrationFailed as error:
        return {"pending": [], "ahead": [], "applied": [], "problem": error.message}
    return {"pending": [m.name for m in state.pending], "ahead": state.ahead, "applied": state.applied}


def queue(reader: Reader) -> Section:
    """Requests by state, how long the oldest has been ready (s), scheduled functions and how late they are (s)."""
    return {**reader.row(_QUEUE), "eras": reader.rows(_ERAS)}


def policies(reader: Reader) -> Section:
    """Active policies: who published them, since when they wait for their turn (s), how many spans they are behind."""
    found = reader.rows(_POLICIES)
    for policy in found:
        cursor = reader.row(_CURSOR, [derived_id("policy_cursor", policy["id"])])
        published = reader.row(_PUBLISHED, [policy["id"], policy["seq"]])
        policy |= {"behind_spans": cursor.get("behind_spans"), "paused": cursor.get("paused") or 0,
                   "published_by": published.get("who"),
                   "published_at": published.get("at"), "public_key": published.get("public_key")}  # fmt: skip
    return {"policies": found, "cut": len(found) == 200}
