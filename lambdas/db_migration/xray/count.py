"""How many spans there are, of which kinds: counted where that is cheap, else estimated from a sample of pages."""

from __future__ import annotations

from typing import Any, Final, LiteralString

from .reader import Reader, Section

SAMPLE_PAGES: Final = 8_000  # 62 MB of the table: what is read at most
SHOWN: Final = 50
DAYS: Final = 30

_PAGES: Final[LiteralString] = """
SELECT pg_relation_size('ledger.universal_registry') / current_setting('block_size')::bigint AS pages
"""
# SYSTEM takes whole pages, so it costs what it reads, and one seed gives one sample. BERNOULLI would read them all.
_GROUPED: Final[LiteralString] = """
SELECT grouping(day, entity_type) AS no_day, grouping(tenant_id) AS no_tenant, grouping(public_key) AS no_key,
       day, entity_type, tenant_id, public_key, count(*) AS spans
  FROM (SELECT greatest((at AT TIME ZONE 'UTC')::date, (statement_timestamp() AT TIME ZONE 'UTC')::date - %(days)s)
               ::text AS day,
               entity_type, coalesce(tenant_id, '') AS tenant_id, coalesce(public_key, '') AS public_key
          FROM ledger.universal_registry TABLESAMPLE SYSTEM (%(percent)s) REPEATABLE (1)) s
 GROUP BY GROUPING SETS ((day, entity_type), (tenant_id), (public_key), ())
"""


def spans(reader: Reader) -> Section:
    """All versions: `total`, `by_type`, `by_tenant`, `by_key`, `by_day` (of the last 30 days, UTC, by `at`).

    Of a table beyond 8,000 pages a sample is read and all figures are `estimated`; a type that is rare in it may be
    missing.
    """
    pages = reader.row(_PAGES)["pages"]
    percent = 100.0 if pages <= SAMPLE_PAGES else 100.0 * SAMPLE_PAGES / pages
    rows = reader.rows(_GROUPED, {"percent": percent, "days": DAYS + 1})
    factor = 100 / percent
    by_type: dict[str, int] = {}
    by_day: dict[str, dict[str, int]] = {}
    by_tenant, by_key, total = {}, {}, 0
    for row in rows:
        count = round(row["spans"] * factor)
        if row["no_day"] == 0:
            by_type[row["entity_type"]] = by_type.get(row["entity_type"], 0) + count
            by_day.setdefault(row["day"], {})[row["entity_type"]] = count
        elif row["no_tenant"] == 0:
            by_tenant[row["tenant_id"]] = count
        elif row["no_key"] == 0:
            by_key[row["public_key"]] = count
        else:
            total = count
    oldest = min(by_day, default="")
    if len(by_day) > DAYS:  # what is older stands on one day before the thirty
        by_day.pop(oldest)
    return {
        "total": total,
        "estimated": percent < 100,
        "sample_percent": round(percent, 3),
        "by_type": _largest(by_type, "entity_type"),
        "by_tenant": _largest(by_tenant, "tenant_id"),
        "tenants": len(by_tenant),
        "by_key": _largest(by_key, "public_key"),
        "signed": sum(count for key, count in by_key.items() if key),
        "unsigned": by_key.get("", 0),
        "by_day": [{"day": day, "spans": sum(types.values()), "types": types} for day, types in sorted(by_day.items())],
    }


def _largest(counts: dict[str, int], name: str) -> list[dict[str, Any]]:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = [{name: key, "spans": count} for key, count in ordered[:SHOWN]]
    rest = sum(count for _, count in ordered[SHOWN:])
    return [*shown, *([{name: f"({len(ordered) - SHOWN} more)", "spans": rest}] if rest else [])]
