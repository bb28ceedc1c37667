"""request_worker_kernel: carries out pending requests, each once among any number of workers.

A request is claimed by its next version, `running`, which holds until when its run is certainly over. A worker that
dies leaves just that: when the time has passed, another one claims the request again.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StrictInt

from ledger.errors import LedgerError, VersionConflict
from ledger.span import format_instant

if TYPE_CHECKING:
    from ledger.span import Span
    from stage0_loader.context import Context

WHO: Final = "edge:worker"
WORK_S: Final = 20  # the alarm on the function's duration is at 25 s (manual 5.3)
RESERVE_S: Final = 2
MAX_ATTEMPTS: Final = 3
LEASE_MARGIN_S: Final = 3  # what the loader keeps back from its time, and clocks that differ
BACKOFF_S: Final = (5, 20)
DEFER_S: Final = 5
# Not the function's doing: the request goes back, and the attempt does not count.
DEFERRED: Final = frozenset({"busy", "sandbox_unavailable"})

CLAIM_SQL: Final = "SELECT * FROM ledger.claim_request()"


class Input(BaseModel):
    """How many requests to carry out at most; without it, as many as there is time for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[StrictInt, Field(ge=1)] | None = None


@dataclass(frozen=True)
class Claim:
    """A request that this worker has to carry out, as its owner; `outcome` says so where there is nothing to run."""

    owner: Context
    request: Span
    outcome: str | None = None


def main(ctx: Context) -> dict[str, Any]:
    """Claim and run, one after the other, until there is nothing to do or no time to do it."""
    limit = ctx.parse(Input).limit
    started = time.monotonic()
    run_s = ctx.sandbox.limits.timeout_ms / 1000 + RESERVE_S
    counts = Counter(claimed=0, complete=0, error=0, dead=0, deferred=0, lost=0)
    while limit is None or counts["claimed"] < limit:
        if time.monotonic() - started >= WORK_S or ctx.deadline.left_s() < run_s:
            break
        claim = _claim(ctx)
        if claim is None:
            break
        counts["claimed"] += 1
        counts[claim.outcome or _carry_out(claim)] += 1
    return dict(counts)


def _claim(ctx: Context) -> Claim | None:
    """The next request, as `running`, or as `dead` if it has been tried often enough."""
    with ctx.transaction() as tx:
        rows = tx.ledger.query(CLAIM_SQL)
        if not rows:
            return None
        row = rows[0]
        request = tx.acting_as(row["owner_id"], row["tenant_id"]).ledger.latest(row["request_id"])
        if request is None:
            ctx.log.error("ERROR the queue is off: run `loglineos queue rebuild`", request_id=str(row["request_id"]))
            raise ctx.failed("internal", "a pending request is not in the ledger")
        trace_id = request.trace_id
        within = tx.acting_as(row["owner_id"], row["tenant_id"], trace_id)
        if row["attempts"] >= MAX_ATTEMPTS:
            return Claim(within, _bury(within, request, row["attempts"]), "dead")
        attempt = row["attempts"] + 1
        lease_until = ctx.now() + timedelta(seconds=ctx.deadline.left_s() + LEASE_MARGIN_S)
        retry_at = lease_until + timedelta(seconds=BACKOFF_S[min(attempt, len(BACKOFF_S)) - 1])
        running = within.ledger.append_version(
            request,
            who=WHO,
            did="claimed",
            status="running",
            metadata={
                **(request.metadata or {}),
                "attempt": attempt,
                "lease_until": format_instant(lease_until),
                "retry_at": format_instant(retry_at),
                "worker_trace_id": ctx.trace_id,
            },
        )
    return Claim(ctx.acting_as(row["owner_id"], row["tenant_id"], trace_id), running)


def _bury(owner: Context, request: Span, attempts: int) -> Span:
    error = {"code": "dead", "message": f"{attempts} workers died while they ran it"}
    owner.log.error("ERROR request dead", request_id=str(request.id), tenant_id=request.tenant_id, attempts=attempts)
    dead = owner.ledger.append_version(request, who=WHO, did="gave up", status="dead", error=error)
    cause = {key: value for key, value in (request.metadata or {}).items() if key == "caused_by"}
    owner.ledger.append(
        entity_type="error_report",
        who=WHO,
        did="reported",
        this="request",
        status="active",
        parent_id=request.id,
        error=error,
        metadata={"function_id": str(request.parent_id), "attempts": attempts, **cause},
    )
    return dead


def _carry_out(claim: Claim) -> str:
    """Run the function and say what came of it in the request's last version."""
    owner, request = claim.owner, claim.request
    metadata = {key: value for key, value in (request.metadata or {}).items() if key not in ("lease_until", "retry_at")}
    given: dict[str, Any] = {"function_id": str(request.parent_id)}
    given |= {"input": request.input} if request.input is not None else {}
    given |= {"metadata": {"force": metadata["force"]}} if "force" in metadata else {}
    try:
        done = owner.run_kernel("run_code_kernel", given, request_id=request.id, caused_by=metadata.get("caused_by"))
    except LedgerError as error:
        if error.code == "ledger_unavailable":
            raise  # the lease brings it back
        if error.code in DEFERRED:
            retry_at = format_instant(owner.now() + timedelta(seconds=DEFER_S))
            metadata |= {"attempt": metadata["attempt"] - 1, "retry_at": retry_at}
            return _finish(owner, request, "deferred", status="scheduled", metadata=metadata)
        details = {"code": error.code, "message": error.message, **error.details}
        if "execution_id" in details:
            metadata["execution_id"] = details["execution_id"]
        return _finish(owner, request, "error", status="error", error=details, metadata=metadata)
    metadata["execution_id"] = done["execution_id"]
    return _finish(owner, request, "complete", status="complete", metadata=metadata)


def _finish(owner: Context, request: Span, outcome: str, **changes: Any) -> str:
    try:
        owner.ledger.append_version(request, who=WHO, did=outcome, **changes)
    except VersionConflict:
        # Its owner withdrew it meanwhile, or another worker has it: this one was away for longer than its lease.
        owner.log.warning("a request changed while it ran", request_id=str(request.id), outcome=outcome)
        return "lost"
    return outcome
