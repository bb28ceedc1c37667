"""observer_bot_kernel: a request for each version that is scheduled and each slot that is due, exactly once."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from ledger.ids import new_id
from ledger.proof import verify
from ledger.schedule import check_schedule, last_slot, next_slot
from ledger.span import MAX_SPAN_BYTES, Span, canonical_span, format_instant
from tests.row.queue_kit import ECHO, OBSERVER, WORKER, add_function, agent, append_function, executions, put, states
from tests.row.test_run_code_limits import limit_to
from tests.stage0_loader.stage import Stage
from tests.stage0_loader.worker import at_once

NOTHING = {"observed": 0, "requested": 0, "over_quota": 0, "invalid": 0, "failed": 0}
YEARLY = "0 0 1 1 *"
FUNCTION: dict[str, Any] = {"entity_type": "function", "language": "python", "code": ECHO}


def observed(**counts: int) -> dict[str, int]:
    """What an observer counts that looked at one function."""
    return {**NOTHING, "observed": 1, **counts}


def ago(**delta: int) -> str:
    """An instant so long ago."""
    return (datetime.now(UTC) - timedelta(**delta)).isoformat()


def requests(stage: Stage, function: UUID) -> list[Span]:
    """The requests for runs of a function, by the observer."""
    return stage.spans(parent_id=function, entity_type="request", who="edge:observer", seq=0)


def version(stage: Stage, function: UUID, seq: int, **values: Any) -> None:
    """Append the function's next version."""
    span = {"id": str(function), "seq": seq, "entity_type": "function", "did": "wrote", "this": "function"}
    answer = stage.append({**span, "code": ECHO, **values})
    assert answer.status == 200, answer.raw


def slots_pass(stage: Stage, since: str) -> None:
    """As if nobody had looked since then."""
    stage.superuser.execute("UPDATE ledger_idx.schedule SET since = %s, due_at = %s", [since, since])


def test_a_scheduled_version_is_requested_once_and_runs(own: Stage) -> None:
    function = add_function(own, "acme", status="scheduled", input={"n": 1})
    assert agent(own, OBSERVER) == observed(requested=1)
    assert agent(own, OBSERVER) == NOTHING
    (request,) = requests(own, function)
    assert (request.owner_id, request.tenant_id, request.visibility) == ("alice", "acme", "private")
    assert (request.status, request.input, request.did) == ("scheduled", {"n": 1}, "requested")
    assert request.metadata == {"cause": "version", "version": "0", "function_seq": 0}
    assert verify(request, None)
    assert agent(own, WORKER)["complete"] == 1
    assert states(own, request.id) == ["scheduled", "running", "complete"]
    assert executions(own, function)[0].output == {"echo": {"n": 1}}
    version(own, function, 1, status="scheduled")
    assert agent(own, OBSERVER) == observed(requested=1)
    version(own, function, 2, status="active")
    assert agent(own, OBSERVER) == NOTHING
    assert len(requests(own, function)) == 2


def test_slots_that_were_missed_are_run_once_and_not_once_each(own: Stage) -> None:
    monthly = "0 0 1 * *"
    function = add_function(own, "acme", metadata={"schedule": monthly}, at=ago(days=100))
    slot = last_slot(monthly, datetime.now(UTC))
    assert agent(own, OBSERVER) == observed(requested=1)
    (request,) = requests(own, function)
    assert request.metadata == {"cause": "slot", "slot": format_instant(slot), "function_seq": 0}
    entry = own.superuser.execute("SELECT since, due_at FROM ledger_idx.schedule").fetchone()
    assert entry == {"since": slot, "due_at": next_slot(monthly, slot)}
    assert agent(own, OBSERVER) == NOTHING
    slots_pass(own, ago(days=100))
    assert agent(own, OBSERVER) == observed(), "no slot twice"


def test_a_schedule_that_has_not_come_yet_requests_nothing(own: Stage) -> None:
    function = add_function(own, "acme", metadata={"schedule": YEARLY})
    assert agent(own, OBSERVER) == observed()
    assert agent(own, OBSERVER) == NOTHING, "it is not looked at before its slot"
    (entry,) = own.superuser.execute("SELECT due_at FROM ledger_idx.schedule").fetchall()
    assert entry["due_at"] == next_slot(YEARLY, datetime.now(UTC))
    assert requests(own, function) == []


