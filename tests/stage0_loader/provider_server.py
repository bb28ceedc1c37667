"""A local provider of language models: speaks OpenAI's and Ollama's protocols, and misbehaves as it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-Test-0a1b2c3d4e5f6g7h8i9j"
JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Asked:
    """One request that came in."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    raw: bytes = field(repr=False)


class Handler(BaseHTTPRequestHandler):
    """One connection. `answer` writes what the script says."""

    protocol_version = "HTTP/1.1"
    server: ProviderServer

    def do_POST(self) -> None:
        """Record the request, then do what the script has next, or what a provider in order would."""
        raw = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.path, headers, json.loads(raw), raw)
        self.server.asked.append(asked)
        step = self.server.script.pop(0) if self.server.script else in_order
        step(self, asked)

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        """A whole answer."""
        self.send_response(status)
        for name, value in {**JSON, "content-length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def wait(self, seconds: float) -> bool:
        """Sleep; True as soon as the server is closed."""
        return self.server.closed.wait(seconds)

    def log_message(self, *_: Any) -> None:
        """Nothing on standard error."""


Step = Callable[[Handler, Asked], None]


class ProviderServer(ThreadingHTTPServer):
    """On a port of its own; `script` holds what the next requests get, `asked` what came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[Step] = []
        self.asked: list[Asked] = []
        self.closed = threading.Event()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: Any) -> None:
        """A client that goes away is what some tests are about."""


@contextmanager
def provider_server() -> Iterator[ProviderServer]:
    """A running server."""
    with ProviderServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.closed.set()
            server.shutdown()
            thread.join()


def in_order(handler: Handler, asked: Asked) -> None:
    """What a provider in order answers: it repeats what it was asked, and only to the right key."""
    if asked.path.endswith("/chat/completions") and asked.headers.get("authorization") != f"Bearer {KEY}":
        error = {"message": f"Incorrect API key: {asked.headers.get('authorization')}", "code": "invalid_api_key"}
        return handler.answer(401, json.dumps({"error": error}).encode())
    text = "You said: " + asked.body["messages"][-1]["content"]
    body = openai_body(text, asked.body["model"]) if "completions" in asked.path else ollama_body(text)
    return handler.answer(200, json.dumps(body, ensure_ascii=False).encode())


def openai_body(text: str | None, model: str = "gpt-4", **message: Any) -> dict[str, Any]:
    """As in OpenAI's published `CreateChatCompletionResponse`."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": f"{model}-0613",
        "system_fingerprint": None,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None, "annotations": [], **message},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
    }


def ollama_body(text: str) -> dict[str, Any]:
    """As in Ollama's published `ChatResponse`."""
    return {
        "model": "llama3.2",
        "created_at": "2026-11-23T00:00:00.000000Z",
        "message": {"role": "assistant", "content": text},
        "done": True,
        "done_reason": "stop",
        "total_duration": 5191566416,
        "load_duration": 2154458,
        "prompt_eval_count": 26,
        "prompt_eval_duration": 383809000,
        "eval_count": 298,
        "eval_duration": 4799921000,
    }


def says(status: int, body: Any = None, headers: dict[str, str] | None = None) -> Step:
    """Answer this, whole: bytes as they are, other values as JSON."""
    encoded = body if isinstance(body, bytes) else json.dumps(body if body is not None else {}).encode()
    return lambda handler, _: handler.answer(status, encoded, headers)


def writes(*parts: bytes, pause_s: float = 0) -> Step:
    """Write these bytes as they are, with pauses, and close the connection."""

    def step(handler: Handler, _: Asked) -> None:
        handler.close_connection = True
        for part in parts:
            handler.wfile.write(part)
            if pause_s and handler.wait(pause_s):
                return

    return step
