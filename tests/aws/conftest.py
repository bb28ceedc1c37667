"""One PostgreSQL and one emulator for all of these tests, and the CDK's own command line to deploy with."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
from botocore.config import Config

from loglineos.aws import Emulator, Endpoint
from loglineos.aws.deploy import bootstrap, cdk
from loglineos.local.postgres import LocalPostgres, Server
from tests.aws.app import Variant, synthesize

Row = dict[str, Any]


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPostgres]:
    local = LocalPostgres(tmp_path_factory.mktemp("postgres"), durable=False)
    local.start()
    yield local
    local.remove()


@pytest.fixture(scope="session")
def server(postgres: LocalPostgres) -> Server:
    return postgres.start()


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory, postgres: LocalPostgres) -> Iterator[Emulator]:
    emulator = Emulator(tmp_path_factory.mktemp("aws"), postgres)
    emulator.start()
    yield emulator
    emulator.stop()


@pytest.fixture(scope="session")
def endpoint(emulator: Emulator) -> Endpoint:
    return emulator.start()


@pytest.fixture(scope="session")
def client(endpoint: Endpoint) -> Callable[[str], Any]:
    """A boto3 client of the emulator: one for each service, since its description takes long to read."""

    @cache
    def make(service: str) -> Any:
        return boto3.session.Session().client(
            service,
            endpoint_url=endpoint.url,
            region_name=endpoint.region,
            aws_access_key_id=endpoint.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=endpoint.environment["AWS_SECRET_ACCESS_KEY"],
            config=Config(retries={"max_attempts": 0}, read_timeout=60),
        )

    return make


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layer with the psycopg that is installed here: a function sees nothing but its layers."""
    folder = tmp_path_factory.mktemp("driver")
    (folder / "python").mkdir()
    spec = importlib.util.find_spec("psycopg")
    assert spec is not None
    assert spec.origin is not None
    installed = Path(spec.origin).parents[1]
    for name in ("psycopg", "psycopg_binary", "psycopg_binary.libs", "typing_extensions.py"):
        (folder / "python" / name).symlink_to(installed / name)
    return folder


class Cdk:
    """The unmodified CDK, deploying variants of the test's app."""

    def __init__(self, endpoint: Endpoint, folder: Path, driver: Path) -> None:
        self._endpoint, self._folder, self._driver = endpoint, folder, driver
        self._made: dict[Variant, Path] = {}

    def bootstrap(self) -> subprocess.CompletedProcess[str]:
        where = self._endpoint
        return bootstrap(where.environment, where.account, where.region, capture=True)

    def assembly(self, variant: Variant) -> Path:
        if variant not in self._made:
            self._made[variant] = synthesize(self._folder / str(len(self._made)), self._driver, variant)
        return self._made[variant]

    def __call__(self, verb: str, variant: Variant, *more: str) -> subprocess.CompletedProcess[str]:
        return cdk(
            verb,
            *("--app", str(self.assembly(variant))),
            *(more or ("--all",)),
            env=self._endpoint.environment,
            capture=True,
            timeout=300,  # of a busy machine, for what has hung
        )


@pytest.fixture(scope="session")
def app(endpoint: Endpoint, tmp_path_factory: pytest.TempPathFactory, driver: Path) -> Cdk:
    made = Cdk(endpoint, tmp_path_factory.mktemp("assemblies"), driver)
    done = made.bootstrap()
    assert done.returncode == 0, said(done)
    return made


def said(done: subprocess.CompletedProcess[str]) -> str:
    """All that a command printed, its long lines unbroken."""
    return re.sub(r"\s+", " ", done.stdout + done.stderr)


@pytest.fixture(scope="session")
def query(server: Server) -> Callable[[str], list[tuple[Any, ...]]]:
    """SQL in the database of the test's RDS instance, as the superuser."""

    def run(statement: str, database: str = "rehearsal") -> list[tuple[Any, ...]]:
        with psycopg.connect(server.url("rdsadmin", database), autocommit=True) as connection:
            return connection.execute(statement).fetchall()

    return run


@pytest.fixture(scope="session")
def calls(query: Callable[[str], list[tuple[Any, ...]]]) -> Callable[[], list[Row]]:
    """The events that the custom resource's function has recorded so far."""

    def run() -> list[Row]:
        return [row[0] for row in query("SELECT event FROM calls ORDER BY at")]

    return run


@pytest.fixture(scope="session")
def aws(endpoint: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """A line of shell with the emulator's environment sourced; its JSON, if it prints any."""
    from loglineos.aws import write_environment

    folder = tmp_path_factory.mktemp("shell")
    write_environment(endpoint, folder / "env")

    def run(line: str, *, returncode: int = 0) -> Any:
        done = subprocess.run(
            ["bash", "-c", f". ./env; {line}"], cwd=folder, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == returncode, done.stdout + done.stderr
        try:
            return json.loads(done.stdout)
        except ValueError:
            return done.stdout + done.stderr

    return run
