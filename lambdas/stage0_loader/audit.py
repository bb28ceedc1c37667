"""The spans that every boot leaves: `boot_event` before and `execution` after.

They belong to the caller, visibility private: one tenant's inputs are not another's to read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from nacl.signing import SigningKey

from ledger.append import append
from ledger.database import Database, Identity
from ledger.errors import InvalidInput, LedgerError
from ledger.ids import new_id
from ledger.span import Span, parse_span

from .context import Rejected
from .kernel import KernelTimedOut, Run

WHO: Final = "edge:stage0"
_STATUS = {KernelTimedOut: "timeout", Rejected: "rejected"}


@dataclass(frozen=True)
class Audit:
    """Writes the audit spans of one boot."""

    database: Database = field(repr=False)
    identity: Identity
    trace_id: str
    key: SigningKey | None = field(repr=False)

    def boot_event(self, this: str, status: str, metadata: Mapping[str, Any], **values: Any) -> Span:
        """A boot_event span, not yet appended."""
        return self.span(
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
        status = "complete" if run.error is None else _STATUS.get(type(run.error), "error")
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
            return self.append(self.span(self.identity, **values, output=output))
        except InvalidInput:
            # Only size can be wrong here. The run has happened: its span must not be missing.
            values["metadata"] = {**values["metadata"], "output_omitted": "larger than a span may be"}
            return self.append(self.span(self.identity, **values))

    def span(self, owner: Identity, **values: Any) -> Span:
        """A span of the loader's, not yet appended."""
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
