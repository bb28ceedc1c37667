"""Ledgers with a loader on them: one for a whole file of tests, or one for a single test."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from loglineos.local.postgres import Server
from tests.conftest import TEMPLATE, TestLedger, environment_of
from tests.stage0_loader.stage import Stage, manifest

_numbers = itertools.count()


@pytest.fixture(scope="module")
def shared(cluster: Server) -> Iterator[TestLedger]:
    """A seeded ledger for the tests of one file, which take a tenant each so as not to meet."""
    name = f"shared_{os.getpid()}_{next(_numbers)}"
    database, template = sql.Identifier(name), sql.Identifier(TEMPLATE)
    with psycopg.connect(cluster.url("rdsadmin", "postgres"), autocommit=True) as connection:
        create = sql.SQL("CREATE DATABASE {} OWNER postgres TEMPLATE {} STRATEGY FILE_COPY")
        connection.execute(create.format(database, template))
        try:
            yield TestLedger(cluster, name, environment_of(cluster, name))
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))


@pytest.fixture(scope="module")
def stage(shared: TestLedger) -> Iterator[Stage]:
    """A warm loader that signs with LOADER_KEY and trusts ROW_KEY; its manifest allows the test kernels."""
    yield from _staged(Stage(shared))


@pytest.fixture
def own(ledger: TestLedger) -> Iterator[Stage]:
    """The same on a ledger that no other test sees."""
    yield from _staged(Stage(ledger))


@pytest.fixture(scope="module")
def unsigned(shared: TestLedger, stage: Stage) -> Iterator[Stage]:
    """A loader without any key, on the ledger of `stage`."""
    loose = Stage(shared, SIGNING_KEY_HEX="", TRUSTED_ROW_KEYS="")
    yield loose
    loose.close()


@pytest.fixture(scope="module")
def debugging(shared: TestLedger, stage: Stage) -> Iterator[Stage]:
    """A loader at LOG_LEVEL=DEBUG, on the ledger of `stage`."""
    wordy = Stage(shared, log_level="DEBUG")
    yield wordy
    wordy.close()


@pytest.fixture
def tenant() -> str:
    """A tenant that no other test uses."""
    return f"tenant-{next(_numbers)}"


def _staged(stage: Stage) -> Iterator[Stage]:
    stage.seed(manifest())
    yield stage
    stage.close()
