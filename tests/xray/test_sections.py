"""The facts that the action `xray` reads, against a ledger of which they are known."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from db_migration.handler import answer
from db_migration.xray import action, count
from db_migration.xray.action import SECTIONS
from db_migration.xray.integrity import integrity
from db_migration.xray.reader import Reader, section
from ledger.connection import Target
from ledger.database import Identity
from ledger.errors import LedgerUnavailable
from tests.conftest import LOADER_KEY
from tests.db_migration.test_query_manual import ACTIVE_APPS, EXECUTIONS, MEMORIES
from tests.health.kit import Ward, boot
from tests.ledger.kit import put, sealed

OBSERVER = "00000000-0000-4000-8000-000000000002"


@pytest.fixture(scope="module")
def busy(ward: Ward) -> Ward:
    """Two tenants' memories, an app, and boots as the schedules make them."""
    for _ in range(3):
        boot(ward, OBSERVER)
    now = datetime.now(UTC)
    for tenant, memories in (("acme", 2), ("globex", 1)):
        me = Identity("alice", tenant)
        put(ward.ledger, sealed(me, entity_type="app_registration", status="active", at=now))
        for _ in range(memories):
            put(ward.ledger, sealed(me, entity_type="memory", metadata={"content": "用户"}, at=now))
    old = {"entity_type": "execution", "status": "error", "at": "2020-01-01T00:00:00Z", "duration_ms": 9}
    put(ward.ledger, sealed(Identity("alice", "acme"), **old))
    return ward


@pytest.fixture
def reader(busy: Ward) -> Iterator[Reader]:
    made = Reader(Target(role="readonly", url=busy.ledger.url("readonly")))
    yield made
    made.close()


def seen(ward: Ward, *sections: str, **event: Any) -> dict[str, Any]:
    found: dict[str, Any] = ward.backend().migration(
        {"action": "xray", "sections": list(sections or SECTIONS), **event}
    )["xray"]
    return found


def counted(ward: Ward, statement: str) -> dict[Any, int]:
    return {row["k"]: row["n"] for row in ward.ledger.execute("rdsadmin", statement)}


def test_every_section_is_known(busy: Ward) -> None:
    found = seen(busy)
    assert set(found) == {*SECTIONS, "login"}
    assert [name for name in SECTIONS if "unknown" in found[name]] == []
    assert found["structure"]["differences"] == []


def test_spans_are_counted_by_type_tenant_key_and_day(busy: Ward) -> None:
    found = seen(busy, "spans")["spans"]
    assert found["estimated"] is False
    for name, column in (("by_type", "entity_type"), ("by_tenant", "tenant_id")):
        truth = counted(busy, f"SELECT {column} AS k, count(*) AS n FROM ledger.universal_registry GROUP BY 1")
        assert {one[column]: one["spans"] for one in found[name]} == truth
    keys = {one["public_key"]: one["spans"] for one in found["by_key"]}
    assert keys[bytes(LOADER_KEY.verify_key).hex()] == 6  # three boots, each with its two spans
    assert sum(keys.values()) == found["total"] == found["signed"] + found["unsigned"]
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    (day,) = [day for day in found["by_day"] if day["day"] == today]
    assert day["types"]["memory"] == 3
    assert "2020-01-01" not in {day["day"] for day in found["by_day"]}


