"""What the server is busy with. Read as the login that migrates: it sees the sessions of the roles it is a member of.

On RDS that login is a member of pg_monitor, so it sees every session and the text of every statement; `readonly` is
granted nothing for this.
"""

from __future__ import annotations

from typing import Final, LiteralString

import psycopg

from .reader import Reader, Row, Section

_SESSIONS: Final[LiteralString] = """
SELECT current_setting('max_connections')::integer AS max_connections,
       count(*) FILTER (WHERE backend_type = 'client backend') AS connections,
       count(*) FILTER (WHERE state = 'idle in transaction') AS idle_in_transaction,
       count(*) FILTER (WHERE wait_event_type = 'Lock') AS waiting_for_a_lock,
       coalesce(max(age(backend_xmin)), 0) AS oldest_snapshot_transactions
  FROM pg_stat_activity
"""
_LONG: Final[LiteralString] = """
SELECT pid, usename AS login, application_name AS application, state,
       extract(epoch FROM clock_timestamp() - xact_start)::float AS seconds, left(query, 200) AS statement
  FROM pg_stat_activity
 WHERE xact_start < clock_timestamp() - make_interval(secs => %s) AND backend_type = 'client backend'
   AND pid <> pg_backend_pid()
 ORDER BY xact_start LIMIT 20
"""
_EXTENSION: Final[LiteralString] = "SELECT extversion FROM pg_extension WHERE extname = 'pg_stat_statements'"
_SLOW: Final[LiteralString] = """
SELECT r.rolname AS role, s.queryid, s.calls, round(s.total_exec_time::numeric, 1) AS total_ms,
       round(s.mean_exec_time::numeric, 2) AS mean_ms, round(s.max_exec_time::numeric, 1) AS max_ms, s.rows,
       left(regexp_replace(s.query, '\\s+', ' ', 'g'), 300) AS statement
  FROM public.pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid
 WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND s.query ~* '^\\s*(select|insert|update|delete|with|merge)'
 ORDER BY s.total_exec_time DESC LIMIT 15
"""
# A role is shown the text of its own statements, and pg_read_all_stats (on RDS the login has it) that of all.
_ROLES: Final[tuple[LiteralString, ...]] = (
    *("SET LOCAL ROLE NONE", "SET LOCAL ROLE admin", "SET LOCAL ROLE lambda_exec", "SET LOCAL ROLE readonly"),
)
LONG_S: Final = 60
SHOWN: Final = 15
NO_EXTENSION: Final = (
    "the extension pg_stat_statements is not there: as a superuser, add it to shared_preload_libraries,"
    " restart, and run CREATE EXTENSION pg_stat_statements (RDS has it: `loglineos migrate` makes it there)"
)


def performance(reader: Reader) -> Section:
    """Sessions, transactions open for longer than a minute, and the statements that took most time."""
    return {**reader.row(_SESSIONS), "long_transactions": reader.rows(_LONG, [LONG_S]), "slow": _slow(reader)}


def _slow(reader: Reader) -> Section:
    if not reader.rows(_EXTENSION):
        return {"unknown": NO_EXTENSION}
    try:
        found = {(row["role"], row.pop("queryid")): row for role in _ROLES for row in _as(reader, role)}
    except psycopg.errors.ObjectNotInPrerequisiteState:
        return {"unknown": "pg_stat_statements is not in shared_preload_libraries: add it there and restart"}
    return {"rows": sorted(found.values(), key=lambda row: -row["total_ms"])[:SHOWN]}


def _as(reader: Reader, role: LiteralString) -> list[Row]:
    with reader.connection.transaction():
        reader.connection.execute(role)
        return reader.rows(_SLOW)
