"""The loader of tests/stage0_loader, reached over HTTPS."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from ledger.settings import asset_directory
from tests.edge.kit import Device, enrolled
from tests.stage0_loader.conftest import own, shared, stage, tenant
from tests.stage0_loader.stage import Stage

__all__ = ["own", "shared", "stage", "tenant"]

ROOT = asset_directory("docs").parent


@pytest.fixture
def device(stage: Stage, tenant: str) -> Device:
    """A device of a tenant that no other test uses."""
    return enrolled(stage, tenant)


@pytest.fixture
def url(stage: Stage) -> Iterator[str]:
    """Where the loader is served."""
    environment = {**os.environ, **stage.environment, "PYTHONPATH": f"{ROOT}:{ROOT / 'lambdas'}"}
    command = [sys.executable, "-m", "tests.edge.wsgi"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().decode().strip()
        finally:
            server.kill()
