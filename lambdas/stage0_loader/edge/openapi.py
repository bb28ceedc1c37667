"""The API as an OpenAPI 3.1 document, made from the types that requests are validated by.

`python -m stage0_loader.edge.openapi > docs/openapi.json` writes it anew; a test holds the two against each other.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

import orjson
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from .models import Nothing, Problem
from .reply import PROBLEM
from .routes import ROUTES, Route

_REF: Final = "#/components/schemas/{model}"
_ALWAYS: Final = (400, 413, 429, 500, 503)
_WITH_TOKEN: Final = (401,)
_BODY: Final = (415,)
_OF: Final[dict[str, tuple[int, ...]]] = {
    "/api/boot": (403, 404, 409, 422, 502, 504),
    "/api/functions/{id}/run": (403, 404, 409, 422, 504),
    "/api/enroll": (403, 404, 409, 422, 504),
    "/api/spans": (403, 409, 422),
    "/api/spans/{id}": (404,),
    "/api/metrics": (409,),
    "/api/manifest": (409,),
}
_WORDS: Final = {
    304: "It has not changed",
    400: "A field does not hold what was expected",
    401: "No valid token",
    403: "Not allowed",
    404: "Not there, or not for the caller to see",
    409: "It conflicts with what is there, or what is there does not verify",
    413: "The body is too large",
    415: "The body is no JSON",
    422: "The kernel does not accept its input",
    429: "Too many, see Retry-After",
    500: "It failed; the log has more under the trace id",
    502: "A provider does not take our key, or does not answer",
    503: "The ledger cannot be reached: try again",
    504: "The kernel timed out",
}


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """The document."""
    schemas = _schemas()
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "LogLineOS",
            "version": "1",
            "description": "The ledger over HTTPS, for enrolled devices. See docs/api.md.",
        },
        "paths": paths,
        "components": {
            "responses": {str(status): _problem(status) for status in sorted(_WORDS) if status >= 400},
            "schemas": {name: schema for name, schema in sorted(schemas.items()) if name not in _queries()},
            "securitySchemes": {
                "device": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "EdDSA, signed by an enrolled device: kid, aud, iat, exp (10 minutes at most), jti",
                }
            },
        },
    }


def _schemas() -> dict[str, Any]:
    models: dict[type[BaseModel], None] = {Problem: None}
    for route in ROUTES:
        models |= {route.given: None, route.answer: None}
    # Answers too as what they are validated by: a column that is null is left out.
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    found: dict[str, Any] = definitions["$defs"]
    return found


def _ref(model: type[BaseModel]) -> dict[str, Any]:
    return {"$ref": _REF.format(model=model.__name__)}


def _queries() -> set[str]:
    return {route.given.__name__ for route in ROUTES if route.method == "GET"}


def _operation(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    summary, _, description = (route.operation.__doc__ or "").partition("\n\n")
    operation: dict[str, Any] = {
        "operationId": route.operation.__name__,
        "summary": summary.strip(),
        "parameters": [*_path_parameters(route), *_header_parameters(route)],
        "responses": _responses(route),
    }
    if description:
        operation["description"] = " ".join(description.split())
    if not route.open:
        operation["security"] = [{"device": []}]
    if route.method == "POST":
        body = {"application/json": {"schema": _ref(route.given)}}
        operation["requestBody"] = {"required": True, "content": body}
    elif route.given is not Nothing:
        operation["parameters"] += _query_parameters(schemas[route.given.__name__])
    return operation


def _responses(route: Route) -> dict[str, Any]:
    answer = {"application/json": {"schema": _ref(route.answer)}}
    found: dict[str, Any] = {"200": {"description": route.answer.__doc__ or "", "content": answer}}
    if route.method == "GET":
        etag = {"description": "For If-None-Match", "schema": {"type": "string"}}
        found["200"]["headers"] = {"ETag": etag}
        found["304"] = {"description": _WORDS[304]}
    for status in sorted(_problems(route)):
        found[str(status)] = {"$ref": f"#/components/responses/{status}"}
    return found


def _problem(status: int) -> dict[str, Any]:
    return {"description": _WORDS[status], "content": {PROBLEM: {"schema": _ref(Problem)}}}


def _problems(route: Route) -> Iterable[int]:
    of_method = _BODY if route.method == "POST" else ()
    return {*_ALWAYS, *(() if route.open else _WITH_TOKEN), *of_method, *_OF.get(route.path, ())}


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    schema = {"type": "string", "format": "uuid"}
    return [{"name": "id", "in": "path", "required": True, "schema": schema}] if "{id}" in route.path else []


def _header_parameters(route: Route) -> list[dict[str, Any]]:
    if route.method == "GET":
        return [{"name": "If-None-Match", "in": "header", "schema": {"type": "string"}}]
    if route.keyed:
        schema = {"type": "string", "format": "uuid"}
        return [{"name": "Idempotency-Key", "in": "header", "schema": schema}]
    return []


def _query_parameters(schema: dict[str, Any]) -> list[dict[str, Any]]:
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _without_null(field)}
        for name, field in schema["properties"].items()
    ]


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter of a URL is text or left out, never null."""
    options = [option for option in schema.get("anyOf", []) if option != {"type": "null"}]
    kept = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
    return {**kept, **options[0]} if options else schema


if __name__ == "__main__":
    sys.stdout.write(orjson.dumps(document(), option=orjson.OPT_INDENT_2).decode() + "\n")
