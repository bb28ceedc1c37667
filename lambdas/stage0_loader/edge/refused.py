"""What refused tokens leave: `auth.decision` spans of the system, counted by the minute like refused boots.

They name device and reason. The address stands in the access log, which forgets it; the ledger would not.
"""

from __future__ import annotations

from typing import Any, Final

from ledger.append import append_within
from ledger.database import Database
from ledger.ids import derived_id
from ledger.span import Span

from ..audit import Audit
from ..refusals import SYSTEM, Count, after_first, count_refusal
from ..settings import Settings
from .token import Unauthenticated

_KIND: Final = "token"


def record_refused(database: Database, settings: Settings, trace_id: str, error: Unauthenticated) -> None:
    """The first of its reason, device and minute is a span; the others are that minute's count."""
    audit = Audit(database, SYSTEM, trace_id, settings.signing_key)
    with database.transaction(SYSTEM) as connection:
        current, closed = count_refusal(connection, f"{_KIND}/{error.device_id or ''}/{error.reason}")
        ours = [count for count in closed if count["kind"].startswith(f"{_KIND}/")]
        spans = [after_first(connection, _decision(audit, count)) for count in ours]
        if current["count"] == 1:
            spans.append(_decision(audit, current))
        append_within(connection, spans, audit.key)


def _decision(audit: Audit, count: Count) -> Span:
    _, device_id, reason = count["kind"].split("/")
    minute = count["minute"].isoformat()
    metadata: dict[str, Any] = {"reason": reason, "minute": minute, "count": count["count"]}
    return audit.span(
        SYSTEM,
        id=derived_id("auth.decision", count["kind"], minute),
        entity_type="auth.decision",
        did="refused",
        this=_KIND,
        status="denied",
        related_to=[device_id] if device_id else None,
        metadata=metadata | ({"device_id": device_id} if device_id else {}),
    )
