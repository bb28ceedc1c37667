"""The paths of the API. Whatever is not here is 404, or 405 with what there is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel, ValidationError

from ledger.errors import InvalidInput, LedgerError
from ledger.span import first_problem

from . import models, operations
from .call import Call
from .operations import Content, Exchange


class UnknownPath(LedgerError):
    """There is no such path."""

    code = "unknown_path"


class MethodNotAllowed(LedgerError):
    """The path takes other methods."""

    code = "method_not_allowed"


@dataclass(frozen=True)
class Route:
    """One operation: what it takes (a query for GET, a body for POST), answers and does.

    `open`: it takes no token. `keyed`: a repeat with the same `Idempotency-Key` does nothing more.
    """

    method: str
    path: str
    given: type[BaseModel]
    answer: type[BaseModel]
    operation: Callable[[Exchange, Any], Content]
    open: bool = False
    keyed: bool = False

    def parse(self, call: Call) -> BaseModel:
        """The query or body. Raises InvalidInput that names the field; see also `Call.json_body`."""
        if self.method == "GET":
            values: dict[str, Any] = dict(call.query)
        else:
            self._require_body_alone(call)
            values = call.json_body()
            _require_no_identity(values)
        try:
            return self.given.model_validate(values)
        except ValidationError as error:
            raise first_problem(error, "", tuple(self.given.model_fields)) from None

    def _require_body_alone(self, call: Call) -> None:
        """What would be ignored is refused: who sent it relies on it."""
        for name in call.query:
            raise InvalidInput(name, "unknown query parameter; this call takes a body")
        if "idempotency-key" in call.headers and not self.keyed:
            raise InvalidInput("Idempotency-Key", "is for boots and runs; a span with its own id and at is repeatable")


ROUTES: Final = (
    Route("POST", "/api/boot", models.BootBody, models.Booted, operations.boot, keyed=True),
    Route("POST", "/api/functions/{id}/run", models.RunBody, models.Booted, operations.run_function, keyed=True),
    Route("POST", "/api/spans", models.SpansBody, models.Appended, operations.append_spans),
    Route("GET", "/api/spans", models.NewestFirst, models.Page, operations.list_spans),
    Route("GET", "/api/spans/{id}", models.Versions, models.SpanFound, operations.show_span),
    Route("GET", "/api/timeline", models.CommitOrder, models.Page, operations.follow_timeline),
    Route("GET", "/api/metrics", models.Nothing, models.Metrics, operations.metrics),
    Route("GET", "/api/manifest", models.Nothing, models.Manifest, operations.show_manifest),
    Route("POST", "/api/enroll", models.EnrollBody, models.Booted, operations.enroll, open=True),
    Route("GET", "/health", models.Nothing, models.Healthy, operations.health, open=True),
    Route("GET", "/api/openapi.json", models.Nothing, models.Document, operations.openapi, open=True),
)
_PATTERNS: Final = [(route, re.compile(re.escape(route.path).replace(r"\{id\}", "(?P<id>[^/]+)"))) for route in ROUTES]


def at_path(path: str) -> dict[str, tuple[Route, UUID | None]]:
    """The routes of a path by method, each with the id that stands in the path.

    Raises:
        UnknownPath
        InvalidInput: the id is none.
    """
    found = {route.method: (route, match) for route, pattern in _PATTERNS if (match := pattern.fullmatch(path))}
    if not found:
        raise UnknownPath("there is no such path: see /api/openapi.json")
    if "GET" in found:
        found["HEAD"] = found["GET"]
    return {method: (route, _id(match.groupdict().get("id"))) for method, (route, match) in found.items()}


def select(methods: dict[str, tuple[Route, UUID | None]], method: str) -> tuple[Route, UUID | None]:
    """The route for the method. Raises MethodNotAllowed."""
    if method not in methods:
        allowed = listed(methods)
        raise MethodNotAllowed(f"expected one of {', '.join(allowed)}", allowed=allowed)
    return methods[method]


def listed(methods: Iterable[str]) -> list[str]:
    """The methods of a path as `Allow` has them."""
    return [*sorted(methods), "OPTIONS"]


def _id(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text is not None else None
    except ValueError:
        raise InvalidInput("id", "expected a UUID") from None


def _require_no_identity(values: dict[str, Any]) -> None:
    """Nobody says in a body who they are: what looks like it is refused and not ignored."""
    _refuse(values, "", ("user_id", "tenant_id"))
    _refuse(values.get("span"), "span.", ("who", "owner_id", "tenant_id"))
    spans = values.get("spans")
    for number, draft in enumerate(spans if isinstance(spans, list) else []):
        _refuse(draft, f"spans[{number}].", ("who", "owner_id", "tenant_id"))


def _refuse(values: object, path: str, names: tuple[str, ...]) -> None:
    for name in names:
        if isinstance(values, dict) and name in values:
            raise InvalidInput(path + name, "is not taken from a body: the device that signed the token says who calls")
