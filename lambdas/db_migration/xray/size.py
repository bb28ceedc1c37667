"""How large it is, what it is made of, and what keeps PostgreSQL from tidying up."""

from __future__ import annotations

from typing import Final, LiteralString

from .reader import Reader, Section

# None of these needs a privilege on what it measures.
_DATABASE: Final[LiteralString] = """
SELECT pg_database_size(current_database()) AS database_bytes,
       pg_table_size('ledger.universal_registry') AS table_bytes,
       pg_indexes_size('ledger.universal_registry') AS index_bytes,
       (SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database()) AS frozen_age,
       current_setting('autovacuum_freeze_max_age')::bigint AS freeze_max_age,
       (SELECT round(100.0 * blks_hit / nullif(blks_hit + blks_read, 0), 2) FROM pg_stat_database
         WHERE datname = current_database()) AS cache_hit_percent,
       (SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()) AS counted_since
"""
_TABLES: Final[LiteralString] = """
SELECT s.schemaname || '.' || s.relname AS name, pg_total_relation_size(s.relid) AS bytes, s.n_live_tup AS live,
       s.n_dead_tup AS dead, greatest(s.last_vacuum, s.last_autovacuum) AS vacuumed,
       greatest(s.last_analyze, s.last_autoanalyze) AS analyzed, age(c.relfrozenxid) AS frozen_age
  FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid ORDER BY 2 DESC, 1 LIMIT 30
"""
_INDEXES: Final[LiteralString] = """
SELECT s.schemaname || '.' || s.indexrelname AS name, s.relname AS on_table, s.idx_scan AS scans,
       pg_relation_size(s.indexrelid) AS bytes, i.indisunique AS is_unique, i.indisvalid AS is_valid
  FROM pg_stat_user_indexes s JOIN pg_index i USING (indexrelid) ORDER BY 4 DESC, 1 LIMIT 60
"""


def size(reader: Reader) -> Section:
    """Bytes of the database and its largest tables and indexes, with their upkeep. Scans are this server's."""
    return {**reader.row(_DATABASE), "tables": reader.rows(_TABLES), "indexes": reader.rows(_INDEXES)}