def test_of_eight_observers_at_once_one_requests(own: Stage) -> None:
    functions = [
        add_function(own, "acme", status="scheduled"),
        add_function(own, "acme", metadata={"schedule": YEARLY}, at=ago(days=400)),
        add_function(own, "other", status="scheduled", metadata={"schedule": YEARLY}, at=ago(days=400)),
    ]
    answers = at_once(own, OBSERVER, "system", user="edge:stage0")
    assert {answer["statusCode"] for answer in answers} == {200}
    assert sum(json.loads(answer["body"])["output"]["requested"] for answer in answers) == 4
    assert [len(requests(own, function)) for function in functions] == [1, 1, 2]


def test_a_function_on_a_schedule_that_is_also_scheduled_is_requested_for_both(own: Stage) -> None:
    function = add_function(own, "acme", status="scheduled", metadata={"schedule": YEARLY}, at=ago(days=400))
    assert agent(own, OBSERVER) == observed(requested=2)
    assert sorted((span.metadata or {})["cause"] for span in requests(own, function)) == ["slot", "version"]
    slots_pass(own, ago(days=380))
    assert agent(own, OBSERVER) == observed()


def test_a_new_version_keeps_the_slot_that_is_due_and_the_one_that_is_done(own: Stage) -> None:
    function = add_function(own, "acme", metadata={"schedule": YEARLY}, at=ago(days=400))
    version(own, function, 1, metadata={"schedule": YEARLY, "note": "new code"})
    assert agent(own, OBSERVER) == observed(requested=1)
    version(own, function, 2, metadata={"schedule": YEARLY})
    assert agent(own, OBSERVER) == observed()
    (request,) = requests(own, function)
    assert (request.metadata or {})["function_seq"] == 1


def test_a_changed_schedule_begins_when_it_is_changed(own: Stage) -> None:
    function = add_function(own, "acme", metadata={"schedule": YEARLY}, at=ago(days=400))
    version(own, function, 1, metadata={"schedule": "0 0 2 1 *"})
    assert agent(own, OBSERVER) == observed()
    assert requests(own, function) == []


@pytest.mark.parametrize("values", [{"metadata": {}}, {"metadata": {"schedule": None}}, {"is_deleted": True}])
def test_a_schedule_that_was_taken_away_requests_nothing(own: Stage, values: dict[str, Any]) -> None:
    function = add_function(own, "acme", metadata={"schedule": YEARLY}, at=ago(days=400))
    version(own, function, 1, **values)
    assert agent(own, OBSERVER) == NOTHING
    assert own.superuser.execute("SELECT FROM ledger_idx.schedule").rowcount == 0


@pytest.mark.parametrize("schedule", ["", "soon", "* * * *", "61 * * * *", "0 0 30 2 *", 5, [], {"a": 1}, "1," * 200])
def test_a_schedule_that_is_none_is_refused_and_in_the_ledger_reported_once(own: Stage, schedule: Any) -> None:
    refused = append_function(own, "acme", metadata={"schedule": schedule})
    assert (refused.status, refused.error["field"]) == (400, "spans[0].metadata.schedule")
    function = put(own, "acme", **FUNCTION, metadata={"schedule": schedule})
    other = add_function(own, "acme", status="scheduled")
    assert agent(own, OBSERVER) == {**NOTHING, "observed": 2, "requested": 1, "invalid": 1}
    assert (requests(own, function), len(requests(own, other))) == ([], 1)
    report = own.one(entity_type="error_report")
    assert (report.parent_id, report.owner_id, report.tenant_id) == (function, "alice", "acme")
    assert report.error["code"] == "invalid_input"
    slots_pass(own, ago(hours=1))
    assert agent(own, OBSERVER)["invalid"] == 1
    assert len(own.spans(entity_type="error_report")) == 1


def test_over_quota_there_is_a_violation_and_no_request(own: Stage) -> None:
    limit_to(own, 0)
    function = add_function(own, "acme", status="scheduled", metadata={"schedule": YEARLY}, at=ago(days=400))
    assert agent(own, OBSERVER) == observed(over_quota=2)
    assert requests(own, function) == []
    violation = own.one(entity_type="policy_violation")
    assert (violation.this, violation.parent_id) == ("quota.exec.per_tenant.daily", function)
    assert (violation.owner_id, violation.tenant_id) == ("alice", "acme")
    assert {"limit": 0, "used": 0}.items() <= (violation.metadata or {}).items()
    assert agent(own, OBSERVER) == NOTHING


