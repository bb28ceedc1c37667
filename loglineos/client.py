"""The HTTP API as a Python object.

    device = enroll("https://ledger.example.com", code, app_name="editor", app_version="1.0", fingerprint="my laptop")
    with Client("https://ledger.example.com", device) as ledger:
        ledger.boot("00000000-0000-4000-8000-000000000007", {"action": "store", "content": "a memory"})
        for span in ledger.follow():
            print(span["entity_type"], span["this"])

Needs `httpx` and `pyjwt`, and nothing of the rest of LogLineOS.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

AUDIENCE: Final = "loglineos"
TOKEN_SECONDS: Final = 60
ATTEMPTS: Final = 6
LONGEST_PAUSE_S: Final = 30.0  # what is asked to wait for longer is an error at once
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
Body = dict[str, Any]


@dataclass(frozen=True)
class Device:
    """An enrolled device. `key` is its Ed25519 private key, 64 hexadecimal digits: who has it is this device."""

    device_id: str
    app_id: str
    user_id: str
    tenant_id: str
    key: str = field(repr=False)


class ApiError(Exception):
    """The API refused or failed; `code` is for programs, the message for people, `problem` all that it said."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        error = problem.get("error") or {}
        message = error.get("message") or problem.get("detail") or problem.get("message") or f"HTTP status {status}"
        super().__init__(str(message))
        self.status, self.problem = status, dict(problem)
        self.code = str(error.get("code") or f"http_{status}")
        self.trace_id = problem.get("trace_id")


class Unauthenticated(ApiError):
    """401: the device is not enrolled there, or was revoked."""


class NotAllowed(ApiError):
    """403: the app's scopes or the manifest do not let it."""


class NotFound(ApiError):
    """404: not there, or not for this device to see."""


class Conflict(ApiError):
    """409: of versions, or of a repeated request."""


class Rejected(ApiError):
    """400, 413 or 422: what was sent is not what is taken; the message names the field."""


class TooMany(ApiError):
    """429, after all attempts: a limit is used up."""


class Unavailable(ApiError):
    """503, 504, or no answer at all, after all attempts."""


_ERRORS: Final[Mapping[int, type[ApiError]]] = {
    400: Rejected, 401: Unauthenticated, 403: NotAllowed, 404: NotFound, 409: Conflict, 413: Rejected,
    422: Rejected, 429: TooMany, 503: Unavailable, 504: Unavailable,
}  # fmt: skip


def new_key() -> str:
    """An Ed25519 private key, 64 hexadecimal digits."""
    return Ed25519PrivateKey.generate().private_bytes_raw().hex()


def enroll(
    url: str,
    code: str,
    *,
    app_name: str,
    app_version: str,
    fingerprint: str,
    key: str | None = None,
    transport: httpx.BaseTransport | None = None,
) -> Device:
    """Take up an invitation's code. The same call again, with the same key, answers the same device.

    Raises ApiError.
    """
    key = key or new_key()
    private = _private(key)
    body = {
        "code": code,
        "app_name": app_name,
        "app_version": app_version,
        "device_fingerprint": fingerprint,
        "pubkey": private.public_key().public_bytes_raw().hex(),
        "signature": private.sign(code.encode()).hex(),
    }
    with Client(url, transport=transport) as client:
        output = client.call("POST", "/api/enroll", json=body)["output"]
    return Device(output["device_id"], output["app_id"], output["user_id"], output["tenant_id"], key)


