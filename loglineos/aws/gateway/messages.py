"""What passes through the gateway: a request, an answer, and the function's event and result between them."""

from __future__ import annotations

import base64
import binascii
import json
import time
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# What a proxy keeps to itself, in both directions.
_HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
     "upgrade")
)  # fmt: skip
_TEXT = ("application/json", "application/xml", "application/javascript")


@dataclass(frozen=True)
class Request:
    """As it came in. `target` is path and query, still encoded; `headers` in their order."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    source_ip: str
    protocol: str = "HTTP/1.1"

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    def header(self, name: str) -> str:
        """All headers of that name, joined as the event has them; empty if there is none."""
        return ",".join(value for key, value in self.headers if key.lower() == name)


@dataclass
class Answer:
    """As it goes out."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""


def message(status: int, text: str) -> Answer:
    """What API Gateway itself says."""
    return Answer(status, [("content-type", "application/json")], json.dumps({"message": text}).encode())


@dataclass(frozen=True)
class Place:
    """What a request was routed to, as the event tells the function."""

    account: str
    api: str
    stage: str
    route_key: str
    parameters: dict[str, str]
    request_id: str
    at: float


def event_of(request: Request, place: Place, variables: dict[str, str]) -> dict[str, Any]:
    """The event of payload format 2.0. What the request does not have is left out, as on AWS."""
    headers, cookies = _headers(request)
    host = request.header("host")
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": place.route_key,
        "rawPath": request.path,
        "rawQueryString": request.query,
        "headers": headers,
        "requestContext": {
            "accountId": place.account,
            "apiId": place.api,
            "domainName": host.partition(":")[0],
            "domainPrefix": host.partition(":")[0].partition(".")[0],
            "http": {
                "method": request.method,
                "path": request.path,
                "protocol": request.protocol,
                "sourceIp": request.source_ip,
                "userAgent": request.header("user-agent"),
            },
            "requestId": place.request_id,
            "routeKey": place.route_key,
            "stage": place.stage,
            "time": request_time(place.at),
            "timeEpoch": int(place.at * 1000),
        },
        "isBase64Encoded": False,
    }
    event |= {"cookies": cookies} if cookies else {}
    event |= {"queryStringParameters": _query(request.query)} if request.query else {}
    event |= {"pathParameters": place.parameters} if place.parameters else {}
    event |= {"stageVariables": variables} if variables else {}
    return event | _body(request)


def request_time(at: float) -> str:
    """`23/Nov/2026:02:30:11 +0000`, in English whatever the locale."""
    now = time.gmtime(at)
    return time.strftime(f"%d/{_MONTHS[now.tm_mon - 1]}/%Y:%H:%M:%S +0000", now)


def _headers(request: Request) -> tuple[dict[str, str], list[str]]:
    """Lower-cased, those that come twice joined by commas; cookies are a list of their own."""
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for name, value in ((name.lower(), value.strip()) for name, value in request.headers):
        if name == "cookie":
            cookies += [part.strip() for part in value.split(";") if part.strip()]
        elif name not in _HOP_BY_HOP:
            headers[name] = f"{headers[name]},{value}" if name in headers else value
    forwarded = f"{headers['x-forwarded-for']}, " if "x-forwarded-for" in headers else ""
    host, _, port = headers.get("host", "").partition(":")
    return {
        **headers,
        "content-length": str(len(request.body)),
        "host": host,
        "x-forwarded-for": forwarded + request.source_ip,
        "x-forwarded-port": port or "80",
        "x-forwarded-proto": "http",
    }, cookies


def _query(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        found[name] = f"{found[name]},{value}" if name in found else value
    return found


def _body(request: Request) -> dict[str, Any]:
    """Text as it is; all else, and what is compressed, in base64."""
    if not request.body:
        return {}
    kind = request.header("content-type").partition(";")[0].strip().lower()
    if (kind.startswith("text/") or kind in _TEXT) and not request.header("content-encoding"):
        try:
            return {"body": request.body.decode()}
        except UnicodeDecodeError:
            pass
    return {"body": base64.b64encode(request.body).decode(), "isBase64Encoded": True}


class Malformed(Exception):
    """The function's result is no HTTP answer."""


def answer_of(result: bytes) -> Answer:
    """What a function's result says; without `statusCode` the result itself is the body of a 200.

    Raises Malformed.
    """
    try:
        said = json.loads(result or b"null")
    except ValueError as error:
        raise Malformed("it is not JSON") from error
    if not isinstance(said, dict) or "statusCode" not in said:
        text = said if isinstance(said, str) else json.dumps(said)
        return Answer(200, [("content-type", "application/json")], text.encode())
    status, headers, body = said["statusCode"], said.get("headers") or {}, said.get("body")
    if not str(status).isdecimal() or not 100 <= int(status) <= 599:
        raise Malformed(f"statusCode {status!r} is no status")
    if not isinstance(headers, dict) or not isinstance(body, str | None):
        raise Malformed("headers must be an object and body a string")
    found = [
        (name.lower(), _text(value))
        for name, value in headers.items()
        if name.lower() not in _HOP_BY_HOP and name.lower() != "content-length"
    ]
    found += [("set-cookie", _cookie(cookie)) for cookie in said.get("cookies") or []]
    if body and "content-type" not in dict(found):
        found.append(("content-type", "text/plain;charset=UTF-8"))
    return Answer(int(status), found, _decoded(body or "", bool(said.get("isBase64Encoded"))))


def _text(value: Any) -> str:
    """A header's value; what would begin another header is none."""
    text = value if isinstance(value, str) else json.dumps(value)
    if "\n" in text or "\r" in text:
        raise Malformed("a header has more than one line")
    return text


def _cookie(text: Any) -> str:
    try:
        SimpleCookie(text)
    except (CookieError, TypeError, AttributeError) as error:
        raise Malformed("cookies must be a list of strings") from error
    return _text(text)


def _decoded(body: str, is_base64: bool) -> bytes:
    if not is_base64:
        return body.encode()
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise Malformed("the body is not the base64 that it says it is") from error
