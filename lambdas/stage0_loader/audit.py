"""The spans that every boot leaves: `boot_event` before, `execution` after, and what was refused.

They belong to the caller, visibility private: one tenant's inputs are not another's to read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, LiteralString
from uuid import UUID

from nacl.signing import SigningKey

from ledger.append import append, append_within
from ledger.database import Database, Identity
from ledger.errors import InvalidInput, LedgerError, VerificationFailed
from ledger.ids import derived_id, new_id
from ledger.span import Span, parse_span

from .kernel import Run

WHO: Final = "edge:stage0"
# The loader's own voice, for what tenants are not told: alarms are read by operators.
SYSTEM: Final = Identity("system", "system")
_COUNT_REFUSAL: Final[LiteralString] = "SELECT * FROM ledger.count_refusal(%s)"
_STATUS = {"timeout": "timeout", "rejected": "rejected"}


@dataclass(frozen=True)
class Audit:
    """Writes the audit spans of one boot."""

    database: Database = field(repr=False)
    identity: Identity
    trace_id: str
    key: SigningKey | None = field(repr=False)

    def boot_event(self, this: str, status: str, metadata: Mapping[str, Any], **values: Any) -> Span:
        """A boot_event span, not yet appended."""
        return self._span(
            self.identity,
            entity_type="boot_event",
            did="booted",
            this=this,
            status=status,
            metadata=dict(metadata),
            **values,
        )

    def append(self, span: Span) -> Span:
        """Append and commit."""
        return append(self.database, self.identity, [span], self.key)[0].span

    def execution(self, event: Span, run: Run, output: Any) -> Span:
        """Append the execution span of a run; `output` is masked already."""
        error = None if run.error is None else error_object(run.error)
        status = "complete" if run.error is None else _STATUS.get(run.error.code, "error")
        values = {
            "entity_type": "execution",
            "did": "executed",
            "this": event.this,
            "status": status,
            "parent_id": event.id,
            "related_to": event.related_to,
            "input": event.input,
            "error": error,
            "duration_ms": run.duration_ms,
            "metadata": {key: value for key, value in (event.metadata or {}).items() if key in _CARRIED},
        }
        try:
            return self.append(self._span(self.identity, **values, output=output))
        except InvalidInput:
            # Only size can be wrong here. The run has happened: its span must not be missing.
            values["metadata"] = {**values["metadata"], "output_omitted": "larger than a span may be"}
            return self.append(self._span(self.identity, **values))

    def refusal(self, error: LedgerError, kernel_id: UUID) -> Span | None:
        """Record a refused boot: the first of a minute as a span, the others as that minute's count."""
        with self.database.transaction(self.identity) as connection:
            counts = connection.execute(_COUNT_REFUSAL, [error.code]).fetchall()
            spans = [
                self._counted(count, error, kernel_id) for count in counts if count["closed"] or count["count"] == 1
            ]
            done = append_within(connection, [self._chained(connection, span) for span in spans], self.key)
        first = next((a.span for a in done if a.span.seq == 0), None)
        if first is not None and isinstance(error, VerificationFailed):
            self._alert(error, first)
        return first

    def _counted(self, count: Mapping[str, Any], error: LedgerError, kernel_id: UUID) -> Span:
        minute = count["minute"].isoformat()
        span_id = derived_id("refusal", self.identity.tenant_id or "", self.identity.user_id, error.code, minute)
        metadata = {"count": count["count"], "minute": minute}
        if not count["closed"]:
            metadata |= {"boot_function_id": str(kernel_id), "error": error_object(error)}
        return self.boot_event(
            str(kernel_id) if not count["closed"] else "refused boots",
            "denied",
            metadata,
            id=span_id,
            seq=1 if count["closed"] else 0,
        )

    def _chained(self, connection: Any, span: Span) -> Span:
        if span.seq == 0:
            return span
        rows = connection.execute(
            "SELECT curr_hash FROM ledger.universal_registry WHERE id = %s ORDER BY seq DESC LIMIT 1",
            [span.id],
        ).fetchall()
        return span.with_values(prev_hash=rows[0]["curr_hash"]) if rows else span.with_values(seq=0)

    def _alert(self, error: VerificationFailed, event: Span) -> None:
        alert = self._span(
            SYSTEM,
            entity_type="security_alert",
            did="refused",
            this=error.details["span_id"],
            status="active",
            parent_id=event.id,
            error=error_object(error),
            metadata={"user_id": self.identity.user_id, "tenant_id": self.identity.tenant_id},
        )
        append(self.database, SYSTEM, [alert], self.key)

    def _span(self, owner: Identity, **values: Any) -> Span:
        return parse_span(
            {
                "id": new_id(),
                "who": WHO,
                "at": datetime.now(UTC),
                "owner_id": owner.user_id,
                "tenant_id": owner.tenant_id,
                "trace_id": self.trace_id,
                **values,
            }
        )


# What an execution repeats of its boot_event: which code ran, and by whose decision.
_CARRIED = frozenset({"boot_function_id", "kernel", "manifest", "signed", "request_id"})


def error_object(error: LedgerError) -> dict[str, Any]:
    """An error as answers and spans hold it."""
    return {"code": error.code, "message": error.message, **error.details}
