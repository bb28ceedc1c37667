"""An HTTP API that stands in for a deployed one: it verifies tokens and answers the few calls that the tests make.

What the real one answers is the loader's tests' business; here it is what the client sends.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

CODE = "a-code"
MEMORY = "00000000-0000-4000-8000-000000000007"
SEALED = {"seq": 0, "who": "user:ana", "owner_id": "user:ana", "tenant_id": "acme", "curr_hash": "0" * 64}
Answer = tuple[int, Any]


class Refused(Exception):
    """A problem of this status and code."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.answer: Answer = status, {"detail": code, "ok": False, "error": {"code": code, "message": f"no: {code}"}}


@dataclass
class Ledger:
    """Devices, spans, and what was asked for."""

    devices: dict[str, Ed25519PublicKey] = field(default_factory=dict)
    registered: dict[str, dict[str, Any]] = field(default_factory=dict)
    spans: list[dict[str, Any]] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    calls: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    next_answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)  # given instead of what follows

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        url = urlsplit(target)
        given = json.loads(body) if body else dict(parse_qsl(url.query))
        routes: dict[tuple[str, str], Callable[[dict[str, Any], dict[str, str]], Answer]] = {
            ("GET", "/api/manifest"): self._manifest,
            ("POST", "/api/boot"): self._boot,
            ("POST", "/api/spans"): self._append,
            ("GET", "/api/spans"): self._page,
            ("GET", "/api/timeline"): self._follow,
        }
        try:
            if (method, url.path) == ("POST", "/api/enroll"):
                return self._enroll(given)
            if (method, url.path) == ("GET", "/health"):
                return 200, {"ok": True, "status": "ok"}
            self._authenticate(headers.get("authorization", ""), once=method == "POST")
            return routes[method, url.path](given, headers)
        except Refused as refused:
            return refused.answer

    def _enroll(self, given: dict[str, Any]) -> Answer:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(given["pubkey"]))
        try:
            key.verify(bytes.fromhex(given["signature"]), CODE.encode())
        except InvalidSignature:
            raise Refused(422, "rejected") from None
        if given["code"] != CODE:
            raise Refused(422, "rejected")
        if given["pubkey"] not in self.registered:
            device = str(uuid.uuid4())
            self.devices[device] = key
            self.registered[given["pubkey"]] = {
                "device_id": device, "app_id": str(uuid.uuid4()), "user_id": "user:ana", "tenant_id": "acme",
                "scopes": ["memory_store_kernel"], "status": "active", "fingerprint": given["device_fingerprint"],
            }  # fmt: skip
        return 200, {"ok": True, "output": self.registered[given["pubkey"]]}

    def _authenticate(self, header: str, *, once: bool) -> None:
        try:
            token = header.removeprefix("Bearer ")
            key = self.devices[jwt.get_unverified_header(token)["kid"]]
            required = ["exp", "iat", "jti", "aud"]
            claims = jwt.decode(token, key, algorithms=["EdDSA"], audience="loglineos", options={"require": required})
        except (jwt.PyJWTError, KeyError):
            raise Refused(401, "unauthenticated") from None
        if claims["exp"] - claims["iat"] > 600 or (once and claims["jti"] in self.used):
            raise Refused(401, "unauthenticated")
        self.used |= {claims["jti"]} if once else set()

    def _manifest(self, *_: Any) -> Answer:
        return 200, {"ok": True, "manifest_id": MEMORY, "seq": 4, "proof": "signed",
                     "kernels": {"memory_store_kernel": MEMORY}}  # fmt: skip

    def _boot(self, given: dict[str, Any], headers: dict[str, str]) -> Answer:
        if given["boot_function_id"] != MEMORY:
            raise Refused(403, "not_allowed")
        output = {"booted": given, "key": headers.get("idempotency-key")}
        return 200, {"ok": True, "output": output, "proof": "signed", "duration_ms": 1, "execution_id": MEMORY}

    def _append(self, given: dict[str, Any], _: dict[str, str]) -> Answer:
        known = {span["id"] for span in self.spans}
        for span in given["spans"]:
            if span["id"] not in known:
                self.spans.append({**SEALED, **span})
        return 200, {"ok": True, "spans": [{**span, "inserted": True} for span in self.spans[-len(given["spans"]) :]]}

    def _page(self, given: dict[str, Any], _: dict[str, str]) -> Answer:
        newest = list(reversed(self.spans))[: int(given["limit"])]
        return 200, {"ok": True, "spans": newest, "cursor": str(len(self.spans) - len(newest))}

    def _follow(self, given: dict[str, Any], headers: dict[str, str]) -> Answer:
        after = 0 if given["after"] == "beginning" else int(given["after"])
        cursor = str(len(self.spans))
        if headers.get("if-none-match") == f'W/"{cursor}"':
            return 304, None
        return 200, {"ok": True, "spans": self.spans[after:], "cursor": cursor}


@contextmanager
def served() -> Iterator[tuple[str, Ledger]]:
    """It, and its URL on loopback."""
    ledger = Ledger()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None: ...

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            ledger.calls.append((self.command, self.path, headers))
            if ledger.next_answers:
                status, extra = ledger.next_answers.pop(0)
                said: Any = {"message": "Too Many Requests"}
            else:
                (status, said), extra = ledger.answer(self.command, self.path, headers, body), {}
            raw = b"" if said is None else json.dumps(said).encode()
            self.send_response(status)
            for name, value in {**extra, "content-length": str(len(raw))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(raw)

        do_POST = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", ledger
    finally:
        server.shutdown()
        server.server_close()
