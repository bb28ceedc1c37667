"""The loader's fixtures: rows are tried where they live, in a ledger and behind the loader."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import TestLedger
from tests.row.providers import Providers
from tests.stage0_loader.conftest import debugging, own, shared, stage, tenant
from tests.stage0_loader.provider_server import KEY, provider_server
from tests.stage0_loader.stage import Stage

__all__ = ["debugging", "own", "shared", "stage", "tenant"]


@pytest.fixture(scope="module")
def providers(shared: TestLedger, stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Providers]:
    """A local provider, and a loader at LOG_LEVEL=DEBUG that has its key, on the ledger of `stage`."""
    file = tmp_path_factory.mktemp("secrets") / "testing"
    file.write_text(f"{KEY}\n")
    file.chmod(0o600)
    asking = Stage(shared, log_level="DEBUG", LOGLINEOS_TESTING_FILE=str(file))
    with provider_server() as server:
        yield Providers(asking, server)
    asking.close()
