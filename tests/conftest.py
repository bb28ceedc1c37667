"""A real PostgreSQL for every worker, and a ledger of its own for every test that asks for one.

Connections sign in as the roles that production uses; none of them is a superuser.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from nacl.signing import SigningKey
from psycopg import sql

from db_migration.handler import answer
from ledger.connection import Connection, Target, connect
from ledger.database import Database, Identity
from loglineos.local.postgres import LocalPostgres, Server

ROW_KEY = SigningKey(b"row signing key of these tests !")
LOADER_KEY = SigningKey(b"loader signing key of the tests!")
MEMORY_KEY = b"memory key of these tests, 32 B!"
ALICE = Identity("alice", "acme")
TEMPLATE = "seeded_template"
# The files that take longest, about longest first. Several workers begin with them, or one would end with one alone.
# Of the rehearsals one is first: the others find the bundles that it has built.
LONGEST = (
    *("rehearsal/test_story.py", "cli/test_local.py", "cli/test_function_commands.py", "rehearsal/test_manual.py"),
    *("rehearsal/test_agents.py", "stacks/test_synthesis.py", "aws/test_failures.py", "stacks/test_bundling.py"),
    *("cli/test_https.py", "rehearsal/test_protection.py", "cli/test_function_runs.py", "cli/test_commands.py"),
    *("aws/test_deploy.py", "aws/test_emulator.py", "row/test_provider_exec_failures.py"),
    *("stacks/test_workflows.py", "row/test_policy_agent.py", "sandbox/test_hostile.py", "stacks/test_reviewed.py"),
    *("sandbox/test_processes.py", "local/test_postgres.py", "row/test_request_worker_failures.py"),
    *("row/test_request_worker.py", "row/test_observer.py", "row/test_run_code_limits.py"),
    *("row/test_app_enrollment_races.py", "row/test_policies.py", "row/test_kernels_page.py", "aws/test_functions.py"),
    *("aws/test_gateway.py", "migrations/test_queue.py", "db_migration/test_deploy.py"),
)
_numbers = itertools.count()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A worker of pytest-xdist has the longest files first. One process keeps to the order of their names."""
    if hasattr(config, "workerinput"):
        here = Path(__file__).parent
        place = {here / name: number for number, name in enumerate(LONGEST)}
        items.sort(key=lambda item: place.get(item.path, len(place)))


@dataclass(frozen=True)
class TestLedger:
    """One database: where it is, and how each role gets in. `environment` is what its Lambdas would have."""

    __test__ = False

    server: Server
    name: str
    environment: dict[str, str] = field(repr=False)

    def url(self, role: str) -> str:
        """The URL to sign in as `lambda_exec`, `readonly`, `admin`, `postgres` or the superuser `rdsadmin`."""
        return self.server.url(role, self.name)

    def connect(self, role: str) -> Connection:
        """A connection in autocommit that is really signed in as the role."""
        return connect(Target(role=role, url=self.url(role)))

    def database(self) -> Database:
        """The ledger library's access as `lambda_exec`."""
        return Database(Target(role="lambda_exec", url=self.url("lambda_exec")))

    def execute(self, role: str, statement: str, parameters: Any = None, identity: Identity | None = None) -> list[Any]:
        """Rows of one statement, in a transaction under the identity's context where one is given."""
        with self.connect(role) as connection, connection.transaction():
            if identity is not None:
                connection.execute(
                    "SELECT set_config('app.user_id', %s, true), set_config('app.tenant_id', %s, true)",
                    [identity.user_id, identity.tenant_id or ""],
                )
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="session")
def postgres() -> Iterator[LocalPostgres]:
    """This worker's cluster."""
    directory = Path(tempfile.mkdtemp(prefix="loglineos-test-"))
    directory.chmod(0o755)  # as root the server runs as another user, who has to get in
    local = LocalPostgres(directory, durable=False)
    try:
        yield local
    finally:
        local.remove()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster(postgres: LocalPostgres) -> Server:
    """It runs, with a migrated and seeded database to copy from."""
    server = postgres.start()
    with _as_superuser(server) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER postgres").format(sql.Identifier(TEMPLATE)))
    environment = environment_of(server, TEMPLATE)
    for action in ("migrate", "seed"):
        result = answer({"action": action}, environment)
        assert result["ok"], result
    for role in ("lambda_exec", "readonly", "admin"):
        postgres.ensure_login(role)
    return server


@pytest.fixture
def ledger(cluster: Server) -> Iterator[TestLedger]:
    """A migrated and seeded ledger for one test."""
    yield from _database(cluster, template=TEMPLATE)


@pytest.fixture
def empty(cluster: Server) -> Iterator[TestLedger]:
    """A database in which nothing has been done, on a cluster that knows the roles."""
    yield from _database(cluster, template="template1")


def _database(server: Server, template: str) -> Iterator[TestLedger]:
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with _as_superuser(server) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER postgres TEMPLATE {} STRATEGY FILE_COPY").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
        try:
            yield TestLedger(server, name, environment_of(server, name))
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def environment_of(server: Server, name: str) -> dict[str, str]:
    """The variables of db-migration; for the loader see the fixtures of its own tests."""
    return {
        "DATABASE_URL": server.url("postgres", name),
        "ROW_SIGNING_KEY_HEX": bytes(ROW_KEY).hex(),
        "TRUSTED_ROW_KEYS": bytes(ROW_KEY.verify_key).hex(),
    }


def _as_superuser(server: Server) -> psycopg.Connection[Any]:
    return psycopg.connect(server.url("rdsadmin", "postgres"), autocommit=True)