class Client:
    """Calls as one device. Every call can be repeated, and is, where the network or a limit stood in its way.

    Not for use by several threads at once.
    """

    def __init__(self, url: str, device: Device | None = None, *, transport: httpx.BaseTransport | None = None) -> None:
        self.url, self.device = checked_url(url), device
        self._key = _private(device.key) if device else None
        self._http = httpx.Client(
            base_url=self.url,
            transport=transport,
            timeout=httpx.Timeout(35.0, connect=10.0),  # the API gives up after 29 s
            headers={"user-agent": "loglineos-client/1"},
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def boot(self, kernel_id: str, input: Mapping[str, Any], *, request_id: str | None = None) -> Body:
        """Boot a kernel; `output` of the answer is what it said. A repeat of `request_id` answers the stored result."""
        return self.call("POST", "/api/boot", json={"boot_function_id": kernel_id, "input": dict(input)},
                         request_id=request_id or str(uuid.uuid4()))  # fmt: skip

    def run(self, function_id: str, input: Any = None, *, request_id: str | None = None) -> Body:
        """Run a function of the tenant in the sandbox."""
        body = {} if input is None else {"input": input}
        return self.call("POST", f"/api/functions/{function_id}/run", json=body,
                         request_id=request_id or str(uuid.uuid4()))  # fmt: skip

    def append(self, *spans: Mapping[str, Any]) -> Body:
        """Append spans, all or none. Id and time are filled in here, so that a repeat appends nothing twice."""
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        return self.call("POST", "/api/spans", json={
            "spans": [{"id": str(uuid.uuid4()), "at": now, **span} for span in spans]
        })  # fmt: skip

    def spans(
        self, *, limit: int = 50, entity_type: str | None = None, before: str | None = None, latest: bool = False
    ) -> Body:
        """A page of what the device may see, newest first. `latest`: no outdated versions, and none of the deleted."""
        params = {"limit": limit, "entity_type": entity_type, "before": before, "latest": latest or None}
        return self.call("GET", "/api/spans", params=params)

    def span(self, span_id: str) -> Body:
        """A span's latest version, and its versions."""
        return self.call("GET", f"/api/spans/{span_id}")

    def timeline(self, after: str = "beginning", *, limit: int = 50, entity_type: str | None = None) -> Body:
        """A page in commit order. With nothing new it has no spans, and the cursor it was given."""
        params = {"after": after, "limit": limit, "entity_type": entity_type}
        answer = self.call("GET", "/api/timeline", params=params, headers={"if-none-match": f'W/"{after}"'})
        return answer or {"ok": True, "spans": [], "cursor": after}

    def follow(self, after: str = "beginning", *, entity_type: str | None = None, pause: float = 1.0) -> Iterator[Body]:
        """Spans in commit order, for ever; none is missed and none comes twice. `pause`: seconds between looks."""
        while True:
            page = self.timeline(after, limit=200, entity_type=entity_type)
            yield from page["spans"]
            if page["cursor"] == after:
                time.sleep(pause)
            after = page["cursor"]

    def metrics(self) -> Body:
        """The tenant's quotas, and what the device's user did in 24 hours."""
        return self.call("GET", "/api/metrics")

    def manifest(self) -> Body:
        """The kernels that the device's app may boot."""
        return self.call("GET", "/api/manifest")

    def health(self) -> Body:
        """Is the ledger reachable? Needs no device."""
        return self.call("GET", "/health")

    def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        request_id: str | None = None,
    ) -> Body:
        """One call of the API; empty for a 304. Raises ApiError."""
        sent = {**(headers or {}), **({"idempotency-key": request_id} if request_id else {})}
        given = {name: value for name, value in (params or {}).items() if value is not None}
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = self._http.request(method, path, json=json, params=given, headers={**sent, **self._token()})
            except httpx.TransportError as error:
                # Of what may still run, a repeat would only be told that it does.
                wait = None if isinstance(error, httpx.ReadTimeout) else _backoff(attempt)
                failure: ApiError = Unavailable(503, {"detail": f"{self.url} does not answer: {error}"})
            else:
                if answer.is_success or answer.status_code == httpx.codes.NOT_MODIFIED:
                    return dict(answer.json()) if answer.content else {}
                failure = _ERRORS.get(answer.status_code, ApiError)(answer.status_code, _problem(answer))
                wait = _pause(answer, attempt)
            if wait is None or wait > LONGEST_PAUSE_S or attempt == ATTEMPTS:
                raise failure
            time.sleep(wait)
        raise AssertionError("unreachable")

    def _token(self) -> dict[str, str]:
        """A fresh one for each attempt: a token changes something once."""
        if self.device is None or self._key is None:
            return {}
        now = int(time.time())
        claims = {"aud": AUDIENCE, "iat": now, "exp": now + TOKEN_SECONDS, "jti": str(uuid.uuid4())}
        token = jwt.encode(claims, self._key, algorithm="EdDSA", headers={"kid": self.device.device_id})
        return {"authorization": f"Bearer {token}"}


def checked_url(url: str) -> str:
    """Without a slash at its end. Raises ValueError for one over which a token should not go."""
    parts = urlsplit(url)
    if not parts.hostname or parts.scheme not in ("https", "http") or parts.query or parts.fragment:
        raise ValueError(f"{url!r} is not like https://ledger.example.com")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ValueError(f"{url}: https is required, for whoever reads a token on its way can use it")
    return url.rstrip("/")


def _private(key: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(key))


def _problem(answer: httpx.Response) -> dict[str, Any]:
    try:
        said = answer.json()
    except ValueError:
        said = None
    return said if isinstance(said, dict) else {"detail": f"HTTP status {answer.status_code}: {answer.text[:200]}"}


def _pause(answer: httpx.Response, attempt: int) -> float | None:
    """Seconds until the next attempt, None if there is to be none."""
    if answer.status_code not in (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE):
        return None
    asked = answer.headers.get("retry-after", "")
    return float(asked) if asked.isdecimal() else _backoff(attempt)


def _backoff(attempt: int) -> float:
    """0.2 s, doubled each time, and by chance up to twice as long: those who failed together come back apart."""
    return 0.2 * float(2 ** (attempt - 1)) * (1 + random.random())  # noqa: S311 - nothing secret
