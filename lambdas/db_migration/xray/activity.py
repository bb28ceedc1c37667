"""What has been going on: boots, executions and alerts among the newest spans."""

from __future__ import annotations

from typing import Final, LiteralString

from .reader import Reader, Section

NEWEST: Final = 200_000  # read in the ledger's order, so that it takes the same time whatever there is

# MATERIALIZED: the newest are read once, through ur_order.
_HOURS: Final[LiteralString] = """
WITH newest AS MATERIALIZED (
  SELECT entity_type, status, at FROM ledger.universal_registry WHERE position >= 0
   ORDER BY era DESC, xid DESC, position DESC LIMIT %(newest)s)
SELECT to_char(date_trunc('hour', at AT TIME ZONE 'UTC'), 'YYYY-MM-DD"T"HH24:00:00"Z"') AS hour,
       count(*) FILTER (WHERE entity_type = 'boot_event') AS boots,
       count(*) FILTER (WHERE entity_type = 'boot_event' AND status = 'denied') AS denied,
       count(*) FILTER (WHERE entity_type = 'execution') AS executions,
       count(*) FILTER (WHERE entity_type = 'execution' AND status <> 'complete') AS failed
  FROM newest WHERE at > statement_timestamp() - interval '24 hours' AND at <= statement_timestamp()
 GROUP BY 1 ORDER BY 1
"""
_REACH: Final[LiteralString] = """
SELECT count(*) = %(newest)s AND min(at) > statement_timestamp() - interval '24 hours' AS cut
  FROM (SELECT at FROM ledger.universal_registry WHERE position >= 0
         ORDER BY era DESC, xid DESC, position DESC LIMIT %(newest)s) n
"""
_KERNELS: Final[LiteralString] = """
WITH newest AS MATERIALIZED (
  SELECT entity_type, status, at, duration_ms,
         CASE entity_type WHEN 'execution' THEN metadata ->> 'boot_function_id' END AS kernel
    FROM ledger.universal_registry WHERE position >= 0 ORDER BY era DESC, xid DESC, position DESC LIMIT %(newest)s),
names AS (
  SELECT DISTINCT ON (id) id::text, name FROM ledger.universal_registry
   WHERE entity_type = 'function' AND visibility = 'public' AND tenant_id = 'system' ORDER BY id, seq DESC)
SELECT coalesce(names.name, kernel, 'function') AS kernel, count(*) AS executions,
       count(*) FILTER (WHERE status <> 'complete') AS failed,
       round(percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_ms)::numeric, 1) AS p50_ms,
       round(percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_ms)::numeric, 1) AS p95_ms,
       max(duration_ms) AS max_ms
  FROM newest LEFT JOIN names ON names.id = kernel
 WHERE entity_type = 'execution' AND at > statement_timestamp() - interval '24 hours'
 GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 50
"""
_ALERTS: Final[LiteralString] = """
WITH newest AS MATERIALIZED (
  SELECT entity_type, at, id, tenant_id, this, description FROM ledger.universal_registry WHERE position >= 0
   ORDER BY era DESC, xid DESC, position DESC LIMIT %(newest)s)
SELECT entity_type, count(*) AS spans, max(at) AS newest, (array_agg(id ORDER BY at DESC))[1] AS newest_id,
       (array_agg(left(coalesce(description, this), 200) ORDER BY at DESC))[1] AS newest_says
  FROM newest WHERE entity_type IN ('security_alert', 'error_report', 'policy_error')
   AND at > statement_timestamp() - interval '24 hours' GROUP BY 1 ORDER BY 1
"""


def activity(reader: Reader) -> Section:
    """Of the last 24 hours: `hours` (boots, executions, failures), `kernels` (p50 and p95 in ms).

    `cut`: more than 200,000 spans came in that time, and the figures are of the newest of them.
    """
    given = {"newest": NEWEST}
    return {
        "hours": reader.rows(_HOURS, given),
        "kernels": reader.rows(_KERNELS, given),
        "cut": reader.row(_REACH, given)["cut"],
        "newest": NEWEST,
    }


def alerts(reader: Reader) -> Section:
    """What was reported in the last 24 hours, by type, with the newest of each."""
    return {"rows": reader.rows(_ALERTS, {"newest": NEWEST})}


# Manual 5.2, as it is written there but for the number of spans that are read.
_DASHBOARD: Final[LiteralString] = """
SELECT to_char(date_trunc('hour', at AT TIME ZONE 'UTC'), 'YYYY-MM-DD"T"HH24:00:00"Z"') AS hour,
       left(status, 50) AS status, count(*) AS executions
  FROM (SELECT at, entity_type, status, is_deleted FROM ledger.universal_registry WHERE position >= 0
         ORDER BY era DESC, xid DESC, position DESC LIMIT %(newest)s) newest
 WHERE entity_type = 'execution' AND at > statement_timestamp() - interval '24 hours' AND NOT is_deleted
 GROUP BY 1, 2 ORDER BY 1 DESC, 2 LIMIT 500
"""
_MEMORIES: Final[LiteralString] = """
SELECT tenant_id, count(*) AS memory_count, sum(length(metadata ->> 'content')) AS total_bytes
  FROM ledger.visible_timeline WHERE entity_type = 'memory' GROUP BY tenant_id ORDER BY 2 DESC, 1 LIMIT 50
"""
_APPS: Final[LiteralString] = """
SELECT tenant_id, count(DISTINCT id) AS app_count FROM ledger.visible_timeline
 WHERE entity_type = 'app_registration' AND status = 'active' GROUP BY tenant_id ORDER BY 2 DESC, 1 LIMIT 50
"""


def executions(reader: Reader) -> Section:
    """Manual 5.2: executions of the last 24 hours by hour and status."""
    return {"rows": reader.rows(_DASHBOARD, {"newest": NEWEST})}


def memories(reader: Reader) -> Section:
    """Manual 5.2: memories and their size by tenant."""
    return {"rows": reader.rows(_MEMORIES)}


def apps(reader: Reader) -> Section:
    """Manual 5.2: active apps by tenant."""
    return {"rows": reader.rows(_APPS)}
