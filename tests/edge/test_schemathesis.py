"""Schemathesis reads docs/openapi.json and tries the API with what it allows, and with what it does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case
from schemathesis.checks import positive_data_acceptance

from stage0_loader.handler import handle
from tests.edge.kit import Device, document, enrolled
from tests.edge.wsgi import application
from tests.stage0_loader.stage import FakeContext, Stage

_stages: list[Device] = []


def _invoke(event: dict[str, Any]) -> dict[str, Any]:
    return handle(_stages[-1].stage.loader, event, FakeContext())


schema = schemathesis.openapi.from_dict(document())
schema.app = application(_invoke)


@pytest.fixture(scope="module", autouse=True)
def caller(stage: Stage) -> Iterator[None]:
    """The device that calls."""
    _stages.append(enrolled(stage, "schemathesis"))
    yield
    _stages.pop()


@schema.parametrize()
@settings(
    max_examples=40,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_the_api_is_as_documented(case: Case[Any]) -> None:
    headers = {"Authorization": f"Bearer {_stages[-1].token()}", "Accept-Encoding": "identity"}
    case.call_and_validate(headers=headers, excluded_checks=[positive_data_acceptance])
