"""An answer on its way out: problems, validators, compression, CORS."""

from __future__ import annotations

import base64
import gzip
import hashlib
import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from ledger.errors import Internal, LedgerError

from ..answer import STATUS
from ..audit import error_object
from .call import Call

PROBLEM: Final = "application/problem+json"
CHALLENGE: Final = 'Bearer realm="loglineos"'
MIN_GZIP_BYTES: Final = 1024
PREFLIGHT_S: Final = 600
STATUSES: Final = STATUS | {
    "unknown_path": 404,
    "unknown_span": 404,
    "method_not_allowed": 405,
    "body_too_large": 413,
    "unsupported_media_type": 415,
    "too_many_calls": 429,
}
_TAKEN_HEADERS: Final = "authorization, content-type, idempotency-key, if-none-match"
_SHOWN_HEADERS: Final = "etag, retry-after, www-authenticate, x-request-id, x-trace-id"
_ETAG: Final = re.compile(r'(?:W/)?("[^"]*")')


@dataclass(frozen=True)
class Reply:
    """A status and a JSON body. `etag` stands for what the body says, without its trace."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)
    etag: str | None = None
    content_type: str = "application/json"


def problem(error: LedgerError, trace_id: str) -> Reply:
    """The error as RFC 9457 has it, with the same `ok` and `error` as a direct invocation's answer."""
    shown = error if error.code in STATUSES else Internal()
    status = STATUSES.get(shown.code, 500)
    body = {
        "type": f"urn:loglineos:problem:{shown.code}",
        "title": shown.code.replace("_", " ").capitalize(),
        "status": status,
        "detail": shown.message,
        "instance": f"urn:loglineos:trace:{trace_id}",
        "ok": False,
        "error": error_object(shown),
        "trace_id": trace_id,
    }
    return Reply(status, body, _advice(shown, status), content_type=PROBLEM)


def preflight(call: Call, methods: list[str]) -> Reply:
    """What OPTIONS answers: which methods there are, and to a browser, what a page may send."""
    headers = {"allow": ", ".join(methods)}
    if "access-control-request-method" in call.headers:
        headers |= {
            "access-control-allow-methods": ", ".join(methods),
            "access-control-allow-headers": _TAKEN_HEADERS,
            "access-control-max-age": str(PREFLIGHT_S),
        }
    return Reply(204, {}, headers)


def finish(call: Call, reply: Reply, trace_id: str, origins: frozenset[str]) -> dict[str, Any]:
    """The reply as API Gateway takes it: `{"statusCode", "headers", "body", "isBase64Encoded"}`."""
    headers = {
        "cache-control": "private, no-cache" if reply.etag else "no-store",
        "vary": "Authorization, Origin, Accept-Encoding",
        "x-content-type-options": "nosniff",
        "x-request-id": call.request_id,
        "x-trace-id": trace_id,
        **_cors(call.headers.get("origin"), origins),
        **reply.headers,
        **({"etag": f'W/"{reply.etag}"'} if reply.etag else {}),
    }
    headers = {name: value for name, value in headers.items() if value}
    status, raw = reply.status, b""
    if reply.etag and _matches(call.headers.get("if-none-match", ""), reply.etag):
        status = 304
    elif status != 204:
        raw = orjson.dumps(reply.body)
        headers["content-type"] = reply.content_type
    if call.method == "HEAD":
        raw = b""
    if len(raw) >= MIN_GZIP_BYTES and _takes_gzip(call.headers.get("accept-encoding", "")):
        headers["content-encoding"] = "gzip"
        packed = base64.b64encode(gzip.compress(raw, compresslevel=5, mtime=0)).decode()
        return {"statusCode": status, "headers": headers, "body": packed, "isBase64Encoded": True}
    return {"statusCode": status, "headers": headers, "body": raw.decode(), "isBase64Encoded": False}


def digest(body: dict[str, Any]) -> str:
    """A validator of the body's content."""
    return hashlib.sha256(orjson.dumps(body)).hexdigest()[:32]


def _advice(error: LedgerError, status: int) -> dict[str, str]:
    """Headers that say what to do next."""
    if status == 401:
        invalid = getattr(error, "reason", "missing") != "missing"
        return {"www-authenticate": CHALLENGE + (', error="invalid_token"' if invalid else "")}
    if status == 405:
        return {"allow": ", ".join(error.details["allowed"])}
    if status in (429, 503):
        return {"retry-after": str(_wait_s(error.details))}
    return {}


def _wait_s(details: dict[str, Any]) -> int:
    """Seconds until it is worth another try, as far as the error tells."""
    after, until = details.get("retry_after"), details.get("resets_at")
    if isinstance(until, str):
        after = (datetime.fromisoformat(until) - datetime.now(UTC)).total_seconds()
    return max(1, math.ceil(after)) if isinstance(after, int | float) else 1


def _cors(origin: str | None, origins: frozenset[str]) -> dict[str, str]:
    """No cookies are taken, so a page gets nothing by it that its user's token does not give."""
    if origin is None or not origins & {origin, "*"}:
        return {}
    allowed = origin if origin in origins else "*"
    return {"access-control-allow-origin": allowed, "access-control-expose-headers": _SHOWN_HEADERS}


def _matches(header: str, etag: str) -> bool:
    return header.strip() == "*" or f'"{etag}"' in _ETAG.findall(header)


def _takes_gzip(header: str) -> bool:
    for part in header.lower().split(","):
        name, _, quality = part.strip().partition(";")
        if name.strip() in ("gzip", "*"):
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
