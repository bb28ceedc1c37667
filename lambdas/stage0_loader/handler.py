"""loglineos-stage0-loader: the only code outside the ledger (manual section 1).

event -> identity -> manifest -> verify -> boot_event -> run -> execution -> answer
"""

from __future__ import annotations

import os
from typing import Any

from aws_lambda_powertools import Logger

from ledger.database import Database
from ledger.errors import Internal, LedgerError, LedgerUnavailable, Misconfigured, QueryFailed, VerificationFailed
from ledger.ids import new_id
from sandbox import Sandbox

from .answer import booted_body, failure, page_body, span_body, success
from .audit import Audit
from .boot import Loader
from .code_check import sandbox_facts
from .deadline import Deadline
from .event import Append, Boot, Health, Request, Timeline, parse_event
from .kernel import KernelFailed, Kernels, KernelTimedOut
from .refusals import record_alert
from .settings import Settings
from .spans import append_as_caller, health, timeline

logger = Logger(service="loglineos-stage0-loader")
_loader: Loader | None = None


def handler(event: Any, context: Any = None) -> dict[str, Any]:
    """Answer `{"statusCode", "headers", "body"}`; never raises."""
    global _loader
    try:
        if _loader is None:
            _loader = make_loader(Settings.from_environment(os.environ), logger)
    except LedgerError as error:
        trace_id = new_id().hex
        logger.error("ERROR the loader is misconfigured", error=error.message, trace_id=trace_id)
        return failure(error, trace_id)
    return handle(_loader, event, context)


def make_loader(settings: Settings, log: Logger) -> Loader:
    """A loader with nothing warm yet."""
    sandbox = Sandbox(require_seccomp=settings.require_seccomp)
    return Loader(settings, Database(settings.target), Kernels(), sandbox, log)


def handle(loader: Loader, event: Any, context: Any) -> dict[str, Any]:
    """One invocation."""
    trace_id = new_id().hex
    loader.log.append_keys(trace_id=trace_id)
    try:
        deadline = Deadline.from_context(context)
        request = parse_event(event)
        trace_id = request.trace_id
        loader.log.append_keys(trace_id=trace_id)
        # Once a boot, and in no other line: the manual's Insights query 5.1 counts these.
        facts: dict[str, Any] = {"tenant_id": request.tenant_id, "user_id": request.user_id}
        if isinstance(request, Boot):
            facts["boot_function_id"] = str(request.boot_function_id)
        loader.log.info(request.action, **facts)
        loader.database.wait_until_reachable(deadline.at)
        return success(_watched(loader, request, deadline), trace_id)
    except LedgerError as error:
        _log_failure(loader.log, error)
        return failure(error, trace_id)
    except Exception:
        loader.log.exception("ERROR unexpected failure")
        return failure(Internal(), trace_id)
    finally:
        loader.log.remove_keys(["trace_id"])


def _watched(loader: Loader, request: Request, deadline: Deadline) -> dict[str, Any]:
    """Carry it out; whatever fails verification on the way is an alarm."""
    try:
        return _perform(loader, request, deadline)
    except VerificationFailed as error:
        loader.log.error("ERROR security_alert: span verification failed", **error.details)
        try:
            audit = Audit(loader.database, request.identity, request.trace_id, loader.settings.signing_key)
            record_alert(audit, error)
        except LedgerError as problem:
            loader.log.error("ERROR the alert could not be recorded", code=problem.code, error=problem.message)
        raise


def _perform(loader: Loader, request: Request, deadline: Deadline) -> dict[str, Any]:
    match request:
        case Boot():
            return booted_body(loader.boot(request, deadline))
        case Append():
            done = append_as_caller(loader.database, loader.settings, loader.sandbox, request)
            return {"spans": [{**span_body(item.span), "inserted": item.inserted} for item in done]}
        case Timeline():
            return page_body(timeline(loader.database, request))
        case Health():
            return {**health(loader.database, loader.settings, request), "sandbox": sandbox_facts(loader.sandbox)}


def _log_failure(log: Logger, error: LedgerError) -> None:
    if isinstance(error, LedgerUnavailable):
        log.error("ERROR ledger unavailable", reason=error.reason)
    elif isinstance(error, QueryFailed):
        log.error("ERROR query failed", error=error.message, exc_info=error)
    elif isinstance(error, KernelFailed | KernelTimedOut | Misconfigured):
        log.error("ERROR boot failed", code=error.code, error=error.message)
    else:
        log.info("refused", code=error.code, error=error.message)
