"""A ledger with something in it, for the tests of one file, and a second cluster to restore into."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from loglineos.local.postgres import LocalPostgres
from tests.backup.kit import fill, take
from tests.conftest import TestLedger
from tests.ledger.kit import shared

__all__ = ["backed_up", "filled", "other_cluster", "shared"]


@pytest.fixture(scope="module")
def filled(shared: TestLedger) -> TestLedger:
    """A seeded ledger with spans of all sorts."""
    fill(shared)
    return shared


@pytest.fixture(scope="module")
def backed_up(filled: TestLedger, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a full backup of it and an incremental one. Tests that change it take a copy."""
    folder = tmp_path_factory.mktemp("backup") / "folder"
    take(filled, folder)
    fill(filled)
    take(filled, folder, incremental=True)
    return folder


@pytest.fixture(scope="module")
def other_cluster() -> Iterator[LocalPostgres]:
    """A PostgreSQL that knows nothing of any ledger: no roles, no schema."""
    directory = Path(tempfile.mkdtemp(prefix="loglineos-restore-"))
    directory.chmod(0o755)
    local = LocalPostgres(directory, durable=False)
    try:
        local.start()
        yield local
    finally:
        local.remove()
        shutil.rmtree(directory, ignore_errors=True)
