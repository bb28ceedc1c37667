"""Every environment is synthesized once, in process; every test reads those templates."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from stacks.environment import ENVIRONMENTS, Environment
from stacks.synthesis import Template, in_process, synthesize, templates

Synthesized = tuple[Environment, Mapping[str, Template]]


@pytest.fixture(scope="session")
def synthesized(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Synthesized]:
    @cache
    def synthesize_once(name: str) -> Synthesized:
        app, environment = in_process(name, tmp_path_factory.mktemp(name))
        return environment, templates(environment, synthesize(app))

    return synthesize_once


@pytest.fixture(params=list(ENVIRONMENTS))
def each(request: pytest.FixtureRequest, synthesized: Callable[[str], Synthesized]) -> Synthesized:
    return synthesized(request.param)


@pytest.fixture
def prod(synthesized: Callable[[str], Synthesized]) -> Mapping[str, Template]:
    return synthesized("prod")[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).resolve().parents[2]


Properties = dict[str, Any]
Find = Callable[[Template, str], dict[str, Properties]]


@pytest.fixture(scope="session")
def properties() -> Find:
    """Of the resources of one type, by their logical ids."""

    def find(template: Template, kind: str) -> dict[str, Properties]:
        return {
            name: {**resource.get("Properties", {}), "~": resource}
            for name, resource in template["Resources"].items()
            if resource["Type"] == kind
        }

    return find
