"""run_code_kernel: runs a function of the caller's tenant in the sandbox, within its quota."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, StrictStr

from ledger.errors import InvalidInput, LedgerError, NotPermitted, QuotaExceeded, VersionConflict
from ledger.ids import derived_id
from ledger.override import override_problem

if TYPE_CHECKING:
    from ledger.span import Span
    from stage0_loader.context import Context

WHO: Final = "edge:run_code"
QUOTA: Final = "exec.per_tenant.daily"
NO_LIMIT: Final = 2**62
RUN_S: Final = 60  # longer than any process that runs a function lives

SPEND_SQL: Final = "SELECT ledger.spend_quota('exec.per_tenant.daily', 1, %s)"
BEGIN_SQL: Final = "SELECT ledger.begin_run(%s, %s, %s, %s) AS begun"
END_SQL: Final = "SELECT ledger.end_run(%s)"

# What the sandbox says of a function: the function's own failure, which its execution span records.
STATUS: Final = {
    "timeout": "timeout",
    **dict.fromkeys(("memory", "recursion", "output_too_large", "unsupported", "runtime", "compile"), "error"),
}


class Force(BaseModel):
    """One run over quota, allowed by the holder of the override key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    signature: StrictStr
    expires_at: StrictStr


class Metadata(BaseModel):
    """What a caller may say about a run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    force: Force | None = None


class Input(BaseModel):
    """`function_id` with an argument, or `span_id`: the function with the input that stands in its own span."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    function_id: Annotated[UUID, BeforeValidator(str)] | None = None
    span_id: Annotated[UUID, BeforeValidator(str)] | None = None
    input: Any = None
    metadata: Metadata = Metadata()


@dataclass(frozen=True)
class Outcome:
    """What came of a run, as its execution span will say."""

    status: str
    output: Any
    error: LedgerError | None
    printed: str
    duration_ms: int


def main(ctx: Context) -> dict[str, Any]:
    """Run the function and record it. What the function does wrong is raised, once it is recorded."""
    request = ctx.parse(Input)
    function, argument = _function(ctx, request)
    run_id = ctx.new_id()
    with _place(ctx, function, run_id):
        forced = _spend(ctx, request, function)
        outcome = _run(ctx, function, argument)
    execution = _record(ctx, run_id, function, argument, outcome, forced=forced)
    if execution.error is not None:
        raise ctx.failed(**{**execution.error, "execution_id": str(execution.id)})
    return {
        "output": outcome.output,
        "printed": outcome.printed,
        "status": execution.status,
        "execution_id": str(execution.id),
        "function": {"id": str(function.id), "name": function.name, "seq": function.seq},
        "duration_ms": outcome.duration_ms,
    }


def _function(ctx: Context, request: Input) -> tuple[Span, Any]:
    """The latest version of the function, and its argument."""
    if (request.function_id is None) == (request.span_id is None):
        raise ctx.rejected("function_id: expected either function_id or span_id", field="function_id")
    field = "function_id" if request.function_id else "span_id"
    if field == "span_id" and "input" in request.model_fields_set:
        raise ctx.rejected("input: span_id runs the function with its own input; use function_id", field="input")
    function = ctx.ledger.latest(request.function_id or request.span_id)  # type: ignore[arg-type]
    if function is None or function.entity_type != "function" or function.is_deleted:
        function = None
    # Kernels are functions too, of the system and public: they are booted, never run.
    if function is None or function.tenant_id != ctx.tenant_id or function.owner_id == "system":
        raise ctx.rejected(f"{field}: there is no such function in your tenant", field=field)
    if function.language != "python":
        raise ctx.rejected(f"language: {function.language} is not supported; functions are python", field="language")
    return function, request.input if "input" in request.model_fields_set else function.input


@contextmanager
def _place(ctx: Context, function: Span, run_id: UUID) -> Iterator[None]:
    """One of the function's `metadata.max_concurrency` places, where it limits its simultaneous runs."""
    limit = (function.metadata or {}).get("max_concurrency")
    if type(limit) is not int or not 1 <= limit < 2**31:
        yield
        return
    if not ctx.ledger.query(BEGIN_SQL, [function.id, run_id, limit, RUN_S])[0]["begun"]:
        raise ctx.failed(
            "busy", f"{function.name or function.id} is running {limit} times already, its max_concurrency", limit=limit
        )
    try:
        yield
    finally:
        ctx.ledger.query(END_SQL, [run_id])


def _spend(ctx: Context, request: Input, function: Span) -> bool:
    """Count the run towards the tenant's daily quota; True if it was let through by force."""
    limit = ctx.manifest["throttle"]["per_tenant_daily_exec_limit"]
    force = request.metadata.force
    if force is not None:
        problem = override_problem(
            ctx.manifest.get("override_pubkey_hex"),
            force.signature,
            tenant_id=ctx.tenant_id or "",
            function_id=function.id,
            request_id=ctx.request_id,
            expires_at=force.expires_at,
            now=ctx.now(),
        )
        if problem is not None:
            raise ctx.rejected(f"metadata.force: {problem}", field="metadata.force")
        _use_up(ctx, function)
    try:
        ctx.ledger.query(SPEND_SQL, [NO_LIMIT if force else limit])
    except QuotaExceeded as error:
        _record_violation(ctx, function, error)
        raise
    return force is not None


