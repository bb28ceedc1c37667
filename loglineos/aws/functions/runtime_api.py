"""The Runtime API that a function's process polls: one small server for each process."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from ..http_body import read_body

_PREFIX = "/2018-06-01/runtime"


@dataclass(frozen=True)
class Invocation:
    """What the process is asked to do."""

    request_id: str
    payload: bytes
    deadline_ms: int
    function_arn: str
    trace_id: str


@dataclass(frozen=True)
class Answer:
    """What the process said: `response`, `error` or `init_error`, and the body of it."""

    kind: str
    body: bytes


class RuntimeApi:
    """Hands invocations to one process, and its answers back."""

    def __init__(self) -> None:
        self.ready = threading.Event()  # the process has loaded its handler and asked for work
        self.answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._invocations: queue.SimpleQueue[Invocation | None] = queue.SimpleQueue()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"api": self}))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def put(self, invocation: Invocation) -> None:
        self._invocations.put(invocation)

    def next(self) -> Invocation | None:
        self.ready.set()
        return self._invocations.get()

    def close(self) -> None:
        self._invocations.put(None)  # a process that waits for work gets an end instead
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    api: ClassVar[RuntimeApi]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes: the second would wait 40 ms for the first's receipt

    def log_message(self, format: str, *args: object) -> None:
        """Silent: what passes here is the function's business."""

    def do_GET(self) -> None:
        work = self.api.next() if self.path == f"{_PREFIX}/invocation/next" else None
        if work is None:
            self._answer(410, b"")
            return
        self._answer(
            200,
            work.payload,
            {
                "Lambda-Runtime-Aws-Request-Id": work.request_id,
                "Lambda-Runtime-Deadline-Ms": str(work.deadline_ms),
                "Lambda-Runtime-Invoked-Function-Arn": work.function_arn,
                "Lambda-Runtime-Trace-Id": work.trace_id,
            },
        )

    def do_POST(self) -> None:
        body, kind = read_body(self.headers, self.rfile), self.path.rsplit("/", 1)[-1]
        if self.path == f"{_PREFIX}/init/error":
            kind = "init_error"
            self.api.ready.set()
        if kind in ("response", "error", "init_error"):
            self.api.answers.put(Answer(kind, body))
        self._answer(202, b'{"status":"OK"}')

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the process was killed meanwhile