def test_a_large_ledger_is_estimated_from_some_of_its_pages(busy: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    (pages,) = busy.ledger.execute("rdsadmin", "SELECT pg_relation_size('ledger.universal_registry') / 8192 AS n")
    monkeypatch.setattr(count, "SAMPLE_PAGES", pages["n"] - 1)
    found = seen(busy, "spans")["spans"]
    assert (found["estimated"], found["sample_percent"]) == (True, round(100 * (1 - 1 / pages["n"]), 3))
    assert abs(found["total"] - sum(one["spans"] for one in found["by_type"])) <= len(found["by_type"])


def test_boots_and_durations_are_of_the_last_day(busy: Ward) -> None:
    found = seen(busy, "activity")["activity"]
    assert (sum(hour["boots"] for hour in found["hours"]), sum(hour["failed"] for hour in found["hours"])) == (3, 0)
    (kernel,) = found["kernels"]
    assert (kernel["kernel"], kernel["executions"], kernel["failed"]) == ("observer_bot_kernel", 3, 0)
    assert 0 <= kernel["p50_ms"] <= kernel["p95_ms"] <= kernel["max_ms"]
    assert found["cut"] is False


@pytest.mark.parametrize(
    ("name", "sql", "columns"),
    [
        ("executions", EXECUTIONS, ("status", "executions")),
        ("memories", MEMORIES, ("tenant_id", "memory_count", "total_bytes")),
        ("apps", ACTIVE_APPS, ("tenant_id", "app_count")),
    ],
)
def test_the_manuals_reports_say_what_its_own_queries_say(
    busy: Ward, name: str, sql: str, columns: tuple[str, ...]
) -> None:
    rows = answer({"action": "query", "sql": sql}, busy.ledger.environment)["rows"]
    found = seen(busy, name)[name]["rows"]
    assert rows
    assert {tuple(row[column] for column in columns) for row in found} == {
        tuple(row[column] for column in columns) for row in rows
    }


def test_a_changed_span_is_found_among_the_newest(busy: Ward, reader: Reader) -> None:
    whole = integrity(reader, 1_000_000)
    assert (whole["broken"], whole["checked"]) == (0, seen(busy, "spans")["spans"]["total"])
    assert integrity(reader, 5)["checked"] == 5
    assert integrity(reader, 5, budget_s=0)["checked"] == 0
    (span,) = busy.ledger.execute("rdsadmin", "SELECT id::text FROM ledger.visible_timeline WHERE at < '2021-01-01'")
    change = """ALTER TABLE ledger.universal_registry DISABLE TRIGGER ALL;
        UPDATE ledger.universal_registry SET duration_ms = 18 - duration_ms + {} WHERE id = '{}';
        ALTER TABLE ledger.universal_registry ENABLE TRIGGER ALL;
        ALTER TABLE ledger.universal_registry ENABLE ALWAYS TRIGGER ur_append_only,
          ENABLE ALWAYS TRIGGER ur_append_only_row, ENABLE ALWAYS TRIGGER ur_guard_insert"""
    busy.break_(change.format(1, span["id"]))
    try:
        found = integrity(reader, 1000)
    finally:
        busy.break_(change.format(1, span["id"]))
    assert found["first_broken"] == [
        {"id": span["id"], "seq": 0, "reason": "its columns do not match its hash"}
    ]  # fmt: skip


def test_a_statement_that_takes_too_long_is_a_fact(reader: Reader) -> None:
    reader.connection.execute("SET statement_timeout = '20ms'")
    started = time.monotonic()
    found = section(lambda: {"rows": reader.rows("SELECT pg_sleep(20)")})
    assert found == {"unknown": "a statement took longer than 5 s and was stopped"}
    assert time.monotonic() - started < 10
    assert section(lambda: reader.row("SELECT 1 AS n")) == {"n": 1}


def test_sections_that_no_time_is_left_for_say_so(busy: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(action, "BUDGET_S", -1.0)
    assert seen(busy, "spans")["spans"]["unknown"].endswith("ask for it alone")


def test_what_readonly_may_not_see_is_a_fact_too_and_it_writes_nothing(reader: Reader) -> None:
    found = section(lambda: {"rows": reader.rows("SELECT * FROM ledger_idx.era")})
    assert found == {"unknown": "permission denied for schema ledger_idx"}
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        reader.rows("SELECT lo_from_bytea(0, 'x')")


def test_a_connection_that_is_lost_is_no_fact(busy: Ward, reader: Reader) -> None:
    pid = reader.row("SELECT pg_backend_pid() AS n")["n"]
    busy.break_("SELECT pg_terminate_backend(%s)", [pid])
    with pytest.raises(LedgerUnavailable):
        section(lambda: reader.row("SELECT 1 AS n"))


def test_without_the_primary_the_replica_still_answers(busy: Ward) -> None:
    environment = {
        **busy.ledger.environment,
        "DATABASE_URL": "postgresql://postgres:hunter2@127.0.0.1:1/x",
        "READONLY_DATABASE_URL": busy.ledger.url("readonly"),
    }
    found = answer({"action": "xray", "sections": ["spans", "queue"]}, environment)["xray"]
    assert found["spans"]["total"] > 0
    assert found["queue"]["unknown"].startswith("the server cannot be reached")
    assert "hunter2" not in str(found)
    neither = answer({"action": "xray"}, {**environment, "READONLY_DATABASE_URL": environment["DATABASE_URL"]})
    assert neither["error"]["code"] == "ledger_unavailable"


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({"sections": []}, "sections"),
        ({"sections": ["all"]}, "sections.0"),
        ({"verify": -1}, "verify"),
        ({"n": 1}, "n"),
    ],
)
def test_a_wrong_event_is_named_by_its_field(event: dict[str, Any], field: str) -> None:
    assert answer({"action": "xray", **event}, {})["error"]["field"] == field
