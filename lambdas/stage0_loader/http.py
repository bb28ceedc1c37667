"""The network of kernels: the base URLs of active, verified provider spans of the system, and nothing else."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import orjson

from ledger.errors import LedgerError, VerificationFailed
from ledger.keys import KeyRing
from ledger.span import Span

from .deadline import Deadline, TimedOut, call_until
from .settings import Settings
from .trust import require_trusted

if TYPE_CHECKING:
    import ssl

    import httpx

MAX_ANSWER_BYTES: Final = 2 * 1024 * 1024
CONNECT_S: Final = 5.0

# Narrow on purpose: no user, query or fragment, no `..`, `//`, `%`, and so one reading only of what the host is.
_SEGMENTS: Final = r"(?:/[A-Za-z0-9_~-]+(?:\.[A-Za-z0-9_~-]+)*)"
_BASE_URL: Final = re.compile(
    rf"(?P<scheme>https?)://(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::\d{{1,5}})?{_SEGMENTS}*/?"
)
_PATH: Final = re.compile(f"{_SEGMENTS}+")
_LOOPBACK: Final = frozenset(["localhost", "127.0.0.1", "[::1]"])


class HttpFailed(LedgerError):
    """No answer that can be used. `retry` says whether another attempt may fare better."""

    def __init__(self, code: str, message: str, *, retry: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.retry = retry


@dataclass(frozen=True)
class HttpAnswer:
    """What a provider answered, whole. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Http:
    """`ctx.http`. TLS is verified, proxies of the environment are not used, redirects are not followed."""

    settings: Settings = field(repr=False)
    keys: KeyRing = field(repr=False)
    deadline: Deadline = field(repr=False)

    def post(
        self, provider: Span, path: str, body: Any, *, headers: Mapping[str, str] | None = None, timeout_s: float
    ) -> HttpAnswer:
        """POST `body` as JSON to the provider's base URL and `path`, once; over in `timeout_s` whatever happens.

        Raises:
            VerificationFailed: it is no active provider of the system.
            HttpFailed: `timeout`; or `unavailable`: unreachable, cut short, over 2 MB, compressed, a redirect.
            ValueError: a path or header that could lead elsewhere, or a key that would go out unencrypted.
        """
        require_trusted(provider, "provider", self.settings, self.keys)
        url = _url(provider, path, secret=bool(headers))
        sent = {"accept": "application/json", "accept-encoding": "identity", "content-type": "application/json"}
        sent |= _checked(headers or {})
        at = min(self.deadline.at, time.monotonic() + timeout_s)
        deadline = Deadline(at, max(1, round((at - time.monotonic()) * 1000)))
        # Time-outs of sockets begin anew with every byte: only a timer ends an answer that drips.
        try:
            return call_until(deadline, lambda: _exchange(url, sent, orjson.dumps(body), deadline.left_s()))
        except TimedOut:
            raise HttpFailed("timeout", f"no whole answer within {deadline.total_ms} ms") from None


def _url(provider: Span, path: str, *, secret: bool) -> str:
    base_url = str((provider.metadata or {}).get("base_url"))
    base = _BASE_URL.fullmatch(base_url)
    if base is None:
        raise VerificationFailed(provider.id, "its base_url is not like https://host/path")
    if secret and base["scheme"] == "http" and base["host"].lower() not in _LOOPBACK:
        raise ValueError("headers go to https, or to this machine")
    if not _PATH.fullmatch(path):
        raise ValueError("path: expected plain segments, such as /chat/completions")
    return base_url.rstrip("/") + path


def _checked(headers: Mapping[str, str]) -> dict[str, str]:
    """Refuses what could end a header, without repeating it: it may be a key."""
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise ValueError(f"header {name}: expected printable ASCII")
    return {name.lower(): value for name, value in headers.items()}


def _exchange(url: str, headers: Mapping[str, str], content: bytes, left_s: float) -> HttpAnswer:
    import httpx  # slow to import, and most boots need no network

    timeout = httpx.Timeout(left_s, connect=min(CONNECT_S, left_s)).as_dict()
    request = httpx.Request("POST", url, headers=headers, content=content, extensions={"timeout": timeout})
    try:
        # The bare transport: httpx's client prepares the request that a redirect asks for even if it is not to follow.
        with (
            httpx.HTTPTransport(verify=_tls(), trust_env=False, retries=0) as transport,
            closing(transport.handle_request(request)) as response,
        ):
            _refuse_unusable(response, request.url.host)
            return HttpAnswer(response.status_code, dict(response.headers), _body(response))
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise HttpFailed("unavailable", f"cannot be reached: {error}"[:300], retry=True) from None
    except httpx.TimeoutException:
        raise HttpFailed("timeout", "no whole answer in time") from None
    except httpx.HTTPError:  # its sentence may repeat what the server sent
        raise HttpFailed("unavailable", "the answer broke off, or is not HTTP", retry=True) from None


def _refuse_unusable(response: httpx.Response, asked: str) -> None:
    if 300 <= response.status_code < 400:
        # Names the host alone: what else a location holds may be anything.
        host = _host(response.headers.get("location", ""), asked)
        raise HttpFailed("unavailable", f"a redirect to {host} was refused; a provider's base_url must be the last one")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        # Never unpacked: a few bytes of it could fill the memory.
        raise HttpFailed("unavailable", "the answer is compressed, though that was not asked for")


def _host(location: str, asked: str) -> str:
    """Where a location leads; a relative one, to the host that was asked."""
    try:
        host = urlsplit(location).hostname or asked
    except ValueError:
        host = ""
    return host if re.fullmatch(r"[a-z0-9.:-]{1,100}", host) else "what is no host"


def _body(response: httpx.Response) -> bytes:
    body = bytearray()
    for chunk in response.iter_raw():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise HttpFailed("unavailable", f"the answer is larger than {MAX_ANSWER_BYTES} bytes")
    return bytes(body)


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    """Reads the root certificates once for each warm process; also keeps httpx's own log lines out of the log."""
    import httpx

    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return httpx.create_ssl_context(trust_env=False)
