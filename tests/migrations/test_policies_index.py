"""Whose turn it is, and what was committed after a cursor: narrow, exact, and as quick with many as with few."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Event
from typing import Any
from uuid import UUID

import psycopg
import pytest

from ledger.database import Identity
from ledger.follow import Place, spans_at, stretch_of, stretch_of_all
from ledger.read import BEGINNING, Cursor
from ledger.span import Span
from tests.conftest import TestLedger
from tests.ledger.kit import acting, ask, assigned, draft, following, insert, put, sealed, set_context, someone

MANY = 5_000
TAKE = "SELECT * FROM ledger.take_policy(%s)"
ENTRY = "SELECT seq, owner_id, tenant_id, active, on_demand FROM ledger_idx.policy WHERE id = %s"
SEEDED = 5  # the policies of the manual


def policy(owner: Identity, **values: Any) -> Span:
    return sealed(owner, **{"entity_type": "policy", "status": "active", **values})


def entry(ledger: TestLedger, span: Span) -> dict[str, Any]:
    """What the index says of a policy."""
    with acting(ledger, "postgres") as connection:
        connection.execute("SET LOCAL ROLE admin")
        (row,) = connection.execute(ENTRY, [span.id]).fetchall()
        return row


def take(ledger: TestLedger, before: datetime) -> UUID | None:
    rows = ask(ledger, "lambda_exec", TAKE, [before])
    return rows[0]["id"] if rows else None


def now(ledger: TestLedger) -> datetime:
    """The database's clock."""
    instant: datetime = ask(ledger, "lambda_exec", "SELECT clock_timestamp() AS now")[0]["now"]
    return instant


def test_the_index_follows_the_latest_version(shared: TestLedger) -> None:
    me = someone()
    first = policy(me, metadata={"on_demand": True})
    put(shared, first)
    row = entry(shared, first)
    assert (row["seq"], row["owner_id"], row["tenant_id"]) == (0, me.user_id, me.tenant_id)
    assert (row["active"], row["on_demand"]) == (True, True)
    second = following(first, metadata={"on_demand": "yes"})
    put(shared, second)
    assert (entry(shared, first)["seq"], entry(shared, first)["on_demand"]) == (1, False)
    put(shared, following(second, is_deleted=True))
    assert entry(shared, first)["active"] is False


@pytest.mark.parametrize("metadata", [None, {}, {"on_demand": None}, {"on_demand": {"a": 1}}])
def test_whatever_a_policy_says_of_itself_it_can_be_appended(shared: TestLedger, metadata: Any) -> None:
    span = policy(someone(), metadata=metadata, status=None)
    put(shared, span)
    assert (entry(shared, span)["active"], entry(shared, span)["on_demand"]) == (False, False)


def test_the_one_that_waited_longest_has_its_turn_and_each_once_in_a_round(ledger: TestLedger) -> None:
    policies = [policy(someone()) for _ in range(3)]
    put(ledger, *policies, policy(someone(), metadata={"on_demand": True}), policy(someone(), status="inactive"))
    start = now(ledger)
    round_of = [take(ledger, start) for _ in range(SEEDED - 1 + 3)]  # one of the five is on demand
    assert take(ledger, start) is None
    assert {span.id for span in policies} < set(round_of)
    assert take(ledger, now(ledger)) == round_of[0]


def test_a_policy_on_demand_is_in_turn_while_it_is_behind(ledger: TestLedger) -> None:
    span = policy(someone(), metadata={"on_demand": True})
    put(ledger, span)
    later = now(ledger) + timedelta(days=1)
    ask(ledger, "postgres", "UPDATE ledger_idx.policy SET ran_at = 'infinity' WHERE tenant_id = 'system'")
    assert take(ledger, later) is None
    ask(ledger, "lambda_exec", "SELECT ledger.policy_ran(%s, true, 0.1)", [span.id])
    assert take(ledger, later) == span.id
    ask(ledger, "lambda_exec", "SELECT ledger.policy_ran(%s, false, 0.1)", [span.id])
    assert take(ledger, later + timedelta(days=1)) is None
    assert [row["id"] for row in ask(ledger, "lambda_exec", "SELECT * FROM ledger.find_policy(%s)", [span.id])] == [
        span.id
    ]


