"""Carry a request out, whichever way it came, and log what came of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from aws_lambda_powertools import Logger

from ledger.database import Identity
from ledger.errors import LedgerError, LedgerUnavailable, Misconfigured, QueryFailed, VerificationFailed

from .answer import booted_body, page_body, span_body
from .audit import Audit
from .boot import Loader
from .code_check import sandbox_facts
from .deadline import Deadline
from .event import Append, Boot, Health, Request, Timeline
from .kernel import KernelFailed, KernelTimedOut
from .refusals import record_alert
from .spans import append_as_caller, health, timeline

Result = TypeVar("Result")


def perform(
    loader: Loader, request: Request, deadline: Deadline, scopes: frozenset[str] | None = None
) -> dict[str, Any]:
    """What the request answers. `scopes`: of the app that calls over HTTPS; None for a direct invocation."""
    # Once a boot, and in no other line: the manual's Insights query 5.1 counts these.
    facts: dict[str, Any] = {"tenant_id": request.tenant_id, "user_id": request.user_id}
    if isinstance(request, Boot):
        facts["boot_function_id"] = str(request.boot_function_id)
    loader.log.info(request.action, **facts)
    loader.database.wait_until_reachable(deadline.at)
    asks = isinstance(request, Health)  # who only looks appends nothing, whatever is seen
    work = partial(_perform, loader, request, deadline, scopes)
    return watched(loader, request.identity, request.trace_id, work, append=not asks)


def watched(
    loader: Loader, identity: Identity, trace_id: str, work: Callable[[], Result], *, append: bool = True
) -> Result:
    """`work()`; whatever fails verification on the way is an alarm: in the log, and with `append` in the ledger."""
    try:
        return work()
    except VerificationFailed as error:
        loader.log.error("ERROR security_alert: span verification failed", **error.details)
        if not append:
            raise
        try:
            record_alert(Audit(loader.database, identity, trace_id, loader.settings.signing_key), error)
        except LedgerError as problem:
            loader.log.error("ERROR the alert could not be recorded", code=problem.code, error=problem.message)
        raise


def _perform(loader: Loader, request: Request, deadline: Deadline, scopes: frozenset[str] | None) -> dict[str, Any]:
    match request:
        case Boot():
            return booted_body(loader.boot(request, deadline, scopes))
        case Append():
            done = append_as_caller(loader.database, loader.settings, loader.sandbox, request)
            return {"spans": [{**span_body(item.span), "inserted": item.inserted} for item in done]}
        case Timeline():
            return page_body(timeline(loader.database, request))
        case Health():
            return {**health(loader.database, loader.settings, request), "sandbox": sandbox_facts(loader.sandbox)}


def log_failure(log: Logger, error: LedgerError) -> None:
    """One line: what operators have to look at is an ERROR."""
    if isinstance(error, LedgerUnavailable):
        log.error("ERROR ledger unavailable", reason=error.reason)
    elif isinstance(error, QueryFailed):
        log.error("ERROR query failed", error=error.message, exc_info=error)
    elif isinstance(error, KernelFailed | KernelTimedOut | Misconfigured):
        log.error("ERROR boot failed", code=error.code, error=error.message)
    else:
        log.info("refused", code=error.code, error=error.message)
