"""What callers read without a kernel: a span's versions, their own figures, what they may boot."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, Final, LiteralString
from uuid import UUID

from ledger.database import Database, Identity
from ledger.errors import LedgerError
from ledger.read import latest, span_of
from ledger.span import format_instant

from ..answer import bodies_that_fit, span_body
from ..settings import Settings
from ..trust import read_manifest

COUNTED: Final = 10_000
_VERSIONS: Final[LiteralString] = """
SELECT * FROM ledger.universal_registry WHERE id = %s AND seq < %s ORDER BY seq DESC LIMIT %s
"""
_QUOTA: Final[LiteralString] = """
SELECT ledger.quota_used('exec.per_tenant.daily') AS executions, ledger.quota_used('append.per_tenant.daily') AS appends
"""
_COUNTS: Final[LiteralString] = "SELECT * FROM ledger.recent_counts(%s, %s)"


class UnknownSpan(LedgerError):
    """There is no such span, or the caller may not see it: which of the two is not told."""

    code = "unknown_span"


def span_with_versions(
    database: Database, identity: Identity, span_id: UUID, before_seq: int | None, limit: int
) -> dict[str, Any]:
    """The latest version, and a page of all versions, newest first. Raises UnknownSpan."""
    head = latest(database, identity, [span_id]).get(span_id)
    if head is None:
        raise UnknownSpan("there is no such span that you may see", span_id=str(span_id))
    below = head.seq + 1 if before_seq is None else before_seq
    found = [span_of(row) for row in database.query(identity, _VERSIONS, [span_id, below, limit + 1])]
    shown = bodies_that_fit(found[:limit])
    more = len(shown) < len(found)
    return {"span": span_body(head), "versions": shown, "next_before_seq": shown[-1]["seq"] if more else None}


def metrics(database: Database, identity: Identity, settings: Settings) -> dict[str, Any]:
    """Quotas of the caller's tenant, and counts of the last 24 hours."""
    throttle = read_manifest(database, identity, settings).manifest.throttle
    now = datetime.now(UTC)
    (used,) = database.query(identity, _QUOTA)
    rows = database.query(identity, _COUNTS, [now - timedelta(days=1), COUNTED])
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    limits = {
        "executions": throttle.per_tenant_daily_exec_limit,
        "appends": throttle.per_tenant_daily_append_limit,
    }
    spans, executions = Counter[str](), Counter[str]()
    for row in rows:
        spans[row["entity_type"]] += row["count"]
        if row["entity_type"] == "execution":
            executions[row["status"] or ""] += row["count"]
    return {
        "quota": {
            name: {"limit": limit, "used": used[name], "resets_at": format_instant(midnight)}
            for name, limit in limits.items()
        },
        "executions": dict(executions),
        "spans": dict(spans),
        "complete": all(row["complete"] for row in rows),
    }


def manifest(database: Database, identity: Identity, settings: Settings, scopes: frozenset[str]) -> dict[str, Any]:
    """The kernels that both the manifest and the app's scopes let it boot."""
    governance = read_manifest(database, identity, settings)
    found = governance.manifest
    return {
        "manifest_id": str(governance.span.id),
        "seq": governance.span.values["seq"],
        "proof": "signed" if governance.span.signed else "unsigned",
        "kernels": {
            name: str(kernel)
            for name, kernel in sorted(found.kernels.items())
            if name in scopes and kernel in found.edge_boot_ids
        },
        "throttle": found.throttle.model_dump(),
    }
