"""CORS as an HTTP API does it where it is configured: it answers preflights, and its headers are the only ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .messages import Answer, Request

Configuration = Mapping[str, Any]  # as the API keeps it: allowOrigins, allowMethods, …


def preflight(cors: Configuration, request: Request) -> Answer | None:
    """The answer to a browser's question before a request; None for other requests, or where nothing is configured."""
    asks = request.header("origin") and request.header("access-control-request-method")
    if not cors or request.method != "OPTIONS" or not asks:
        return None
    answer = Answer(204)
    allow(cors, request, answer)
    if answer.headers:
        for name, key in (("methods", "allowMethods"), ("headers", "allowHeaders")):
            if cors.get(key):
                answer.headers.append((f"access-control-allow-{name}", ",".join(cors[key])))
        if cors.get("maxAge") is not None:
            answer.headers.append(("access-control-max-age", str(cors["maxAge"])))
    return answer


def allow(cors: Configuration, request: Request, answer: Answer) -> None:
    """Let the page of an allowed origin read the answer; what the function says of CORS is dropped."""
    answer.headers = [item for item in answer.headers if not item[0].startswith("access-control-")]
    origin, origins = request.header("origin"), cors.get("allowOrigins") or []
    if not origin or not ("*" in origins or origin in origins):
        return
    answer.headers.append(("access-control-allow-origin", "*" if "*" in origins else origin))
    if cors.get("allowCredentials"):
        answer.headers.append(("access-control-allow-credentials", "true"))
    if cors.get("exposeHeaders"):
        answer.headers.append(("access-control-expose-headers", ",".join(cors["exposeHeaders"])))
