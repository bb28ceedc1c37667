"""The HTTP server: moto's, with CloudFormation replaced and the answers of custom resources received."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import moto.cloudformation.urls
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import BaseWSGIServer, make_server

from .addresses import HEALTH_PATH, HOST
from .cloudformation.custom import RESPONSE_PATH, Mailbox
from .cloudformation.service import Regions, service
from .resources import MODELS

Start = Callable[[str, list[tuple[str, str]]], object]


class QuietHandler(MotoRequestHandler):
    """No line for each request: a URL may hold a custom resource's secret path."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


class Application:
    """What answers a request: ourselves, or moto."""

    def __init__(self, url: str, mailbox: Mailbox) -> None:
        regions = Regions(url, MODELS, mailbox)
        moto.cloudformation.urls.url_paths = {"{0}/$": service(regions).dispatch}
        self._mailbox = mailbox
        self._moto = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == HEALTH_PATH:
            return _answer(start, "200 OK", {"status": "ready"})
        if path.startswith(RESPONSE_PATH):
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            waited_for = self._mailbox.deliver(path.removeprefix(RESPONSE_PATH), body)
            return _answer(start, "200 OK" if waited_for else "403 Forbidden", {})
        if path.endswith("/invocations"):  # moto looks for the name in lower case, and runs $LATEST otherwise
            environ["QUERY_STRING"] = environ.get("QUERY_STRING", "").replace("Qualifier=", "qualifier=")
        answer: Iterable[bytes] = self._moto(environ, start)
        return answer


def _answer(start: Start, status: str, content: dict[str, str]) -> Iterable[bytes]:
    body = json.dumps(content).encode()
    start(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def serve(port: int, mailbox: Mailbox) -> BaseWSGIServer:
    """A server on loopback that is ready to `serve_forever`."""
    application = Application(f"http://{HOST}:{port}", mailbox)
    return make_server(HOST, port, application, threaded=True, request_handler=QuietHandler)
