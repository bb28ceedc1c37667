"""The ledger's own pulse: server, last boots, checkpoint, archive. As `readonly`, on the replica where there is one."""

from __future__ import annotations

from typing import Any, Final, LiteralString

from ledger.errors import VerificationFailed
from ledger.ids import derived_id
from ledger.proof import verify
from ledger.read import BEGINNING, Cursor, span_of

from .reader import Reader, Row, Section, plain

UNSEALED_SHOWN: Final = 10_000
AGENT_BOOTS: Final = 1_000

_SERVER: Final[LiteralString] = """
SELECT current_setting('server_version') AS version, current_setting('server_version_num')::integer AS version_num,
       pg_is_in_recovery() AS replica, current_user AS role, ledger.current_era() AS era,
       extract(epoch FROM statement_timestamp() - pg_last_xact_replay_timestamp())::float AS lag_s,
       statement_timestamp() AS now
"""
# Counted while that is cheap; then as ANALYZE has found it, -1 where it never ran.
_SPANS: Final[LiteralString] = """
SELECT CASE WHEN pages <= 8000 THEN (SELECT count(*) FROM ledger.universal_registry)
            ELSE reltuples::bigint END AS spans,
       pages > 8000 AS estimated
  FROM (SELECT reltuples, pg_relation_size(oid) / current_setting('block_size')::bigint AS pages
          FROM pg_class WHERE oid = 'ledger.universal_registry'::regclass) t
"""
_NEWEST: Final[LiteralString] = """
SELECT at, extract(epoch FROM statement_timestamp() - at)::float AS age_s FROM (
  SELECT entity_type, era, xid, position, at FROM ledger.universal_registry WHERE position >= 0
   ORDER BY era DESC, xid DESC, position DESC LIMIT 50000) n
 WHERE entity_type = 'boot_event' ORDER BY era DESC, xid DESC, position DESC LIMIT 1
"""
# What the schedules boot, they boot as edge:stage0 of system: an index has these together.
_AGENTS: Final[LiteralString] = """
SELECT kernel, max(at) AS at, extract(epoch FROM statement_timestamp() - max(at))::float AS age_s, count(*) AS boots,
       count(*) FILTER (WHERE failed) AS failed, (array_agg(failed ORDER BY at DESC))[1] AS last_failed
  FROM (SELECT b.metadata ->> 'boot_function_id' AS kernel, b.at,
               EXISTS (SELECT FROM ledger.universal_registry e WHERE e.parent_id = b.id
                        AND e.entity_type = 'execution' AND e.status <> 'complete') AS failed
          FROM ledger.universal_registry b
         WHERE b.owner_id = 'edge:stage0' AND b.tenant_id = 'system' AND b.entity_type = 'boot_event'
         ORDER BY b.era DESC, b.xid DESC, b.position DESC LIMIT %s) boots
 GROUP BY kernel
"""
_EXECUTION: Final[LiteralString] = """
SELECT signature IS NOT NULL AS signed, public_key, at FROM ledger.universal_registry
 WHERE owner_id = 'edge:stage0' AND tenant_id = 'system' AND entity_type = 'execution'
 ORDER BY era DESC, xid DESC, position DESC LIMIT 1
"""
_LATEST: Final[LiteralString] = "SELECT * FROM ledger.universal_registry WHERE id = %s ORDER BY seq DESC LIMIT 1"
_UNSEALED: Final[LiteralString] = """
SELECT count(*) AS spans, count(*) FILTER (WHERE entity_type <> 'checkpoint') AS others FROM (
  SELECT entity_type FROM ledger.universal_registry
   WHERE position >= 0 AND (era, xid, position) > (%s, %s::text::xid8, %s)
   ORDER BY era, xid, position LIMIT %s) n
"""
# The checkpoint that sealed the first spans after a range. Those before it stand in the range, or sealed what is in it.
_SEALED_AFTER: Final[LiteralString] = """
SELECT at, (metadata ->> 'size')::bigint AS size FROM ledger.universal_registry
 WHERE id = %s AND position >= 0 AND (era, xid, position) > (%s, %s::text::xid8, %s)
   AND (metadata ->> 'size')::bigint > %s
 ORDER BY era, xid, position LIMIT 1
"""
_ROWS: Final[LiteralString] = """
SELECT DISTINCT ON (id) id, seq, name, entity_type, status, curr_hash, public_key, at
  FROM ledger.universal_registry
 WHERE visibility = 'public' AND tenant_id = 'system' AND entity_type IN ('manifest', 'function', 'policy', 'provider')
 ORDER BY id, seq DESC LIMIT 200
"""


def pulse(reader: Reader, origin: str) -> Section:
    """Server, newest boot, the agents' boots, whether executions are signed, checkpoint and archive of
    `origin`, and the first checkpoint of what is `unarchived`."""
    archive = _latest(reader, "archive", origin, ("from", "to", "count", "digest", "end")) if origin else None
    return {
        "server": {**reader.row(_SERVER), "connect_ms": reader.connected_ms, "latency_ms": reader.latency_ms()},
        "spans": reader.row(_SPANS),
        "last_boot": reader.row(_NEWEST) or None,
        "agents": reader.rows(_AGENTS, [AGENT_BOOTS]),
        "last_execution": reader.row(_EXECUTION) or None,
        "checkpoint": _checkpoint(reader, origin) if origin else None,
        "archive": archive,
        "unarchived": _unarchived(reader, origin, archive) if origin else None,
        "origin": origin,
    }


def rows(reader: Reader) -> Section:
    """The newest version of what the seeder wrote: kernels, manifest, policies, providers; with hash and key."""
    return {"rows": reader.rows(_ROWS)}


def _checkpoint(reader: Reader, origin: str) -> Section:
    """The newest one and how many spans came since: `unsealed`, of which `others` are not checkpoints themselves."""
    found = _latest(reader, "checkpoint", origin, ("size", "root", "end"))
    end = Cursor.parse(found["end"]) if found and found.get("end") else BEGINNING
    place = (end.era, str(end.xid), end.position)
    counted = reader.row(_UNSEALED, [*place, UNSEALED_SHOWN])
    return {"newest": found, "unsealed": counted["spans"], "others": counted["others"],
            "cut": counted["spans"] == UNSEALED_SHOWN}  # fmt: skip


def _unarchived(reader: Reader, origin: str, archive: Row | None) -> Row | None:
    end = Cursor.parse(archive["end"]) if archive and archive.get("end") else BEGINNING
    size = archive["to"] if archive else 0
    place = (end.era, str(end.xid), end.position)
    return reader.row(_SEALED_AFTER, [derived_id("checkpoint", origin), *place, size]) or None


def _latest(reader: Reader, kind: str, origin: str, names: tuple[str, ...]) -> Row | None:
    stored = reader.stored(_LATEST, [derived_id(kind, origin)])
    if not stored:
        return None
    span = span_of(stored[0])
    metadata: dict[str, Any] = span.metadata or {}
    try:
        proof = "signed" if verify(span, None) else "unsigned"
    except VerificationFailed as error:
        proof = f"broken: {error.reason}"
    said = {name: metadata.get(name) for name in names}
    return {**said, "seq": span.seq, "at": plain(span.at), "public_key": span.public_key, "proof": proof}
