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
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StrictInt

from ledger.errors import InvalidInput, LedgerError, VersionConflict
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
TURN: Final = 16  # what a worker runs of one tenant before it looks for the next: a new tenant needs a new sandbox
TURN_S: Final = 1.0
# What a run came to: the function's doing, or its owner's. Anything else is tried again.
RUN: Final = ("timeout", "memory", "recursion", "output_too_large", "unsupported", "runtime", "compile")
FINAL: Final = frozenset(["rejected", "quota_exceeded", *RUN])
# No run is possible at all: the attempt does not count, and this worker ends.
UNABLE: Final = frozenset(["sandbox_unavailable", "verification_failed", "not_allowed", "not_found"])
OURS: Final = ("attempt", "lease_until", "retry_at", "worker_trace_id", "execution_id", "caused_by")

CLAIM_SQL: Final = "SELECT * FROM ledger.claim_request(%s, %s)"


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


@dataclass
class Turn:
    """A tenant's turn at this worker."""

    tenant: str | None = None
    left: int = 0
    until: float = 0.0

    def unfinished(self) -> str | None:
        """The tenant, if it is still its turn."""
        return self.tenant if self.left > 0 and time.monotonic() < self.until else None

    def count(self, tenant: str | None, asked: str | None) -> None:
        """A request of this tenant was claimed where one of `asked` was preferred: another's turn begins."""
        if tenant != asked:
            self.tenant, self.left, self.until = tenant, TURN, time.monotonic() + TURN_S
        self.left -= 1


def main(ctx: Context) -> dict[str, Any]:
    """Claim and run, one after the other, until there is nothing to do or no time to do it."""
    limit = ctx.parse(Input).limit
    started = time.monotonic()
    run_s = ctx.sandbox.limits.timeout_ms / 1000 + RESERVE_S
    counts = Counter(claimed=0, complete=0, error=0, dead=0, deferred=0, retried=0, lost=0)
    busy: list[UUID] = []  # functions with no place free: each is tried once, or their requests would fill the ledger
    turn = Turn()
    while limit is None or counts["claimed"] < limit:
        if time.monotonic() - started >= WORK_S or ctx.deadline.left_s() < run_s:
            break
        asked = turn.unfinished()
        claim = _claim(ctx, busy, asked)
        if claim is None:
            break
        turn.count(claim.owner.tenant_id, asked)
        outcome = claim.outcome or _carry_out(claim)
        if outcome == "deferred" and claim.request.parent_id:
            busy.append(claim.request.parent_id)
        counts.update(["claimed", outcome])
    return dict(counts)


def _claim(ctx: Context, busy: list[UUID], tenant: str | None) -> Claim | None:
    """The next request, as `running`, or as `dead` if it has been tried often enough."""
    with ctx.transaction() as tx:
        rows = tx.ledger.query(CLAIM_SQL, [busy, tenant])
        if not rows:
            return None
        row = rows[0]
        request = tx.acting_as(row["owner_id"], row["tenant_id"]).ledger.latest(row["request_id"])
        if request is None:
            raise ctx.failed("internal", "a pending request is not in the ledger")
        trace_id = (request.trace_id or "")[:200] or None
        within = tx.acting_as(row["owner_id"], row["tenant_id"], trace_id)
        if row["attempts"] >= MAX_ATTEMPTS:
            return Claim(within, _bury(within, request, row["attempts"]), "dead")
        attempt = row["attempts"] + 1
        lease_until = ctx.now() + timedelta(seconds=ctx.deadline.left_s() + LEASE_MARGIN_S)
        ours = {
            "attempt": attempt,
            "lease_until": format_instant(lease_until),
            "retry_at": format_instant(lease_until + _backoff(attempt)),
            "worker_trace_id": ctx.trace_id,
        }
        metadata = {**(request.metadata or {}), **ours}
        try:
            running = within.ledger.append_version(
                request, who=WHO, did="claimed", status="running", error=None, metadata=metadata
            )
        except InvalidInput:  # only its size can be wrong
            error = {"code": "too_large", "message": "the request leaves no room for its next version; shorten it"}
            return Claim(within, _next_version(within, request, "error", error=error, metadata=metadata), "error")
    return Claim(ctx.acting_as(row["owner_id"], row["tenant_id"], trace_id), running)


def _backoff(attempt: int) -> timedelta:
    return timedelta(seconds=BACKOFF_S[min(attempt, len(BACKOFF_S)) - 1])


def _bury(owner: Context, request: Span, attempts: int) -> Span:
    error = {"code": "dead", "message": f"tried {attempts} times, and no run came to an end"}
    owner.log.error("ERROR request dead", request_id=str(request.id), tenant_id=request.tenant_id, attempts=attempts)
    dead = _next_version(owner, request, "dead", did="gave up", error=error, metadata=request.metadata or {})
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
    """Run the function and say what came of it in the request's next version."""
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
        return _failed(claim, metadata, error)
    metadata["execution_id"] = done["execution_id"]
    return _finish(owner, request, "complete", "complete", metadata=metadata)


def _failed(claim: Claim, metadata: dict[str, Any], error: LedgerError) -> str:
    owner, request = claim.owner, claim.request
    details = {"code": error.code, "message": error.message, **error.details}
    if error.code in FINAL:
        metadata |= {key: details[key] for key in ("execution_id",) if key in details}
        return _finish(owner, request, "error", "error", error=details, metadata=metadata)
    counts = error.code != "busy" and error.code not in UNABLE
    wait = _backoff(metadata["attempt"]) if counts else timedelta(seconds=DEFER_S)
    metadata |= {"retry_at": format_instant(owner.now() + wait), "attempt": metadata["attempt"] - (not counts)}
    outcome = "retried" if counts else "deferred"
    outcome = _finish(owner, request, outcome, "scheduled", error=details, metadata=metadata)
    if error.code in UNABLE:
        raise error
    return outcome


def _finish(owner: Context, request: Span, outcome: str, status: str, **values: Any) -> str:
    try:
        _next_version(owner, request, status, did=outcome, **values)
    except VersionConflict:
        # Its owner withdrew it meanwhile, or another worker has it: this one was away for longer than its lease.
        owner.log.warning("a request changed while it ran", request_id=str(request.id), outcome=outcome)
        return "lost"
    return outcome


def _next_version(
    owner: Context,
    request: Span,
    status: str,
    *,
    metadata: dict[str, Any],
    did: str = "error",
    error: dict[str, Any] | None = None,
) -> Span:
    """Append it, and if it is too large, without what its owner filled it with."""
    changes: dict[str, Any] = {"who": WHO, "did": did, "status": status}
    try:
        return owner.ledger.append_version(request, **changes, metadata=metadata, error=error)
    except InvalidInput:
        bare = dict.fromkeys(("related_to", "name", "description", "code", "language", "runtime", "input", "output"))
        brief = error and {"code": error["code"], "message": error["message"][:1000]}
        ours = {key: metadata[key] for key in OURS if key in metadata}
        return owner.ledger.append_version(request, **changes, **bare, this="run_code", metadata=ours, error=brief)
