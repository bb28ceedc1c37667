"""What a release expects of a database, and the statistics of statements."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from db_migration.handler import answer
from ledger.settings import asset_directory
from loglineos.local.postgres import LocalPostgres
from loglineos.xray.expected import as_text, catalog_of
from tests.conftest import TestLedger
from tests.health.kit import Ward


def test_the_catalog_of_this_release_is_what_its_migrations_make(ward: Ward) -> None:
    file = asset_directory("migrations") / "catalog.json"
    said = "write it again: .venv/bin/python -m loglineos.xray.expected"
    assert as_text(catalog_of(ward.ledger.url("postgres"))) == file.read_text(encoding="utf-8"), said


def test_the_extension_is_made_where_the_login_may_and_missed_by_nobody(empty: TestLedger) -> None:
    migration = (asset_directory("migrations") / "0013_statement_statistics.sql").read_text()
    there = "SELECT extname FROM pg_extension WHERE extname = 'pg_stat_statements'"
    empty.execute("postgres", migration)
    assert empty.execute("rdsadmin", there) == []
    empty.execute("rdsadmin", migration)
    assert empty.execute("rdsadmin", there) == [{"extname": "pg_stat_statements"}]
    answered = answer({"action": "migrate"}, empty.environment)
    assert answered["ok"], answered
    slow = answer({"action": "xray", "sections": ["performance"]}, empty.environment)["xray"]["performance"]["slow"]
    assert slow == {"unknown": "pg_stat_statements is not in shared_preload_libraries: add it there and restart"}


@pytest.fixture
def counting() -> Iterator[str]:
    """A database whose server counts statements, as RDS does."""
    directory = Path(tempfile.mkdtemp(prefix="loglineos-counting-"))
    directory.chmod(0o755)
    local = LocalPostgres(directory, durable=False)
    try:
        with psycopg.connect(local.start().url("rdsadmin"), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
            connection.execute("CREATE EXTENSION pg_stat_statements")
        local.stop()
        yield local.start().url()
    finally:
        local.remove()
        shutil.rmtree(directory, ignore_errors=True)


def test_the_statements_that_took_most_time(counting: str) -> None:
    environment = {"DATABASE_URL": counting}
    assert answer({"action": "migrate"}, environment)["ok"]
    for _ in range(3):
        assert answer(
            {"action": "query", "sql": "SELECT count(*) AS counted FROM generate_series(1, 300000)"}, environment
        )["ok"]
    found = answer({"action": "xray", "sections": ["performance"]}, environment)["xray"]["performance"]
    (one,) = [row for row in found["slow"]["rows"] if "AS counted" in row["statement"]]
    assert (one["role"], one["calls"], one["rows"]) == ("readonly", 3, 3)
    # What is no query, a password's verifier for one, is not shown.
    assert not [row for row in found["slow"]["rows"] if row["statement"].upper().startswith(("ALTER", "CREATE", "SET"))]