def test_a_tenant_whose_policies_take_long_waits_and_its_new_ones_with_it(ledger: TestLedger) -> None:
    ask(ledger, "postgres", "UPDATE ledger_idx.policy SET ran_at = 'infinity' WHERE tenant_id = 'system'")
    greedy, modest = someone(), someone()
    first, second, other = policy(greedy), policy(greedy), policy(modest)
    put(ledger, first, second, other)
    ask(ledger, "lambda_exec", "SELECT ledger.policy_ran(%s, false, 3)", [first.id])
    third = policy(greedy)
    put(ledger, third)
    assert take(ledger, now(ledger)) == other.id
    assert take(ledger, now(ledger) + timedelta(seconds=20)) == other.id
    ask(ledger, "postgres", "UPDATE ledger_idx.policy SET ran_at = 'infinity' WHERE id = %s", [other.id])
    assert take(ledger, now(ledger) + timedelta(seconds=20)) is None
    assert take(ledger, now(ledger) + timedelta(seconds=31)) in (first.id, second.id, third.id)


def test_the_systems_policies_never_wait(ledger: TestLedger) -> None:
    start = now(ledger)
    before = [take(ledger, start) for _ in range(SEEDED - 1)]
    ask(ledger, "lambda_exec", "SELECT ledger.policy_ran(%s, false, 100)", [before[0]])
    assert take(ledger, now(ledger)) == before[0]


def test_agents_at_once_share_the_policies(ledger: TestLedger) -> None:
    put(ledger, *[policy(someone()) for _ in range(36)])
    start = now(ledger)

    def all_of_them(_: int) -> list[UUID]:
        found: list[UUID] = []
        while len(found) < 100 and (taken := take(ledger, start)):
            found.append(taken)
        return found

    with ThreadPoolExecutor(4) as pool:
        taken = [span_id for part in pool.map(all_of_them, range(4)) for span_id in part]
    assert len(taken) == len(set(taken)) == 40


def test_finding_a_policy_costs_the_same_among_thousands(ledger: TestLedger) -> None:
    ask(
        ledger,
        "postgres",
        "INSERT INTO ledger_idx.policy SELECT gen_random_uuid(), 0, 'u', 't' || n, n % 5 > 0, n % 7 = 0, false,"
        " now() - n * interval '1 second' FROM generate_series(1, %s) n".replace("%", "%%").replace("%%s", "%s"),
        [MANY],
    )
    with ledger.connect("lambda_exec") as connection:
        for _ in range(2):
            plan: Any = connection.execute(
                "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM ledger.take_policy(now())"
            ).fetchone()
    top = plan["QUERY PLAN"][0]["Plan"]
    assert top["Actual Rows"] == 1
    assert top["Shared Hit Blocks"] + top["Shared Read Blocks"] < 100


def test_rebuilding_finds_what_is_missing_wrong_or_too_much(ledger: TestLedger) -> None:
    kept, wrong, missing = (policy(someone()) for _ in range(3))
    put(ledger, kept, wrong, missing)
    spoil = [
        ("UPDATE ledger_idx.policy SET active = false WHERE id = %s", wrong.id),
        ("DELETE FROM ledger_idx.policy WHERE id = %s", missing.id),
        ("INSERT INTO ledger_idx.policy VALUES (%s, 0, 'u', 't', true, false)", draft(someone()).id),
    ]
    for statement, span_id in spoil:
        ask(ledger, "postgres", statement, [span_id])
    for expected in ((1, 1, 1), (0, 0, 0)):
        with acting(ledger, "postgres") as connection:
            connection.execute("SET LOCAL ROLE admin")
            (row,) = connection.execute("SELECT * FROM ledger.rebuild_policies()").fetchall()
        assert (row["missing"], row["wrong"], row["surplus"]) == expected
        assert row["entries"] == SEEDED + 3
    assert entry(ledger, wrong)["active"]


