"""One ledger for the tests of a file: each mends what it broke."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from loglineos.local.postgres import Server
from tests.health.kit import Ward, ward_on


@pytest.fixture(scope="module")
def ward(cluster: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    with ward_on(cluster, tmp_path_factory.mktemp("local")) as made:
        yield made
