"""`query` only reads: whatever writes, escapes its role or is more than one statement, the database refuses."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from db_migration import query as query_module
from db_migration.handler import answer
from tests.conftest import TestLedger
from tests.ledger.kit import ask

REGISTRY = "ledger.universal_registry"
WRITES = [
    f"INSERT INTO {REGISTRY} (id) VALUES (gen_random_uuid())",
    f"UPDATE {REGISTRY} SET name = 'x'",
    f"DELETE FROM {REGISTRY}",
    f"TRUNCATE {REGISTRY}",
    "CREATE TABLE public.stolen (a int)",
    "CREATE TEMP TABLE stolen (a int)",
    "DROP VIEW ledger.current_span",
    "ALTER TABLE ledger.universal_registry DISABLE TRIGGER ALL",
    "GRANT admin TO readonly",
    f"SELECT * INTO public.stolen FROM {REGISTRY}",
    f"SELECT * INTO TEMP stolen FROM {REGISTRY}",
    f"SELECT * FROM {REGISTRY} FOR UPDATE",
    f"SELECT * FROM {REGISTRY} FOR KEY SHARE",
    f"WITH gone AS (DELETE FROM {REGISTRY} RETURNING *) SELECT * FROM gone",
    f"EXPLAIN ANALYZE DELETE FROM {REGISTRY}",
    f"MERGE INTO {REGISTRY} r USING (SELECT 1) s ON false WHEN MATCHED THEN DELETE",
    "SELECT nextval('ledger.position')",
    "SELECT setval('ledger.position', 1)",
    "SELECT lo_from_bytea(0, 'x')",
    "SELECT ledger.spend_quota('x', 1, 1)",
    "DO $$ BEGIN DELETE FROM ledger.universal_registry; END $$",
    "DO $$ BEGIN CREATE TABLE public.stolen (a int); END $$",
    "DO $$ BEGIN SET LOCAL transaction_read_only = off; CREATE TABLE public.stolen (a int); END $$",
    "DO $$ BEGIN COMMIT; CREATE TABLE public.stolen (a int); END $$",
    "DO $$ BEGIN SET LOCAL ROLE admin; INSERT INTO ledger_idx.era VALUES (9, now(), 'x'); END $$",
    "SELECT set_config('transaction_read_only', 'off', true), lo_from_bytea(0, 'x')",
    "SELECT set_config('role', 'admin', true), setval('ledger.position', 1)",
    "DO $$ BEGIN SET LOCAL ROLE admin; DELETE FROM ledger_idx.era; END $$",
    f"COPY {REGISTRY} TO PROGRAM 'cat'",
    f"COPY {REGISTRY} TO '/tmp/stolen'",
    f"COPY {REGISTRY} FROM '/etc/passwd'",
    "VACUUM",
    "ALTER SYSTEM SET fsync = off",
    "CREATE DATABASE stolen",
]
ODD = [
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE ledger.universal_registry",
    "BEGIN; SELECT 1",
    "COMMIT; CREATE TABLE public.stolen (a int)",
    "",
    "   ",
    ";",
    "-- nothing",
    "SELEKT 1",
    "SELECT nothing FROM here",
    "SELECT 1 / 0",
    "SELECT $1",
    "SELECT $1::int + $2::int",
    f"COPY {REGISTRY} TO STDOUT",
    "COPY (SELECT 1) TO STDOUT",
    "LISTEN loglineos",
    "SET ROLE admin",
    "RESET ROLE",
    "SET TRANSACTION READ WRITE",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    "COMMIT",
    "ROLLBACK",
    "COMMIT AND CHAIN",
    "PREPARE p AS SELECT 1",
    "DISCARD ALL",
]


@pytest.fixture(params=["readonly", "postgres"])
def environment(shared: TestLedger, request: pytest.FixtureRequest) -> dict[str, str]:
    """With a login of its own for reports, and with one URL whose login becomes `readonly`."""
    own = {"READONLY_DATABASE_URL": shared.url("readonly")} if request.param == "readonly" else {}
    return shared.environment | own


@pytest.fixture
def untouched(shared: TestLedger) -> Iterator[None]:
    """Afterwards the database is what it was, and no session has stayed behind."""
    state = """
        SELECT (SELECT md5(string_agg(r::text, '|' ORDER BY id, seq)) FROM ledger.universal_registry r) AS rows,
               (SELECT count(*) FROM pg_class) AS relations, (SELECT count(*) FROM ledger_idx.era) AS eras,
               (SELECT count(*) FROM pg_largeobject_metadata) AS objects,
               (SELECT last_value FROM ledger.position) AS position, (SELECT count(*) FROM ledger_idx.usage) AS used"""
    before = ask(shared, "rdsadmin", state)
    yield
    assert ask(shared, "rdsadmin", state) == before


def query(environment: dict[str, str], sql: str, *params: Any) -> dict[str, Any]:
    return answer({"action": "query", "sql": sql, "params": list(params)}, environment)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("sql", WRITES)
def test_the_database_refuses_to_write(environment: dict[str, str], sql: str) -> None:
    result = query(environment, sql)
    assert not result["ok"], result
    assert result["error"]["code"] in ("query_failed", "not_permitted")
    assert result["error"]["message"]
    if "sqlstate" in result["error"]:
        # Read-only, no right, or not inside a transaction block; never a mistake in the test's own SQL.
        assert result["error"]["sqlstate"] in ("25006", "25001", "2D000", "0A000", "42501")


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("sql", ODD)
def test_what_is_not_one_query_is_answered_with_a_reason(environment: dict[str, str], sql: str) -> None:
    result = query(environment, sql)
    assert not result["ok"]
    assert result["error"]["code"] in ("query_failed", "not_permitted", "invalid_input")
    assert result["error"]["message"]


def test_two_statements_are_named_as_such(environment: dict[str, str]) -> None:
    error = query(environment, "SELECT 1; SELECT 2")["error"]
    assert (error["code"], error["sqlstate"]) == ("query_failed", "42601")
    assert "multiple commands" in error["message"]


def test_writing_is_named_as_such(environment: dict[str, str]) -> None:
    error = query(environment, "CREATE SCHEMA mine")["error"]
    assert error["sqlstate"] in ("25006", "42501")


def test_a_query_is_run_as_readonly_in_a_read_only_transaction(environment: dict[str, str]) -> None:
    result = query(environment, "SELECT current_user AS u, current_setting('transaction_read_only') AS r")
    assert result["rows"] == [{"u": "readonly", "r": "on"}]


@pytest.mark.parametrize("table", ["ledger_idx.usage", "ledger_idx.era", "app.schema_migration", "pg_authid"])
def test_what_readonly_may_not_read_it_does_not(environment: dict[str, str], table: str) -> None:
    assert query(environment, f"SELECT * FROM {table}")["error"]["code"] == "not_permitted"


@pytest.mark.parametrize("role", ["admin", "postgres", "lambda_exec", "rdsadmin"])
@pytest.mark.parametrize("way", ["SELECT set_config('role', '{}', true)", "DO $$ BEGIN SET LOCAL ROLE {}; END $$"])
def test_a_login_for_reports_becomes_no_other_role(shared: TestLedger, role: str, way: str) -> None:
    own = shared.environment | {"READONLY_DATABASE_URL": shared.url("readonly")}
    assert query(own, way.format(role))["error"]["code"] == "not_permitted"


def test_nothing_that_a_query_sets_outlives_it(environment: dict[str, str]) -> None:
    assert query(environment, "SELECT set_config('work_mem', '77MB', false)")["ok"]
    assert query(environment, "SELECT pg_advisory_lock(42)")["ok"]
    assert query(environment, "SHOW work_mem")["rows"] != [{"work_mem": "77MB"}]
    assert query(environment, "SELECT pg_try_advisory_lock(42) AS free")["rows"] == [{"free": True}]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT pg_sleep(8)",
        "SELECT set_config('statement_timeout', '0', false), pg_sleep(8)",
        "SELECT pg_sleep(0.01) FROM generate_series(1, 900)",
        "SELECT count(*) FROM generate_series(1, 60000000)",
    ],
)
def test_a_query_that_takes_too_long_is_stopped(
    environment: dict[str, str], sql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_module, "TIMEOUT_S", 0.3)
    started = time.monotonic()
    error = query(environment, sql)["error"]
    assert time.monotonic() - started < 5
    assert (error["code"], error["sqlstate"]) == ("query_failed", "57014")
    assert "was stopped" in error["message"]


def test_a_query_has_ten_seconds() -> None:
    assert query_module.TIMEOUT_S == 10
