"""A sandbox for a test, or for a whole file of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox import Sandbox


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    made = Sandbox(require_seccomp=False)
    yield made
    made.close()
