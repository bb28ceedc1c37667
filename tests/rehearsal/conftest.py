"""An account for each file of these tests. Their order within a file is a story: each goes on from the one before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rehearsal.kit import Rehearsal, rehearsal_of


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zips that one file's account has built, for the next file's, whichever worker tries it."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "bundles"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def rehearsal(bundles: Path) -> Iterator[Rehearsal]:
    with rehearsal_of(bundles) as made:
        yield made
