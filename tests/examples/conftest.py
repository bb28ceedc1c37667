"""The fixtures of the loader and of the command line: examples are tried as people come to them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox import Sandbox
from tests.cli.conftest import shell
from tests.stage0_loader.conftest import own, shared, stage, tenant

__all__ = ["own", "shared", "shell", "stage", "tenant"]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    made = Sandbox(require_seccomp=False)
    yield made
    made.close()