def test_places_of_all_tenants_come_in_order_and_say_nothing_of_what_is_there(ledger: TestLedger) -> None:
    database = ledger.database()
    start = stretch_of_all(database, BEGINNING, ["none"], scan=1000, limit=10).end
    people = [someone() for _ in range(3)]
    spans = [sealed(people[n % 3], entity_type="note" if n % 2 else "other") for n in range(12)]
    for span in spans:
        put(ledger, span)
    notes = stretch_of_all(database, start, ["note"], scan=1000, limit=10)
    assert [place.id for place in notes.places] == [span.id for span in spans[1::2]]
    assert {(place.owner_id, place.tenant_id) for place in notes.places} == {(p.user_id, p.tenant_id) for p in people}
    assert notes.end == Cursor(**assigned(ledger, spans[-1]))
    assert not notes.more
    assert set(Place.__dataclass_fields__) == {"id", "seq", "owner_id", "tenant_id", "cursor"}
    for scan, limit, expected, more in (
        (1000, 2, spans[1:4:2], True),
        (4, 10, spans[1:4:2], True),
        (3, 10, spans[1:2], True),
    ):
        part = stretch_of_all(database, start, ["note"], scan=scan, limit=limit)
        assert ([place.id for place in part.places], part.more) == ([span.id for span in expected], more)
    assert stretch_of_all(database, notes.end, ["note"], scan=10, limit=10).places == []
    database.close()


def test_tombstones_are_passed_over(ledger: TestLedger) -> None:
    database = ledger.database()
    span = sealed(someone())
    put(ledger, span, following(span, is_deleted=True))
    assert [place.seq for place in stretch_of_all(database, BEGINNING, ["note"], scan=1000, limit=10).places] == [0]
    database.close()


def test_nothing_is_read_above_the_oldest_open_transaction(ledger: TestLedger) -> None:
    database, me = ledger.database(), someone()
    ready, go = Event(), Event()
    early, late = sealed(me), sealed(me)

    def stay_open() -> None:
        with ledger.connect("lambda_exec") as connection, connection.transaction():
            set_context(connection, me)
            insert(connection, early)
            ready.set()
            go.wait(20)

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(stay_open)
        assert ready.wait(20)
        put(ledger, late)
        assert stretch_of_all(database, BEGINNING, ["note"], scan=1000, limit=10).places == []
        go.set()
        writer.result()
    places = stretch_of_all(database, BEGINNING, ["note"], scan=1000, limit=10).places
    assert [place.id for place in places] == [early.id, late.id]
    database.close()


def test_of_one_identity_only_what_it_may_see_is_found_and_read(ledger: TestLedger) -> None:
    database, me = ledger.database(), someone()
    colleague = Identity("colleague", me.tenant_id)
    mine, private = sealed(me), sealed(colleague)
    shared_note, other = sealed(colleague, visibility="tenant"), sealed(me, entity_type="other")
    put(ledger, mine, private, shared_note, other)
    one = stretch_of(database, me, BEGINNING, ["note"], scan=1000, limit=10)
    assert {place.id for place in one.places} == {mine.id, shared_note.id}
    two = stretch_of(database, me, BEGINNING, ["note", "other"], scan=1000, limit=2)
    assert (len(two.places), two.more, two.end) == (2, True, two.places[-1].cursor)
    everything = stretch_of_all(database, BEGINNING, ["note", "other"], scan=1000, limit=10).places
    assert {span_id for span_id, _ in spans_at(database, me, everything)} == {mine.id, shared_note.id, other.id}
    assert spans_at(database, someone(), everything) == {}
    database.close()


@pytest.mark.parametrize("call", ["take_policy(now())", "find_policy(gen_random_uuid())", "rebuild_policies()"])
def test_reports_cannot_call_what_the_agent_calls(shared: TestLedger, call: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        ask(shared, "readonly", f"SELECT * FROM ledger.{call}")
