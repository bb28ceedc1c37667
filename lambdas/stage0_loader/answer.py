"""Answers: a status, headers and a JSON body, for direct invocation and HTTPS alike."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

import orjson

from ledger.errors import Internal, LedgerError
from ledger.read import Page, cursor_of
from ledger.span import Span, format_instant

from .audit import error_object
from .boot import Booted

MAX_PAGE_BYTES: Final = 5_000_000
STATUS: Final = {
    "invalid_input": 400,
    "unauthenticated": 401,
    "not_allowed": 403,
    "not_in_scope": 403,
    "not_permitted": 403,
    "not_found": 404,
    "verification_failed": 409,
    "version_conflict": 409,
    "request_conflict": 409,
    "request_in_progress": 409,
    "rejected": 422,
    **dict.fromkeys(("compile", "unsupported", "runtime", "memory", "recursion", "output_too_large"), 422),
    "busy": 429,
    "bad_request": 422,
    "quota_exceeded": 429,
    "rate_limited": 429,
    "kernel_failed": 500,
    "auth": 502,
    "unavailable": 502,
    "ledger_unavailable": 503,
    "sandbox_unavailable": 503,
    "timeout": 504,
}


def success(body: dict[str, Any], trace_id: str) -> dict[str, Any]:
    """200 with `{"ok": true, …, "trace_id"}`."""
    return _answer(200, {"ok": True, **body, "trace_id": trace_id}, trace_id)


def failure(error: LedgerError, trace_id: str) -> dict[str, Any]:
    """The error's status and `{"ok": false, "error": {"code", "message", …}, "trace_id"}`."""
    status = STATUS.get(error.code, 500)
    shown = error if error.code in STATUS else Internal()
    return _answer(status, {"ok": False, "error": error_object(shown), "trace_id": trace_id}, trace_id)


def booted_body(booted: Booted) -> dict[str, Any]:
    """The body of a successful boot. `span_id` is its boot_event, `execution_id` its execution span."""
    body = {
        "span_id": str(booted.event),
        "execution_id": str(booted.execution),
        "output": booted.output,
        "error": None,
        "duration_ms": booted.duration_ms,
        "proof": "signed" if booted.signed else "unsigned",
    }
    return body | ({"replayed": True} if booted.replayed else {})


def page_body(page: Page) -> dict[str, Any]:
    """Spans with all their columns, so that a client can check each hash itself, and where to go on."""
    bodies = bodies_that_fit(page.spans)
    cursor = cursor_of(page.spans[len(bodies) - 1]) if bodies else page.cursor
    return {"spans": bodies, "cursor": str(cursor)}


def bodies_that_fit(spans: Sequence[Span]) -> list[dict[str, Any]]:
    """The first of the spans; of large ones not all, since Lambda answers at most 6 MB."""
    bodies: list[dict[str, Any]] = []
    size = 0
    for span in spans:
        body = span_body(span)
        size += 2 * len(orjson.dumps(body))  # the body is text in JSON: quotes are escaped once more
        if bodies and size > MAX_PAGE_BYTES:
            break
        bodies.append(body)
    return bodies


def span_body(span: Span) -> dict[str, Any]:
    """A span's columns as JSON, nulls left out."""
    return {name: _plain(value) for name, value in span.columns().items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return format_instant(value)
    return value


def _answer(status: int, body: dict[str, Any], trace_id: str) -> dict[str, Any]:
    # A caller may have chosen the trace id: in a header only what cannot end it.
    headers = {"content-type": "application/json", "x-trace-id": quote(trace_id)}
    return {"statusCode": status, "headers": headers, "body": orjson.dumps(body).decode()}
