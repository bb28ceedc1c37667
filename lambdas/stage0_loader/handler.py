"""loglineos-stage0-loader: the only code outside the ledger (manual section 1).

event -> identity -> manifest -> verify -> boot_event -> run -> execution -> answer
"""

from __future__ import annotations

import os
from typing import Any

from aws_lambda_powertools import Logger

from ledger.database import Database
from ledger.errors import Internal, LedgerError
from ledger.ids import new_id
from sandbox import Sandbox

from .answer import failure, success
from .boot import Loader
from .deadline import Deadline
from .event import parse_event
from .kernel import Kernels
from .perform import log_failure, perform
from .settings import Settings

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
    """One invocation: direct, or a call over HTTPS, which API Gateway tells by `requestContext`."""
    trace_id = new_id().hex
    loader.log.append_keys(trace_id=trace_id)
    try:
        if isinstance(event, dict) and "requestContext" in event:
            from .edge.front import answer_call  # a direct invocation does not pay for what HTTPS imports

            return answer_call(loader, event, Deadline.from_context(context), trace_id)
        deadline = Deadline.from_context(context)
        request = parse_event(event)
        trace_id = request.trace_id
        loader.log.append_keys(trace_id=trace_id)
        return success(perform(loader, request, deadline), trace_id)
    except LedgerError as error:
        log_failure(loader.log, error)
        return failure(error, trace_id)
    except Exception:
        loader.log.exception("ERROR unexpected failure")
        return failure(Internal(), trace_id)
    finally:
        loader.log.remove_keys(["trace_id"])
