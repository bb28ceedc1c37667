"""The loader of tests/stage0_loader, reached over HTTPS."""

from __future__ import annotations

import pytest

from tests.edge.kit import Device, enrolled
from tests.stage0_loader.conftest import own, shared, stage, tenant
from tests.stage0_loader.stage import Stage

__all__ = ["own", "shared", "stage", "tenant"]


@pytest.fixture
def device(stage: Stage, tenant: str) -> Device:
    """A device of a tenant that no other test uses."""
    return enrolled(stage, tenant)
