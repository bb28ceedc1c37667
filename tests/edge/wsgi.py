"""The loader behind HTTP: a WSGI application that makes API Gateway's events, and a server for one process.

`python -m tests.edge.wsgi` serves the loader that the environment configures and prints its URL.
"""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qsl
from wsgiref.simple_server import WSGIRequestHandler, make_server

from stage0_loader.handler import handler
from tests.edge.kit import http_event

Invoke = Callable[[dict[str, Any]], dict[str, Any]]
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def application(invoke: Invoke) -> Application:
    """A WSGI application that answers with what `invoke` answers to the event of a request."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        result = invoke(_event(environ))
        body = result["body"].encode()
        if result["isBase64Encoded"]:
            body = base64.b64decode(body)
        status = f"{result['statusCode']} {_PHRASES.get(result['statusCode'], 'Answer')}"
        headers = [*result["headers"].items(), ("content-length", str(len(body)))]
        start_response(status, headers)
        return [body]

    return answer


_PHRASES = {200: "OK", 204: "No Content", 304: "Not Modified"}


def _event(environ: dict[str, Any]) -> dict[str, Any]:
    headers = {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")}
    if environ.get("CONTENT_TYPE"):
        headers["content-type"] = environ["CONTENT_TYPE"]
    query: dict[str, str] = {}
    for name, value in parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True):
        query[name] = f"{query[name]},{value}" if name in query else value
    size = int(environ.get("CONTENT_LENGTH") or 0)
    return http_event(
        environ["REQUEST_METHOD"],
        environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace"),
        query=query,
        headers=headers,
        body=environ["wsgi.input"].read(size) if size else None,
        source=environ.get("REMOTE_ADDR", ""),
    )


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


if __name__ == "__main__":
    # One request at a time, in the main thread, as Lambda does it: there a kernel can be stopped.
    with make_server("127.0.0.1", 0, application(handler), handler_class=_Silent) as server:
        os.write(sys.stdout.fileno(), f"http://127.0.0.1:{server.server_port}\n".encode())
        server.serve_forever()
