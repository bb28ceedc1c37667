"""docs/openapi.json is what the code says, and what OpenAPI 3.1 asks of a document."""

from __future__ import annotations

import orjson
from openapi_spec_validator import OpenAPIV31SpecValidator

from stage0_loader.answer import STATUS
from stage0_loader.edge.openapi import document
from stage0_loader.edge.reply import STATUSES
from stage0_loader.edge.routes import ROUTES
from tests.edge.kit import DOCUMENT


def test_the_document_in_the_repository_is_the_codes_own() -> None:
    written = orjson.dumps(document(), option=orjson.OPT_INDENT_2) + b"\n"
    assert DOCUMENT.read_bytes() == written, "run: python -m stage0_loader.edge.openapi > docs/openapi.json"


def test_it_is_openapi_3_1() -> None:
    OpenAPIV31SpecValidator(document()).validate()


def test_every_path_is_described_and_says_whether_it_takes_a_token() -> None:
    for route in ROUTES:
        operation = document()["paths"][route.path][route.method.lower()]
        assert operation["summary"].endswith((".", "?"))
        assert ("security" in operation) is not route.open
    assert {route.path for route in ROUTES if route.open} == {"/api/enroll", "/health", "/api/openapi.json"}


def test_every_status_that_an_error_can_have_is_described() -> None:
    assert set(STATUS.items()) <= set(STATUSES.items())
    assert {str(status) for status in STATUSES.values()} - {"404", "405"} <= set(document()["components"]["responses"])