def test_after_a_rebuild_nothing_is_requested_twice(own: Stage) -> None:
    functions = [
        add_function(own, "acme", status="scheduled"),
        add_function(own, "acme", metadata={"schedule": YEARLY}, at=ago(days=400)),
    ]
    assert agent(own, OBSERVER)["requested"] == 2
    own.superuser.execute("DELETE FROM ledger_idx.schedule")
    own.superuser.execute("SELECT * FROM ledger.rebuild_schedule()")
    assert agent(own, OBSERVER) == {**NOTHING, "observed": 2}
    assert [len(requests(own, function)) for function in functions] == [1, 1]


def test_a_function_whose_request_would_be_too_large_holds_up_nobody(own: Stage) -> None:
    probe = put(own, "acme", **FUNCTION, status="scheduled", input="x")
    room = MAX_SPAN_BYTES - len(canonical_span(own.one(id=probe).columns())) + 1
    # A request has no code, but a cause: with a short code, what fits into the function does not fit into it.
    large = put(own, "acme", **{**FUNCTION, "code": "c"}, status="scheduled", input="x" * (room + len(ECHO)))
    other = add_function(own, "acme", status="scheduled")
    counts = agent(own, OBSERVER)
    assert (counts["observed"], counts["requested"], counts["failed"]) == (3, 2, 1)
    assert (len(requests(own, large)), len(requests(own, other))) == (0, 1)
    assert agent(own, OBSERVER) == NOTHING, "it is looked at again, but not at once"


def test_limit_bounds_what_is_looked_at(own: Stage) -> None:
    for _ in range(3):
        add_function(own, "acme", status="scheduled")
    assert agent(own, OBSERVER, {"limit": 2})["observed"] == 2
    assert agent(own, OBSERVER)["observed"] == 1
    assert own.boot(OBSERVER, {"limit": 0}, user="edge:stage0", tenant="system").status == 422


def test_functions_of_the_system_are_not_scheduled(own: Stage) -> None:
    kernel = own.publish("def main(ctx):\n    return 1\n", metadata={"schedule": "* * * * *"})
    assert agent(own, OBSERVER) == NOTHING
    assert requests(own, kernel) == []


@pytest.mark.parametrize(
    ("schedule", "now", "last", "following"),
    [
        ("*/5 * * * *", "2026-03-01T10:05:00Z", "2026-03-01T10:05:00Z", "2026-03-01T10:10:00Z"),
        ("*/5 * * * *", "2026-03-01T10:04:59.9Z", "2026-03-01T10:00:00Z", "2026-03-01T10:05:00Z"),
        ("0 0 29 2 *", "2026-03-01T10:00:00Z", "2024-02-29T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("30 2 * * *", "2026-03-29T02:30:00Z", "2026-03-29T02:30:00Z", "2026-03-30T02:30:00Z"),  # no summer time
        ("0 0 * * MON", "2026-03-01T10:00:00Z", "2026-02-23T00:00:00Z", "2026-03-02T00:00:00Z"),
    ],
)
def test_slots_are_in_utc(schedule: str, now: str, last: str, following: str) -> None:
    check_schedule(schedule, "schedule")
    at = datetime.fromisoformat(now)
    assert last_slot(schedule, at) == datetime.fromisoformat(last)
    assert next_slot(schedule, at) == datetime.fromisoformat(following)
    assert format_instant(last_slot(schedule, at)).endswith("Z")


def test_an_instant_in_the_future_is_waited_for(own: Stage) -> None:
    add_function(own, "acme", status="scheduled", at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    assert agent(own, OBSERVER) == NOTHING


def test_a_function_that_the_ledger_does_not_confirm_is_passed_over(own: Stage) -> None:
    own.superuser.execute(
        "INSERT INTO ledger_idx.schedule VALUES (%s, 'acme', 'alice', 0, NULL, '2026-01-01', '2026-01-01')", [new_id()]
    )
    other = add_function(own, "acme", status="scheduled")
    assert agent(own, OBSERVER) == {**NOTHING, "observed": 2, "requested": 1}
    assert len(requests(own, other)) == 1
