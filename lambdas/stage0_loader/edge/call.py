"""One call over HTTPS, as API Gateway hands it over (payload format 2.0)."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import orjson

from ledger.errors import InvalidInput, LedgerError

MAX_BODY_BYTES: Final = 1024 * 1024


class BodyTooLarge(LedgerError):
    """The body is larger than this API takes."""

    code = "body_too_large"


class UnsupportedMediaType(LedgerError):
    """The body is no JSON, by its own account."""

    code = "unsupported_media_type"


@dataclass(frozen=True)
class Call:
    """Method, path, query and headers (names in lower case); `source` is the address that API Gateway saw."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str] = field(repr=False)
    source: str
    request_id: str
    body: str = field(repr=False)
    in_base64: bool

    @classmethod
    def from_event(cls, event: dict[str, Any]) -> Call:
        """Raises InvalidInput for an event of another kind."""
        context = event["requestContext"]
        http = context.get("http") if isinstance(context, dict) else None
        path = event.get("rawPath")
        if not isinstance(http, dict) or not isinstance(http.get("method"), str) or not isinstance(path, str):
            raise InvalidInput("requestContext", "expected an HTTP API event of payload format 2.0")
        body = event.get("body")
        return cls(
            method=http["method"].upper(),
            path=_without_stage(path, context.get("stage")),
            query=_texts(event.get("queryStringParameters")),
            headers={name.lower(): value for name, value in _texts(event.get("headers")).items()},
            source=str(http.get("sourceIp", "")),
            request_id=str(context.get("requestId", "")),
            body=body if isinstance(body, str) else "",
            in_base64=event.get("isBase64Encoded") is True,
        )

    def json_body(self) -> dict[str, Any]:
        """The body, a JSON object.

        Raises:
            BodyTooLarge, UnsupportedMediaType
            InvalidInput: it is no JSON object, or one that two readers could read differently.
        """
        raw = self._bytes()
        if self.headers.get("content-encoding", "identity").lower() != "identity":
            raise UnsupportedMediaType("content-encoding: send the body as it is")
        kind, _, parameters = self.headers.get("content-type", "").partition(";")
        charset = parameters.strip().lower().replace('"', "")
        if kind.strip().lower() != "application/json" or charset not in ("", "charset=utf-8"):
            raise UnsupportedMediaType("content-type: expected application/json, in UTF-8")
        try:
            value = orjson.loads(raw)  # no NaN, no invalid UTF-8, no lone surrogates
            json.loads(raw, object_pairs_hook=_unique)
        except RecursionError:
            raise InvalidInput("body", "at most 100 levels of nesting") from None
        except ValueError as error:
            raise InvalidInput("body", f"expected JSON in UTF-8: {error}"[:200]) from None
        if not isinstance(value, dict):
            raise InvalidInput("body", "expected a JSON object")
        return value

    def idempotency_key(self) -> UUID | None:
        """The request_id of a boot. Raises InvalidInput."""
        text = self.headers.get("idempotency-key")
        if text is None:
            return None
        try:
            return UUID(text)
        except ValueError:
            raise InvalidInput("Idempotency-Key", "expected a UUID") from None

    def _bytes(self) -> bytes:
        if len(self.body) <= 2 * MAX_BODY_BYTES:
            try:
                raw = base64.b64decode(self.body, validate=True) if self.in_base64 else self.body.encode()
            except (binascii.Error, ValueError):
                raise InvalidInput("body", "expected JSON in UTF-8") from None
            if len(raw) <= MAX_BODY_BYTES:
                return raw
        raise BodyTooLarge(f"body: at most {MAX_BODY_BYTES} bytes", limit=MAX_BODY_BYTES)


def _without_stage(path: str, stage: object) -> str:
    """A stage with a name of its own is the path's first part."""
    prefix = f"/{stage}"
    return path.removeprefix(prefix) if stage != "$default" and path.startswith(prefix + "/") else path


def _texts(values: object) -> dict[str, str]:
    if not isinstance(values, dict):
        return {}
    return {str(name): value for name, value in values.items() if isinstance(value, str)}


def _unique(pairs: list[tuple[str, Any]]) -> None:
    """Of a name that stands there twice, readers keep the first, the last, or both."""
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise ValueError(f"the name {name!r:.60} stands there twice")
        seen.add(name)
