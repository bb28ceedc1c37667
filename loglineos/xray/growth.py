"""When the storage is full, by what the last thirty days have brought."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from statistics import median
from typing import Any

GIB = 1024**3


def growth(
    days: Sequence[Mapping[str, Any]], spans: int, measured: Mapping[str, Any], now: datetime, storage_gb: float | None
) -> dict[str, Any]:
    """`spans_a_day`, `bytes_a_day` and, where the storage is known, `days_until_full`. The
    storage is what there is once it has grown to its limit.

    A day's figure is the median of the complete days (UTC): one import or one quiet week-end does not move it. Of the
    last thirty days and the last seven the larger counts, so that growth which has begun lately is not averaged away.
    A span's bytes are the ledger's with its indexes, by the number of its spans.
    """
    counts = _complete_days(days, now.date())
    daily = max(median(counts), median(counts[-7:])) if counts else 0.0
    each = (measured["table_bytes"] + measured["index_bytes"]) / spans if spans else 0.0
    used = measured["database_bytes"]
    told: dict[str, Any] = {
        "days": len(counts), "spans_a_day": round(daily), "bytes_a_span": round(each),
        "bytes_a_day": round(daily * each), "used_bytes": used, "storage_gb": storage_gb, "days_until_full": None,
    }  # fmt: skip
    if storage_gb is not None and daily * each > 0:
        told["days_until_full"] = max(0, int((storage_gb * GIB - used) / (daily * each)))
    return told


def _complete_days(days: Sequence[Mapping[str, Any]], today: date) -> list[int]:
    """Spans of each day before today, quiet days too, from the first that has any."""
    counts = {date.fromisoformat(day["day"]): int(day["spans"]) for day in days}
    first = min((day for day in counts if day < today), default=today)
    return [counts.get(first + timedelta(days=n), 0) for n in range((today - first).days)]
