"""A call over HTTPS: path -> identity -> what is given -> the operation -> reply."""

from __future__ import annotations

from typing import Any

from ledger.errors import Internal, LedgerError

from ..boot import Loader
from ..deadline import Deadline
from ..perform import log_failure
from .call import Call
from .operations import Exchange
from .refused import record_refused
from .reply import Reply, digest, finish, preflight, problem
from .routes import at_path, listed, select
from .token import Caller, Unauthenticated, caller_of, use_once


def answer_call(loader: Loader, event: dict[str, Any], deadline: Deadline, trace_id: str) -> dict[str, Any]:
    """Answer an API Gateway event of payload format 2.0. Raises InvalidInput for an event of another kind alone."""
    call = Call.from_event(event)
    try:
        reply = _reply(loader, call, deadline, trace_id)
    except Unauthenticated as error:
        loader.log.info("refused", code=error.code, reason=error.reason, device_id=str(error.device_id or ""))
        reply = problem(error, trace_id)
    except LedgerError as error:
        log_failure(loader.log, error)
        reply = problem(error, trace_id)
    except Exception:
        loader.log.exception("ERROR unexpected failure")
        reply = problem(Internal(), trace_id)
    return finish(call, reply, trace_id, loader.settings.cors_origins)


def _reply(loader: Loader, call: Call, deadline: Deadline, trace_id: str) -> Reply:
    methods = at_path(call.path)
    if call.method == "OPTIONS":
        return preflight(call, listed(methods))
    route, span_id = select(methods, call.method)
    caller = None if route.open else _identify(loader, call, deadline, trace_id)
    exchange = Exchange(loader, call, deadline, trace_id, caller, span_id)
    content = route.operation(exchange, route.parse(call))
    # What was asked for by GET can be asked for again, on condition that it changed.
    etag = (content.etag or digest(content.body)) if route.method == "GET" else None
    body = content.body if content.bare else {"ok": True, **content.body, "trace_id": trace_id}
    return Reply(200, body, etag=etag)


def _identify(loader: Loader, call: Call, deadline: Deadline, trace_id: str) -> Caller:
    """Who calls. Raises Unauthenticated, once it is recorded."""
    authorization = call.headers.get("authorization")
    try:
        caller = caller_of(loader.database, authorization, loader.settings.audience, deadline)
        if call.method == "POST":
            use_once(loader.database, caller)
    except Unauthenticated as error:
        try:
            record_refused(loader.database, loader.settings, trace_id, error)
        except LedgerError as problem:  # the caller is refused all the same
            loader.log.error("ERROR a refused token could not be recorded", code=problem.code, error=problem.message)
        raise
    loader.log.info("authenticated", device_id=str(caller.device_id), method=call.method, path=call.path)
    return caller
