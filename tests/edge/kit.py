"""Devices that call the loader over HTTPS; each answer is held against docs/openapi.json."""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import re
import time
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final
from uuid import UUID, uuid4

import jsonschema_rs
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nacl.signing import SigningKey

from ledger.settings import asset_directory
from stage0_loader.boot import Loader
from tests.stage0_loader.stage import Stage

ENROLLMENT: Final = UUID("00000000-0000-4000-8000-000000000008")
DOCUMENT: Final = asset_directory("docs") / "openapi.json"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class HttpAnswer:
    """An answer as a client sees it, and what was logged meanwhile."""

    status: int
    headers: dict[str, str]
    raw: bytes
    log: str

    @property
    def body(self) -> dict[str, Any]:
        """The JSON body."""
        found: dict[str, Any] = json.loads(self.raw)
        return found

    @property
    def error(self) -> dict[str, Any]:
        """The error; the call must have failed."""
        assert self.body["ok"] is False, self.raw
        error: dict[str, Any] = self.body["error"]
        return error

    @property
    def output(self) -> Any:
        """What the kernel answered; the boot must have succeeded."""
        assert self.status == 200, self.raw
        return self.body["output"]


def http_event(
    method: str,
    path: str,
    *,
    query: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
    body: str | bytes | None = None,
    source: str = "203.0.113.1",
) -> dict[str, Any]:
    """An HTTP API event of payload format 2.0. A body of bytes travels in base64."""
    event = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "headers": headers or {},
        "requestContext": {
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": source},
            "requestId": f"request-{next(_numbers)}",
            "stage": "$default",
        },
        "isBase64Encoded": isinstance(body, bytes),
    }
    if query:
        event["queryStringParameters"] = query
    if body is not None:
        event["body"] = base64.b64encode(body).decode() if isinstance(body, bytes) else body
    return event


def send(
    stage: Stage, method: str, path: str, *, given: Any = None, loader: Loader | None = None, **parts: Any
) -> HttpAnswer:
    """One call; `given` is sent as JSON. The answer conforms to docs/openapi.json, or this fails."""
    if given is not None:
        parts["headers"] = {"content-type": "application/json", **parts.get("headers", {})}
        parts["body"] = json.dumps(given)
    raw, log = stage.invoke(http_event(method, path, **parts), loader=loader)
    data = base64.b64decode(raw["body"]) if raw["isBase64Encoded"] else raw["body"].encode()
    if raw["headers"].get("content-encoding") == "gzip":
        data = gzip.decompress(data)
    answer = HttpAnswer(raw["statusCode"], raw["headers"], data, log)
    require_documented(method, path, answer)
    return answer


@dataclass(frozen=True)
class Device:
    """An enrolled device and its key."""

    stage: Stage
    device_id: str
    user_id: str
    tenant_id: str
    app_id: str
    key: SigningKey = field(repr=False)

    def token(self, *, headers: dict[str, Any] | None = None, **changes: Any) -> str:
        """A fresh token; a claim of None is left out."""
        now = int(time.time())
        claims = {"aud": "loglineos", "iat": now, "exp": now + 300, "jti": uuid4().hex, **changes}
        return jwt.encode(
            {name: value for name, value in claims.items() if value is not None},
            Ed25519PrivateKey.from_private_bytes(bytes(self.key)),
            algorithm="EdDSA",
            headers={"kid": self.device_id, **(headers or {})},
        )

    def send(
        self, method: str, path: str, *, token: str | None = None, headers: dict[str, str] | None = None, **parts: Any
    ) -> HttpAnswer:
        """One call with a fresh token, or the one given."""
        headers = {"authorization": f"Bearer {token or self.token()}", **(headers or {})}
        return send(self.stage, method, path, headers=headers, **parts)

    def get(self, path: str, **parts: Any) -> HttpAnswer:
        """GET; other parts are the query, but for `headers`."""
        headers = parts.pop("headers", None)
        return self.send("GET", path, headers=headers, query={name: str(value) for name, value in parts.items()})

    def post(self, path: str, given: Any, **headers: str) -> HttpAnswer:
        """POST a JSON body."""
        return self.send("POST", path, given=given, headers=headers)

    def boot(self, kernel: UUID | str, given: dict[str, Any], **headers: str) -> HttpAnswer:
        """Boot a kernel."""
        return self.post("/api/boot", {"boot_function_id": str(kernel), "input": given}, **headers)

    def append(self, this: str, **values: Any) -> dict[str, Any]:
        """Append a note; answers it as sealed."""
        answer = self.post("/api/spans", {"span": {"entity_type": "note", "did": "noted", "this": this, **values}})
        assert answer.status == 200, answer.raw
        span: dict[str, Any] = answer.body["spans"][0]
        return span


def invitation(stage: Stage, tenant: str, **given: Any) -> str:
    """A code, as an administrator gets it by direct invocation."""
    code: str = stage.boot(ENROLLMENT, {"action": "invite", **given}, user="admin", tenant=tenant).output["code"]
    return code


def enrollment(code: str, key: SigningKey, **changes: Any) -> dict[str, Any]:
    """The body of POST /api/enroll."""
    return {
        "code": code,
        "app_name": "editor",
        "app_version": "1.0",
        "device_fingerprint": "laptop-1",
        "pubkey": bytes(key.verify_key).hex(),
        "signature": key.sign(code.encode()).signature.hex(),
        **changes,
    }


def enrolled(stage: Stage, tenant: str, **invited: Any) -> Device:
    """A new app of the tenant with its device, enrolled over HTTPS from an address of its own."""
    key, number = SigningKey.generate(), next(_numbers)
    given = enrollment(invitation(stage, tenant, **invited), key)
    found = send(stage, "POST", "/api/enroll", given=given, source=f"10.1.{number // 256}.{number % 256}").output
    return Device(stage, found["device_id"], found["user_id"], found["tenant_id"], found["app_id"], key)


def early_in_a_minute() -> None:
    """What is counted by the minute is tried within one."""
    left = 60 - time.time() % 60
    if left < 5:
        time.sleep(left)


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """docs/openapi.json."""
    found: dict[str, Any] = json.loads(DOCUMENT.read_text())
    return found


def require_documented(method: str, path: str, answer: HttpAnswer) -> None:
    """The answer is one that the document has for this path and method."""
    templates = {re.sub(r"\{\w+\}", "[^/]+", template): item for template, item in document()["paths"].items()}
    item: dict[str, Any] = next((item for pattern, item in templates.items() if re.fullmatch(pattern, path)), {})
    operation = item.get("get" if method == "HEAD" else method.lower())
    if operation is None:
        assert answer.status in (204, 400, 404, 405), answer
        operation = {"responses": {str(answer.status): {"$ref": "#/components/responses/400"}}}
    response = operation["responses"].get(str(answer.status))
    assert response is not None, f"{method} {path}: {answer.status} is not documented: {answer.raw!r:.300}"
    if not answer.raw:
        assert method in ("HEAD", "OPTIONS") or answer.status == 304, answer
        return
    if "$ref" in response:
        response = document()["components"]["responses"]["400"]
    (content_type,) = response["content"]
    assert answer.headers["content-type"] == content_type, answer
    _validator(json.dumps(response["content"][content_type]["schema"])).validate(answer.body)


@lru_cache(maxsize=100)
def _validator(schema: str) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(
        {**json.loads(schema), "components": document()["components"]}, validate_formats=True
    )