def _use_up(ctx: Context, function: Span) -> None:
    """An override is good for one run, whoever of the tenant has it: its span can be appended once."""
    try:
        ctx.ledger.append(
            id=derived_id("override", ctx.tenant_id or "", str(ctx.request_id)),
            entity_type="override",
            who=WHO,
            did="used",
            this=f"quota.{QUOTA}",
            status="used",
            parent_id=function.id,
            metadata={"request_id": str(ctx.request_id)},
        )
    except (VersionConflict, NotPermitted):
        raise ctx.rejected("metadata.force: it was used before", field="metadata.force") from None


def _record_violation(ctx: Context, function: Span, error: QuotaExceeded) -> None:
    """One for each function, user and day: who goes on trying adds nothing."""
    span_id = derived_id("policy_violation", str(function.id), ctx.user_id, error.details["resets_at"])
    ctx.ledger.append_once(
        span_id,
        entity_type="policy_violation",
        who=WHO,
        did="refused",
        this=f"quota.{QUOTA}",
        status="active",
        parent_id=function.id,
        metadata={"policy": f"quota.{QUOTA}", **error.details, **_cause(ctx)},
    )


def _run(ctx: Context, function: Span, argument: Any) -> Outcome:
    started = time.monotonic()
    try:
        result = ctx.sandbox.run(function.code or "", "main", argument)
    except LedgerError as error:
        if error.code not in STATUS:
            raise
        printed = str(error.details.pop("printed", ""))
        return Outcome(STATUS[error.code], None, error, printed, _since(started))
    return Outcome("complete", result.output, None, result.printed, _since(started))


def _since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)


def _record(ctx: Context, run_id: UUID, function: Span, argument: Any, outcome: Outcome, *, forced: bool) -> Span:
    """The execution span, and a mark beside it if it was slow."""
    metadata: dict[str, Any] = {
        "function": {"id": str(function.id), "seq": function.seq, "curr_hash": function.curr_hash},
        "printed": outcome.printed,
    }
    metadata |= {"request_id": str(ctx.request_id)} if ctx.request_id else {}
    metadata |= _cause(ctx)
    metadata |= {"forced": True} if forced else {}
    error = outcome.error
    execution: dict[str, Any] = {
        "id": run_id,
        "entity_type": "execution",
        "who": WHO,
        "did": "executed",
        "this": "run_code",
        "name": function.name,
        "status": outcome.status,
        "parent_id": function.id,
        "related_to": [ctx.request_id] if ctx.request_id else None,
        "input": argument,
        "output": outcome.output,
        "error": {"code": error.code, "message": error.message, **error.details} if error else None,
        "metadata": metadata,
        "duration_ms": outcome.duration_ms,
    }
    marks = [_slow_mark(ctx, run_id, outcome)] if outcome.duration_ms > ctx.manifest["policy"]["slow_ms"] else []
    try:
        return ctx.ledger.append_many([execution, *marks])[0]
    except InvalidInput:
        # Only size can be wrong here: input, output and what it printed do not fit into one span. It has run.
        return ctx.ledger.append_many([_shortened(execution), *marks])[0]


def _shortened(execution: dict[str, Any]) -> dict[str, Any]:
    """The execution without what can be large; the function's own error stays what it was."""
    error = {"code": "output_too_large", "message": "input, output and printed text must fit into 1 MB together"}
    own = execution["error"]
    if own is not None:
        error = {"code": own["code"], "message": own["message"][:1000]}
    status = execution["status"] if own else "error"
    bare = dict.fromkeys(("name", "input", "output"))
    metadata = {**execution["metadata"], "printed": "", "omitted": ["name", "input", "output", "printed"]}
    return {**execution, **bare, "status": status, "error": error, "metadata": metadata}


def _cause(ctx: Context) -> dict[str, Any]:
    """The policies that led to the run: it is not shown to them again."""
    return {"caused_by": dict(ctx.caused_by)} if ctx.caused_by else {}


def _slow_mark(ctx: Context, run_id: UUID, outcome: Outcome) -> dict[str, Any]:
    # The id that slow_exec_policy would give it: a run is marked once, whoever is first.
    return {
        "id": derived_id("status_patch", str(run_id), "slow"),
        "entity_type": "status_patch",
        "who": WHO,
        "did": "marked",
        "this": "execution",
        "status": "slow",
        "parent_id": run_id,
        "duration_ms": outcome.duration_ms,
        "metadata": {"slow_ms": ctx.manifest["policy"]["slow_ms"], **_cause(ctx)},
    }
