"""The HTTP server of the deployed API, on loopback and without TLS."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from ..addresses import HOST
from ..http_body import TooLarge, read_body
from .front import Front
from .messages import Answer, Request, message

MOST_BYTES = 10 * 1024 * 1024  # API Gateway's limit of a payload
_WITHOUT_BODY = (204, 304)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512  # who connects at the same time as many others is not turned away


def serve_api(port: int, front: Front) -> ThreadingHTTPServer:
    """A server that is ready to `serve_forever`."""
    return _Server((HOST, port), type("Handler", (_Handler,), {"front": front}))


class _Handler(BaseHTTPRequestHandler):
    front: ClassVar[Front]
    protocol_version = "HTTP/1.1"
    timeout = 75  # of a connection that is kept open and says nothing
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:
        """Silent: the stage's access log has it."""

    def _serve(self) -> None:
        try:
            body = read_body(self.headers, self.rfile, MOST_BYTES)
        except TooLarge:
            self._send(message(413, "Request Entity Too Large"))
            return
        except ValueError:
            self.close_connection = True
            self._send(message(400, "Bad Request"))
            return
        request = Request(
            self.command, self.path, list(self.headers.items()), body, self.client_address[0], self.request_version
        )
        self._send(self.front.handle(request))

    def _send(self, answer: Answer) -> None:
        self.send_response_only(answer.status)
        self.send_header("date", self.date_time_string())
        for name, value in answer.headers:
            self.send_header(name, value)
        if answer.status not in _WITHOUT_BODY:
            self.send_header("content-length", str(len(answer.body)))
        try:
            self.end_headers()
            if self.command != "HEAD" and answer.status not in _WITHOUT_BODY:
                self.wfile.write(answer.body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client went away

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _serve
