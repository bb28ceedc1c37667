"""observer_bot_kernel: requests the functions that are scheduled, each once for its version or its slot."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StrictInt

from ledger.errors import InvalidInput, LedgerError
from ledger.ids import derived_id
from ledger.schedule import check_schedule, last_slot, next_slot
from ledger.span import format_instant

if TYPE_CHECKING:
    from ledger.span import Span
    from stage0_loader.context import Context

WHO: Final = "edge:observer"
QUOTA: Final = "exec.per_tenant.daily"
WORK_S: Final = 20
RESERVE_S: Final = 3
LATER: Final = timedelta(minutes=10)

DUE_SQL: Final = "SELECT * FROM ledger.claim_due_function()"
OBSERVED_SQL: Final = "SELECT ledger.function_observed(%s, %s, %s)"
USED_SQL: Final = "SELECT ledger.quota_used(%s) AS used"


class Input(BaseModel):
    """How many functions to look at, at most."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[StrictInt, Field(ge=1)] | None = None


def main(ctx: Context) -> dict[str, Any]:
    """Look at the functions that are due, the longest first, until none is left or the time is over."""
    limit = ctx.parse(Input).limit
    until = time.monotonic() + min(WORK_S, ctx.deadline.left_s() - RESERVE_S)
    counts = Counter(observed=0, requested=0, over_quota=0, invalid=0, failed=0)
    while time.monotonic() < until and (limit is None or counts["observed"] < limit):
        outcome = _observe_one(ctx)
        if outcome is None:
            break
        counts["observed"] += 1
        counts.update(outcome)
    return dict(counts)


@dataclass(frozen=True)
class Slots:
    """What is done of a schedule, when it comes next, and what became of the slot that was due."""

    since: datetime
    due: datetime | None = None
    outcome: str | None = None


def _observe_one(ctx: Context) -> list[str] | None:
    """One function, in one transaction: its request is in the ledger exactly if the index says that it was seen."""
    with ctx.transaction() as tx:
        rows = tx.ledger.query(DUE_SQL)
        if not rows:
            return None
        due = rows[0]
        owner = tx.acting_as(due["owner_id"], due["tenant_id"], trace_id=ctx.new_id().hex)
        try:
            with owner.transaction() as part:
                once, slots = _look_at(part, due)
        except Exception as error:
            if isinstance(error, LedgerError) and error.code == "ledger_unavailable":
                raise
            # One function must not keep the others waiting.
            function_id = str(due["function_id"])
            ctx.log.error("ERROR a scheduled function failed", function_id=function_id, exc_info=error)
            once, slots = "failed", Slots(due["since"], ctx.now() + LATER)
        tx.ledger.query(OBSERVED_SQL, [due["function_id"], slots.since, slots.due])
    return [outcome for outcome in (once, slots.outcome) if outcome]


def _look_at(owner: Context, due: dict[str, Any]) -> tuple[str | None, Slots]:
    """What is due of the function's latest version: this version, once, and a slot of its schedule."""
    function = owner.ledger.latest(due["function_id"])
    once, slots = None, Slots(due["since"])
    if function is None or function.is_deleted:
        return once, slots
    if function.status == "scheduled":
        once = _request(owner, function, "version", str(function.seq))
    schedule = (function.metadata or {}).get("schedule")
    return once, slots if schedule is None else _slots(owner, function, schedule, due["since"])


def _slots(owner: Context, function: Span, schedule: Any, since: datetime) -> Slots:
    """Request the latest slot if it came after `since`: of slots that were missed, only that one."""
    try:
        check_schedule(schedule, "metadata.schedule")
    except InvalidInput as error:
        return Slots(since, None, _report_invalid(owner, function, error))
    now = max(owner.now(), since)
    slot = last_slot(schedule, now)
    if slot <= since:
        return Slots(since, next_slot(schedule, now))
    return Slots(slot, next_slot(schedule, now), _request(owner, function, "slot", format_instant(slot)))


def _request(owner: Context, function: Span, cause: str, which: str) -> str | None:
    """A request for this version or slot, unless it was made before; over quota a policy_violation instead."""
    request_id = derived_id("scheduled request", str(function.id), cause, which)
    if owner.ledger.latest(request_id) is not None:
        return None
    limit = owner.manifest["throttle"]["per_tenant_daily_exec_limit"]
    used = owner.ledger.query(USED_SQL, [QUOTA])[0]["used"]
    metadata = {"cause": cause, cause: which, "function_seq": function.seq}
    if caused_by := (function.metadata or {}).get("caused_by"):
        metadata["caused_by"] = caused_by  # a policy appended it: what follows is not shown to that one again
    if used >= limit:
        return _refuse(owner, function, {**metadata, "limit": limit, "used": used})
    owner.ledger.append(
        id=request_id,
        entity_type="request",
        who=WHO,
        did="requested",
        this="run_code",
        name=function.name,
        status="scheduled",
        parent_id=function.id,
        input=function.input,
        metadata=metadata,
    )
    return "requested"


def _refuse(owner: Context, function: Span, metadata: dict[str, Any]) -> str:
    """One violation for each function and day, however often it would have been due."""
    span_id = derived_id("policy_violation", str(function.id), "observer", owner.now().date().isoformat())
    owner.ledger.append_once(
        span_id,
        entity_type="policy_violation",
        who=WHO,
        did="refused",
        this=f"quota.{QUOTA}",
        status="active",
        parent_id=function.id,
        metadata={"policy": f"quota.{QUOTA}", **metadata},
    )
    return "over_quota"


def _report_invalid(owner: Context, function: Span, error: InvalidInput) -> str:
    """A schedule that cannot be read is said once for each version; `append` refuses them beforehand."""
    span_id = derived_id("invalid schedule", str(function.id), str(function.seq))
    owner.ledger.append_once(
        span_id,
        entity_type="error_report",
        who=WHO,
        did="reported",
        this="function",
        status="active",
        parent_id=function.id,
        error={"code": error.code, "message": error.message},
    )
    return "invalid"
