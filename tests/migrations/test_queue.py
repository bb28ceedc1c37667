"""The indexes of the queue: whatever happened to the spans, they say what the spans say, and can be built again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from ledger.connection import Connection
from ledger.database import Identity
from ledger.ids import new_id
from ledger.settings import asset_directory
from ledger.span import Span
from loglineos.local.postgres import Server
from tests.conftest import ALICE, TestLedger
from tests.ledger.kit import copied_database, following, insert, sealed, set_context

REQUEST: dict[str, Any] = {"entity_type": "request", "status": "scheduled"}
FUNCTION: dict[str, Any] = {"entity_type": "function", "code": "def main(input):\n    return input\n"}
CLAIM = "SELECT * FROM ledger.claim_request('{}', NULL)"
INDEX = "SELECT * FROM ledger_idx.pending ORDER BY 1"
TRUTH = "SELECT * FROM ledger_idx.unfinished_request ORDER BY 1"
SCHEDULE = "SELECT function_id, tenant_id, owner_id, seq, schedule, since FROM ledger_idx.schedule ORDER BY 1"
FUNCTIONS = (
    "SELECT function_id, tenant_id, owner_id, seq, schedule, since FROM ledger_idx.scheduled_function ORDER BY 1"
)
AGREED = {"missing": 0, "wrong": 0, "surplus": 0}
STATES = ["scheduled", "running", "complete", "error", "dead", None, "odd"]
METADATA = [
    None,
    {},
    {"retry_at": "2026-05-01T10:00:00.5Z", "attempt": 2},
    {"retry_at": "soon", "attempt": -1},
    {"retry_at": "2026-02-30T00:00:00Z", "attempt": 10**15},
    {"retry_at": "9999-12-31T24:00:00Z", "attempt": "3"},
]
CRON = [None, {}, {"schedule": None}, {"schedule": "* * * * *"}, {"schedule": "0 0 1 1 *"}, {"schedule": 5}]


@pytest.fixture
def admin(ledger: TestLedger) -> Iterator[Connection]:
    with ledger.connect("admin") as connection:
        yield connection


def rebuild(connection: Connection) -> list[dict[str, Any]]:
    """Both indexes, as `loglineos queue rebuild` does."""
    return [
        row
        for statement in ("SELECT * FROM ledger.rebuild_pending()", "SELECT * FROM ledger.rebuild_schedule()")
        for row in connection.execute(statement.encode()).fetchall()
    ]


def history(chance: random.Random, connection: Connection) -> None:
    """Versions of requests and functions, of several owners, in any order, with anything in them."""
    owners = [ALICE, Identity("bob", "acme"), Identity("alice", "other"), Identity("edge:stage0", "system")]
    heads: list[Span] = []
    for _ in range(150):
        kind = chance.choice([REQUEST, FUNCTION])
        values: dict[str, Any] = {
            "status": chance.choice(STATES),
            "metadata": chance.choice(METADATA if kind is REQUEST else CRON),
            "is_deleted": chance.random() < 0.15,
            "at": datetime(2026, 1, chance.randint(1, 28), tzinfo=UTC),
            "parent_id": chance.choice([None, new_id()]),
        }
        if heads and chance.random() < 0.7:
            place = chance.randrange(len(heads))
            heads[place] = following(heads[place], **values)
            insert(connection, heads[place])
        else:
            heads.append(sealed(chance.choice(owners), **{**kind, **values}))
            insert(connection, heads[-1])


@pytest.mark.parametrize("seed", range(5))
def test_after_any_history_the_indexes_are_what_the_spans_say(admin: Connection, seed: int) -> None:
    chance = random.Random(seed)
    history(chance, admin)
    index = admin.execute(INDEX).fetchall()
    assert index
    assert index == admin.execute(TRUTH).fetchall()
    schedule = [{**row, "since": None} for row in admin.execute(SCHEDULE).fetchall()]
    assert schedule == [{**row, "since": None} for row in admin.execute(FUNCTIONS).fetchall()]
    assert [AGREED.items() <= report.items() for report in rebuild(admin)] == [True, True]
    assert admin.execute(INDEX).fetchall() == index


@pytest.mark.parametrize("seed", range(3))
def test_a_rebuild_finds_and_mends_what_is_off(admin: Connection, seed: int) -> None:
    chance = random.Random(seed)
    history(chance, admin)
    before = admin.execute(INDEX).fetchall()
    functions = admin.execute(FUNCTIONS).fetchall()
    lost, wrong = before[0]["request_id"], before[1]["request_id"]
    admin.execute("DELETE FROM ledger_idx.pending WHERE request_id = %s", [lost])
    column, value = chance.choice(
        [
            ("tenant_id", "mallory"),
            ("owner_id", "mallory"),
            ("status", "odd"),
            ("ready_at", "2001-01-01"),
            ("attempts", 99),
            ("function_id", new_id()),
        ]
    )
    admin.execute(f"UPDATE ledger_idx.pending SET {column} = %s WHERE request_id = %s".encode(), [value, wrong])
    admin.execute(
        "INSERT INTO ledger_idx.pending VALUES (%s, 'a', 'b', NULL, 'scheduled', now(), 0), "
        "(%s, 'a', 'b', NULL, 'running', now(), 0)",
        [new_id(), new_id()],
    )
    admin.execute("DELETE FROM ledger_idx.schedule WHERE function_id = %s", [functions[0]["function_id"]])
    admin.execute("UPDATE ledger_idx.schedule SET seq = 99, since = now() WHERE function_id = %s", [
        functions[1]["function_id"]
    ])  # fmt: skip
    admin.execute("INSERT INTO ledger_idx.schedule VALUES (%s, 'a', 'b', 0, NULL, now(), now())", [new_id()])
    admin.execute("UPDATE ledger_idx.schedule SET due_at = 'infinity'")
    requests, schedules = rebuild(admin)
    assert requests == {
        "index": "pending requests", "entries": len(before), "missing": 1, "wrong": 1, "surplus": 2
    }  # fmt: skip
    assert schedules == {
        "index": "scheduled functions", "entries": len(functions), "missing": 1, "wrong": 1, "surplus": 1
    }  # fmt: skip
    assert admin.execute(INDEX).fetchall() == before
    assert admin.execute(SCHEDULE).fetchall() == functions
    forgotten = admin.execute("SELECT FROM ledger_idx.schedule WHERE due_at = 'infinity'").rowcount
    assert forgotten == 0, "each is looked at again"
    assert [AGREED.items() <= report.items() for report in rebuild(admin)] == [True, True]


def test_the_migration_indexes_what_was_there_before_it(admin: Connection) -> None:
    history(random.Random(7), admin)
    before = admin.execute(INDEX).fetchall()
    admin.execute("TRUNCATE ledger_idx.pending, ledger_idx.schedule")
    *_, first, second = (asset_directory("migrations") / "0008_queue.sql").read_text().strip().splitlines()
    for statement in (first, second):
        admin.execute(statement.encode())
    assert admin.execute(INDEX).fetchall() == before
    assert admin.execute(SCHEDULE).fetchall() == admin.execute(FUNCTIONS).fetchall()


def test_requests_of_no_tenant_and_of_the_system_are_nobodys_to_run(admin: Connection) -> None:
    for owner in (Identity("alice", None), Identity("system", "acme"), Identity("system", "system")):
        insert(admin, sealed(owner, **REQUEST))
        insert(admin, sealed(owner, **FUNCTION, status="scheduled"))
    functions = {row["owner_id"] for row in admin.execute(SCHEDULE).fetchall()}
    assert (admin.execute(INDEX).fetchall(), functions) == ([], set())
    assert (admin.execute(TRUTH).fetchall(), admin.execute(FUNCTIONS).fetchall()) == ([], [])


@pytest.mark.parametrize("thief", [Identity("bob", "acme"), Identity("alice", "other"), Identity("bob", None)])
def test_nobody_else_takes_a_request_off_the_queue(ledger: TestLedger, admin: Connection, thief: Identity) -> None:
    request = sealed(ALICE, **REQUEST)
    insert(admin, request)
    before = admin.execute(INDEX).fetchall()
    theft = following(request, owner_id=thief.user_id, tenant_id=thief.tenant_id, is_deleted=True)
    with ledger.connect("lambda_exec") as connection, connection.transaction():
        set_context(connection, thief)
        with pytest.raises(psycopg.Error), connection.transaction():
            insert(connection, theft)
    assert admin.execute(INDEX).fetchall() == before


def test_a_claim_locks_one_request_and_others_pass_it_by(ledger: TestLedger, admin: Connection) -> None:
    spans = [sealed(ALICE, **REQUEST, at=f"2026-01-01T00:00:0{n}Z") for n in range(3)]
    for span in spans:
        insert(admin, span)
    with ledger.connect("lambda_exec") as one, ledger.connect("lambda_exec") as two:
        with one.transaction(), two.transaction():
            assert one.execute(CLAIM).fetchall()[0]["request_id"] == spans[0].id
            assert two.execute(CLAIM).fetchall()[0]["request_id"] == spans[1].id
        with one.transaction():
            assert one.execute(CLAIM).fetchall()[0]["request_id"] == spans[0].id, "what was not moved is where it was"


def test_functions_that_are_busy_are_left_for_later(ledger: TestLedger, admin: Connection) -> None:
    busy, free = new_id(), new_id()
    insert(admin, sealed(ALICE, **REQUEST, parent_id=busy, at="2026-01-01T00:00:00Z"))
    other = sealed(ALICE, **REQUEST, parent_id=free, at="2026-01-02T00:00:00Z")
    insert(admin, other)
    claim = "SELECT request_id FROM ledger.claim_request(%s, 'acme')"
    with ledger.connect("lambda_exec") as connection:
        assert connection.execute(claim, [[busy]]).fetchall() == [{"request_id": other.id}]
        assert connection.execute(claim, [[busy, free]]).fetchall() == []


def test_a_withdrawal_and_a_claim_do_not_wait_for_each_other_in_a_circle(ledger: TestLedger, admin: Connection) -> None:
    request = sealed(ALICE, **REQUEST, at="2026-01-01T00:00:00Z")
    insert(admin, request)
    # The owner holds the guard's lock on the request, and has still to take it off the index.
    with ledger.connect("lambda_exec") as owner, ledger.connect("lambda_exec") as worker:
        with owner.transaction():
            set_context(owner, ALICE)
            owner.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [str(request.id)])
            with worker.transaction():
                assert worker.execute(CLAIM).fetchall() == [], "the worker does not wait for it"
            insert(owner, following(request, is_deleted=True))
        assert admin.execute(INDEX).fetchall() == []


def test_a_rebuild_waits_for_appends_and_appends_for_it_without_deadlock(ledger: TestLedger, admin: Connection) -> None:
    def appends(number: int) -> None:
        # Requests and functions in one transaction, in either order: both tables are written.
        owner = Identity(f"u{number}", "acme")
        with ledger.connect("lambda_exec") as connection:
            for n in range(30):
                with connection.transaction():
                    set_context(connection, owner)
                    for kind in (REQUEST, FUNCTION)[:: 1 if n % 2 else -1]:
                        insert(connection, sealed(owner, **{**kind, "status": "scheduled"}))

    def rebuilds() -> None:
        with ledger.connect("admin") as connection:
            for _ in range(20):
                rebuild(connection)

    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(rebuilds), pool.submit(rebuilds), *(pool.submit(appends, n) for n in range(4))]:
            done.result(timeout=60)
    assert admin.execute("SELECT FROM ledger_idx.pending").rowcount == 120
    assert [AGREED.items() <= report.items() for report in rebuild(admin)] == [True, True]


@pytest.fixture(scope="module")
def busy_ledger(cluster: Server) -> Iterator[TestLedger]:
    """Many that are finished, some that wait, of many tenants."""
    fill = """
    INSERT INTO ledger.universal_registry
      (id, seq, entity_type, who, did, this, at, owner_id, tenant_id, visibility, status, curr_hash)
    SELECT gen_random_uuid(), 0, 'request', 'w', 'd', 't', '2026-01-01', 'u', 't' || n % 50, 'private',
           CASE WHEN n % 20 = 0 THEN 'scheduled' WHEN n % 1000 = 1 THEN 'dead' ELSE 'complete' END,
           encode(sha256(int4send(n)), 'hex')
      FROM generate_series(1, 2000) n
    """
    with copied_database(cluster) as ledger:
        with ledger.connect("postgres") as connection:
            for _ in range(8):
                connection.execute(fill.encode())
            connection.execute("ANALYZE ledger.universal_registry, ledger_idx.pending")
        yield ledger


def test_a_claim_reads_a_bounded_number_of_buffers_and_none_of_what_is_finished(busy_ledger: TestLedger) -> None:
    explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {CLAIM}".encode()
    with busy_ledger.connect("lambda_exec") as connection:
        for _ in range(2):  # catalogues and plans are cached the second time
            plan = connection.execute(explain).fetchall()[0]["QUERY PLAN"][0]["Plan"]
    assert plan["Actual Rows"] == 1
    # Four steps down an index for each of the 50 tenants that wait; 16,000 spans are 400 buffers at least.
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 50 * 8 + 60


def test_what_is_dead_is_found_by_its_index(busy_ledger: TestLedger) -> None:
    statement = b"EXPLAIN SELECT * FROM ledger_idx.dead_request ORDER BY at DESC, request_id LIMIT 100"
    with busy_ledger.connect("admin") as connection:
        text = "\n".join(row["QUERY PLAN"] for row in connection.execute(statement).fetchall())
    assert "ur_dead_request" in text
    assert "Seq Scan" not in text


def test_drafts_that_cannot_be_indexed_are_appended_all_the_same(admin: Connection) -> None:
    strange: list[dict[str, Any]] = [
        {"retry_at": "x" * 5000},
        {"retry_at": {"a": 1}},
        {"attempt": "9" * 400},
        {"attempt": []},
    ]
    for metadata in strange:
        insert(admin, sealed(ALICE, **REQUEST, metadata=metadata))
    assert [row["attempts"] for row in admin.execute(INDEX).fetchall()] == [0] * 4
