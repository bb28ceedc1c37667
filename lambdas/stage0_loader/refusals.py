"""What refused boots and failed verifications leave: counted by the minute, so that they cannot flood the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, LiteralString
from uuid import UUID

from ledger.append import append, append_within
from ledger.connection import Connection
from ledger.database import Identity
from ledger.errors import LedgerError, VerificationFailed
from ledger.ids import derived_id
from ledger.span import Span

from .audit import Audit, error_object

# The loader's own voice, for what tenants are not told: alarms are read by operators.
SYSTEM: Final = Identity("system", "system")
_BOOTS: Final = frozenset({"not_allowed", "not_in_scope", "not_found", "verification_failed"})
_COUNT: Final[LiteralString] = "SELECT * FROM ledger.count_refusal(%s)"
_HEAD: Final[LiteralString] = "SELECT curr_hash FROM ledger.universal_registry WHERE id = %s ORDER BY seq DESC LIMIT 1"
_DENIED_FOR: Final[LiteralString] = """
SELECT FROM ledger.universal_registry WHERE id = %s AND seq = 0 AND metadata -> 'error' ->> 'span_id' = %s
"""

Count = Mapping[str, Any]


def record_refusal(audit: Audit, error: LedgerError, kernel_id: UUID) -> None:
    """A refused boot: the first of its minute is a span, the others are that minute's count."""
    with audit.database.transaction(audit.identity) as connection:
        current, spans = _count(audit, connection, error.code)
        if current["count"] == 1:
            details = {"boot_function_id": str(kernel_id), "error": error_object(error), "count": 1}
            spans.append(_denied(audit, current, str(kernel_id), details))
        append_within(connection, spans, audit.key)


def record_alert(audit: Audit, error: VerificationFailed) -> None:
    """A failed verification: a security_alert for the operators, one a minute for each caller and span."""
    span_id = error.details["span_id"]
    with audit.database.transaction(audit.identity) as connection:
        current, spans = _count(audit, connection, f"alert {span_id}")
        append_within(connection, spans, audit.key)
        # Its parent is the boot that was refused for it. What a kernel met on its way refused none.
        denied = _denied_id(audit, {**current, "kind": error.code})
        refused = connection.execute(_DENIED_FOR, [denied, span_id]).fetchall()
    if current["count"] > 1:
        return
    alert = audit.span(
        SYSTEM,
        entity_type="security_alert",
        did="refused",
        this=span_id,
        status="active",
        parent_id=denied if refused else None,
        error=error_object(error),
        metadata={"user_id": audit.identity.user_id, "tenant_id": audit.identity.tenant_id},
    )
    append(audit.database, SYSTEM, [alert], audit.key)


def _count(audit: Audit, connection: Connection, kind: str) -> tuple[Count, list[Span]]:
    """This minute's count, and the totals of refused boots in minutes that are over."""
    current, closed = count_refusal(connection, kind)
    totals = [_denied(audit, c, "refused boots", {"count": c["count"]}) for c in closed if c["kind"] in _BOOTS]
    return current, [after_first(connection, total) for total in totals]


def count_refusal(connection: Connection, kind: str) -> tuple[Count, list[Count]]:
    """Count one of the context's caller: this minute's count, and those of minutes that are over, told once."""
    counts = connection.execute(_COUNT, [kind]).fetchall()
    return next(c for c in counts if not c["closed"]), [c for c in counts if c["closed"]]


def after_first(connection: Connection, total: Span) -> Span:
    """A minute's total as the next version of the span that its first refusal left."""
    heads = connection.execute(_HEAD, [total.id]).fetchall()
    return total.with_values(seq=1, prev_hash=heads[0]["curr_hash"]) if heads else total


def _denied(audit: Audit, count: Count, this: str, details: Mapping[str, Any]) -> Span:
    metadata = {**details, "kind": count["kind"], "minute": count["minute"].isoformat()}
    return audit.boot_event(this, "denied", metadata, id=_denied_id(audit, count))


def _denied_id(audit: Audit, count: Count) -> UUID:
    tenant, user = audit.identity.tenant_id or "", audit.identity.user_id
    return derived_id("refusal", tenant, user, count["kind"], count["minute"].isoformat())
