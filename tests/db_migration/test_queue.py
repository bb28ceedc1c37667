"""The `queue` action: what is pending, running and dead, and the index built again."""

from __future__ import annotations

from typing import Any

import pytest

from db_migration.handler import answer
from ledger.span import format_instant
from tests.conftest import ALICE, TestLedger
from tests.ledger.kit import following, insert, sealed

REQUEST: dict[str, Any] = {"entity_type": "request", "status": "scheduled"}
EMPTY = {"ok": True, "action": "queue", "scheduled": 0, "running": 0, "dead": 0, "functions": 0, "requests": []}


def queue(ledger: TestLedger, **fields: Any) -> dict[str, Any]:
    return answer({"action": "queue", **fields}, ledger.environment)


def test_an_empty_queue_is_shown(ledger: TestLedger) -> None:
    assert queue(ledger) == EMPTY


def test_requests_are_shown_by_their_state_those_waiting_longest_first(ledger: TestLedger) -> None:
    later = sealed(ALICE, **REQUEST, at="2026-01-02T00:00:00Z")
    sooner = sealed(ALICE, **REQUEST, at="2026-01-01T00:00:00Z")
    lease = {"attempt": 1, "retry_at": "2026-01-03T00:00:00Z"}
    running = sealed(ALICE, **{**REQUEST, "status": "running", "metadata": lease})
    dead = sealed(ALICE, **{**REQUEST, "status": "dead", "metadata": {"attempt": 3}})
    complete = sealed(ALICE, **{**REQUEST, "status": "complete"})
    function = sealed(ALICE, entity_type="function", metadata={"schedule": "* * * * *"})
    with ledger.connect("admin") as connection:
        for span in (later, sooner, running, dead, complete, function):
            insert(connection, span)
    shown = queue(ledger)
    assert (shown["scheduled"], shown["running"], shown["dead"], shown["functions"]) == (2, 1, 1, 1)
    assert shown["requests"] == [
        {
            "status": span.status,
            "tenant_id": "acme",
            "owner_id": "alice",
            "request_id": str(span.id),
            "attempts": attempts,
            "at": at,
        }
        for span, attempts, at in [
            (sooner, 0, format_instant(sooner.at)),
            (later, 0, format_instant(later.at)),
            (running, 1, "2026-01-03T00:00:00.000000Z"),
            (dead, 3, format_instant(dead.at)),
        ]
    ]


@pytest.mark.parametrize("metadata", [{"attempt": "abc"}, {"attempt": [], "retry_at": "9999-12-31T24:00:00Z"}])
def test_what_a_tenant_put_into_a_request_does_not_hide_the_queue(ledger: TestLedger, metadata: dict[str, Any]) -> None:
    with ledger.connect("admin") as connection:
        for status in ("dead", "scheduled", "running"):
            insert(connection, sealed(ALICE, **{**REQUEST, "status": status, "metadata": metadata}))
    shown = queue(ledger)
    assert (shown["ok"], shown["dead"], len(shown["requests"])) == (True, 1, 3)
    assert {item["attempts"] for item in shown["requests"]} == {0}


def test_dead_requests_that_were_withdrawn_are_shown_no_more(ledger: TestLedger) -> None:
    dead = sealed(ALICE, **{**REQUEST, "status": "dead"})
    with ledger.connect("admin") as connection:
        insert(connection, dead)
        insert(connection, following(dead, is_deleted=True))
    assert queue(ledger) == EMPTY


def test_at_most_a_hundred_of_each_are_shown_and_all_are_counted(ledger: TestLedger) -> None:
    with ledger.connect("admin") as connection:
        for n in range(210):
            insert(connection, sealed(ALICE, **{**REQUEST, "status": ("scheduled", "dead")[n % 2]}))
    shown = queue(ledger)
    assert (shown["scheduled"], shown["dead"], len(shown["requests"])) == (105, 105, 200)


def test_a_rebuild_says_how_far_the_index_was_off(ledger: TestLedger) -> None:
    with ledger.connect("admin") as connection:
        insert(connection, sealed(ALICE, **REQUEST))
        insert(connection, sealed(ALICE, entity_type="function", status="scheduled"))
        connection.execute("DELETE FROM ledger_idx.pending")
        connection.execute("UPDATE ledger_idx.schedule SET seq = 7")
    names = ("pending requests", "scheduled functions")
    agreed = [{"index": name, "entries": 1, "missing": 0, "wrong": 0, "surplus": 0} for name in names]
    off = [{**agreed[0], "missing": 1}, {**agreed[1], "wrong": 1}]
    result = queue(ledger, rebuild=True)
    assert (result["ok"], result["rebuilt"][:2]) == (True, off)
    assert queue(ledger, rebuild=True)["rebuilt"][:2] == agreed
    assert queue(ledger)["scheduled"] == 1
