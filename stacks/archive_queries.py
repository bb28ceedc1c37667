"""The manual's reports (5.2) over the archive: saved in Athena, and run by DuckDB in the tests, to the letter.

Each reads some months, both named as `YYYY-MM`: Athena asks for the two when a saved query is run, and reads no
others. `"at"` and `"position"` are quoted because other engines know them as words of their own.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class SavedQuery:
    """A query of the spans' table. `?` stands for what whoever runs it is asked for: `asks` says what."""

    name: str
    description: str
    sql: str
    asks: str = "the first month and the last, as '2025-01'"


QUERIES: Final = (
    SavedQuery(
        "executions-by-hour",
        "Executions by hour and status (manual 5.2)",
        """SELECT date_trunc('hour', "at") AS hour, status, count(*) AS executions
FROM spans
WHERE month BETWEEN ? AND ? AND NOT is_deleted AND entity_type = 'execution'
GROUP BY 1, 2
ORDER BY 1 DESC, 2""",
    ),
    SavedQuery(
        "memories-by-tenant",
        "Memories and their characters by tenant (manual 5.2)",
        """SELECT tenant_id, count(*) AS memory_count,
  sum(length(json_extract_scalar(metadata, '$.content'))) AS total_characters
FROM spans
WHERE month BETWEEN ? AND ? AND NOT is_deleted AND entity_type = 'memory'
GROUP BY 1
ORDER BY 1""",
    ),
    SavedQuery(
        "apps-by-tenant",
        "Active apps by tenant (manual 5.2)",
        """SELECT tenant_id, count(DISTINCT id) AS app_count
FROM spans
WHERE month BETWEEN ? AND ? AND NOT is_deleted AND entity_type = 'app_registration' AND status = 'active'
GROUP BY 1
ORDER BY 1""",
    ),
    SavedQuery(
        "spans-by-type",
        "Spans by month and type (manual 4.2)",
        """SELECT month, entity_type, count(*) AS spans, min("at") AS first_at, max("at") AS last_at
FROM spans
WHERE month BETWEEN ? AND ?
GROUP BY 1, 2
ORDER BY 1, 3 DESC, 2""",
    ),
    SavedQuery(
        "versions-of-a-span",
        "All archived versions of one span, with their proof",
        """SELECT month, seq, "at", who, did, this, status, is_deleted, metadata, prev_hash, curr_hash, signature,
  public_key, era, xid, "position"
FROM spans
WHERE id = ?
ORDER BY seq""",
        asks="the span's id in quotes",
    ),
)
