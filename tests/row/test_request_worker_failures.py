"""request_worker_kernel where something goes wrong: nothing is lost, and nobody else waits for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from ledger.ids import new_id
from ledger.proof import public_key_of
from ledger.span import MAX_SPAN_BYTES, canonical_span
from tests.row.queue_kit import (
    ECHO,
    FOREVER,
    RUN_CODE,
    WORKER,
    add_function,
    agent,
    ask,
    executions,
    pending,
    put,
    restrict,
    states,
    until,
)
from tests.row.test_run_code_limits import OVERRIDE_KEY, forced, limit_to
from tests.stage0_loader.stage import Stage
from tests.stage0_loader.worker import running

REQUEST: dict[str, Any] = {"entity_type": "request", "did": "requested", "this": "run_code", "status": "scheduled"}
SYSTEM = {"user": "edge:stage0"}


def let_leases_end(stage: Stage) -> None:
    """As if the time had passed: the index is moved, and the ledger's own instants with it."""
    for entry in pending(stage):
        stage.tamper('metadata = metadata || \'{"retry_at": "2026-01-01T00:00:00Z"}\'', entry["request_id"])
    stage.superuser.execute("UPDATE ledger_idx.pending SET ready_at = '2026-01-01T00:00:00Z'")


def newer_version(stage: Stage, function: UUID, code: str) -> None:
    span = {"id": str(function), "seq": 1, "entity_type": "function", "did": "wrote", "this": "function"}
    assert stage.append({**span, "code": code}).status == 200


def room(stage: Stage, request: UUID, seq: int = 0) -> int:
    """How long a text of one letter in this version of a request could have been."""
    return MAX_SPAN_BYTES - len(canonical_span(stage.one(id=request, seq=seq).columns())) + 1


def test_what_a_killed_worker_ran_runs_again_after_its_lease(own: Stage) -> None:
    restrict(own, sandbox={"timeout_ms": 20_000})
    function = add_function(own, "acme", FOREVER)
    request = ask(own, "acme", function, 1)
    with running(own, WORKER, "system", **SYSTEM) as worker:
        until(lambda: states(own, request) == ["scheduled", "running"])
        worker.kill()
        worker.join(10)
    assert agent(own, WORKER)["claimed"] == 0, "its lease is not over"
    (entry,) = pending(own)
    lease = own.spans(id=request)[-1].metadata or {}
    assert entry["ready_at"] == datetime.fromisoformat(lease["retry_at"]) > datetime.fromisoformat(lease["lease_until"])
    newer_version(own, function, ECHO)
    let_leases_end(own)
    assert agent(own, WORKER)["complete"] == 1
    assert states(own, request) == ["scheduled", "running", "running", "complete"]
    last = own.spans(id=request)[-1].metadata or {}
    assert (last["attempt"], "lease_until" in last, "retry_at" in last) == (2, False, False)
    assert [span.status for span in executions(own, function)] == ["complete"]


def test_after_three_attempts_that_came_to_no_end_a_request_is_dead(own: Stage) -> None:
    function = add_function(own, "acme")
    metadata = {"attempt": 2, "lease_until": "2026-01-01T00:00:00Z"}
    request = put(own, "acme", **{**REQUEST, "status": "running"}, parent_id=function, metadata=metadata)
    restrict(own, sandbox={"timeout_ms": 20_000})
    newer_version(own, function, FOREVER)
    with running(own, WORKER, "system", **SYSTEM):
        until(lambda: states(own, request) == ["running", "running"])
    let_leases_end(own)
    assert agent(own, WORKER)["dead"] == 1
    assert states(own, request) == ["running", "running", "dead"]
    report = own.one(entity_type="error_report")
    assert (report.parent_id, report.owner_id, report.tenant_id) == (request, "alice", "acme")
    assert report.error == own.spans(id=request)[-1].error
    assert report.metadata == {"function_id": str(function), "attempts": 3}
    assert pending(own) == []
    assert executions(own, function) == []


@pytest.mark.parametrize(
    "metadata",
    [
        {"attempt": "abc", "retry_at": "tomorrow"},
        {"attempt": -1, "retry_at": -1},
        {"attempt": 10**12, "retry_at": "9999-12-31T24:00:00Z"},
        {"attempt": {}, "retry_at": []},
        {"attempt": None, "retry_at": "infinity"},
        {"attempt": 1.5, "retry_at": "now"},
        {"retry_at": "2026-02-30T00:00:00Z"},
    ],
)
def test_metadata_that_makes_no_sense_keeps_nothing_from_running(own: Stage, metadata: dict[str, Any]) -> None:
    function = add_function(own, "acme")
    request = put(own, "acme", **REQUEST, parent_id=function, metadata=metadata)
    assert agent(own, WORKER)["complete"] == 1
    assert (own.spans(id=request)[-1].metadata or {})["attempt"] == 1


@pytest.mark.parametrize("name", ["attempt", "retry_at", "lease_until"])
def test_a_caller_does_not_fill_in_what_is_the_workers(own: Stage, name: str) -> None:
    answer = own.append({**REQUEST, "parent_id": str(new_id()), "metadata": {name: 1}})
    assert (answer.status, answer.error["code"]) == (403, "not_permitted")
    assert f"metadata.{name}" in answer.error["message"]


@pytest.mark.parametrize(("function_id", "field"), [(None, "function_id"), (RUN_CODE, "function_id")])
def test_a_request_for_nothing_that_runs_is_an_error(own: Stage, function_id: UUID | None, field: str) -> None:
    request = put(own, "acme", **REQUEST, parent_id=function_id)
    assert agent(own, WORKER)["error"] == 1
    error = own.spans(id=request)[-1].error
    assert (error["code"], error["field"]) == ("rejected", field)


def test_functions_of_others_do_not_run_by_a_request(own: Stage) -> None:
    others = [
        add_function(own, "other", visibility="tenant"),
        add_function(own, "acme", user="bob"),
        new_id(),
    ]
    requests = [ask(own, "acme", function) for function in others]
    assert agent(own, WORKER)["error"] == 3
    said = {own.spans(id=request)[-1].error["message"] for request in requests}
    assert said == {"function_id: there is no such function in your tenant"}
    assert all(executions(own, function) == [] for function in others)


def test_over_quota_a_request_is_an_error_and_force_lets_it_pass(own: Stage) -> None:
    limit_to(own, 1, override_pubkey_hex=public_key_of(OVERRIDE_KEY))
    function, named = add_function(own, "acme"), new_id()
    first, second = ask(own, "acme", function), ask(own, "acme", function)
    allowed = ask(own, "acme", function, id=str(named), metadata=forced("acme", function, named))
    wrong = ask(own, "acme", function, metadata=forced("acme", function, named))
    assert agent(own, WORKER) == {
        **dict.fromkeys(("dead", "deferred", "retried", "lost"), 0), "claimed": 4, "complete": 2, "error": 2
    }  # fmt: skip
    assert [states(own, request)[-1] for request in (first, second, allowed, wrong)] == [
        "complete",
        "error",
        "complete",
        "error",
    ]
    assert own.spans(id=second)[-1].error["code"] == "quota_exceeded"
    assert own.spans(id=wrong)[-1].error["field"] == "metadata.force"
    assert own.one(entity_type="policy_violation").parent_id == function


def test_a_request_whose_function_has_no_place_waits_and_the_attempt_does_not_count(own: Stage) -> None:
    restrict(own, sandbox={"timeout_ms": 20_000})
    function = add_function(own, "acme", FOREVER, metadata={"max_concurrency": 1})
    other = add_function(own, "acme")
    with running(own, RUN_CODE, "acme", input={"function_id": str(function)}):
        until(lambda: own.superuser.execute("SELECT FROM ledger_idx.running").rowcount == 1)
        waiting = [ask(own, "acme", function, number) for number in range(5)]
        ready = ask(own, "acme", other)
        counts = agent(own, WORKER)
    assert (counts["claimed"], counts["deferred"], counts["complete"]) == (2, 1, 1), "tried once, not once for each"
    assert states(own, ready)[-1] == "complete"
    assert states(own, waiting[0]) == ["scheduled", "running", "scheduled"]
    assert all(states(own, request) == ["scheduled"] for request in waiting[1:])
    put_back = own.spans(id=waiting[0])[-1]
    assert ((put_back.metadata or {})["attempt"], put_back.error["code"]) == (0, "busy")
    entry = next(entry for entry in pending(own) if entry["request_id"] == waiting[0])
    assert 0 < (entry["ready_at"] - datetime.now(UTC)).total_seconds() < 6


def test_what_is_withdrawn_while_it_runs_stays_withdrawn(own: Stage) -> None:
    restrict(own, sandbox={"timeout_ms": 1_500})
    function = add_function(own, "acme", FOREVER)
    request = ask(own, "acme", function)
    with running(own, WORKER, "system", **SYSTEM) as worker:
        until(lambda: states(own, request) == ["scheduled", "running"])
        tombstone = {"id": str(request), "seq": 2, "entity_type": "request", "did": "withdrew", "this": "run_code"}
        assert own.append({**tombstone, "is_deleted": True}).status == 200
        worker.join(20)
    assert states(own, request) == ["scheduled", "running", None]
    assert pending(own) == []
    output = own.one(entity_type="execution", this="request_worker_kernel").output
    assert (output["claimed"], output["lost"]) == (1, 1)


def test_a_worker_that_outlived_its_lease_changes_nothing_any_more(own: Stage) -> None:
    restrict(own, sandbox={"timeout_ms": 1_500})
    function = add_function(own, "acme", FOREVER)
    request = ask(own, "acme", function)
    with running(own, WORKER, "system", **SYSTEM) as slow:
        until(lambda: states(own, request) == ["scheduled", "running"])
        let_leases_end(own)
        assert agent(own, WORKER)["claimed"] == 1
        slow.join(20)
    outputs = [span.output for span in own.spans(entity_type="execution", this="request_worker_kernel")]
    assert sorted((output["error"], output["lost"]) for output in outputs) == [(0, 1), (1, 0)]
    assert states(own, request) == ["scheduled", "running", "running", "error"]


def test_a_request_too_large_for_its_next_version_is_an_error_and_holds_up_nobody(own: Stage) -> None:
    function = add_function(own, "acme")
    large = ask(own, "acme", function, "x" * room(own, ask(own, "acme", function, "x")))
    text = ask(own, "acme", function, name="n" * room(own, ask(own, "acme", function, name="n")))
    small = ask(own, "zeta", add_function(own, "zeta"))
    assert agent(own, WORKER)["complete"] == 3
    assert states(own, small)[-1] == "complete"
    for request in (large, text):
        last = own.spans(id=request)[-1]
        assert (last.status, last.error["code"], last.input) == ("error", "too_large", None)
    assert pending(own) == []


def test_an_end_that_does_not_fit_is_said_in_short(own: Stage) -> None:
    function = add_function(own, "acme", "def main(input):\n    raise ValueError('v' * 5000)\n")
    probe = ask(own, "acme", function, "x")
    agent(own, WORKER)
    request = ask(own, "acme", function, "x" * room(own, probe, seq=1))
    assert agent(own, WORKER)["error"] == 1
    last = own.spans(id=request)[-1]
    assert (last.status, last.error["code"], last.input) == ("error", "runtime", None)


def test_a_request_is_not_run_before_its_time(own: Stage) -> None:
    function = add_function(own, "acme")
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    request = ask(own, "acme", function, at=later)
    assert agent(own, WORKER)["claimed"] == 0
    assert states(own, request) == ["scheduled"]


def test_an_input_that_is_null_or_absent_is_the_functions_own(own: Stage) -> None:
    function = add_function(own, "acme", input={"own": True})
    inputs: list[Any] = [None, {}, 0, False]
    for given in inputs:
        ask(own, "acme", function, given)
    assert agent(own, WORKER)["complete"] == 4
    assert [span.input for span in executions(own, function)] == [{"own": True}, {}, 0, False]


def test_where_nothing_can_run_requests_wait_and_do_not_die(own: Stage) -> None:
    function = add_function(own, "acme")
    requests = [ask(own, "acme", function) for _ in range(3)]
    own.tamper("code = code || ' '", RUN_CODE)
    answer = own.boot(WORKER, user="edge:stage0", tenant="system")
    assert (answer.status, answer.error["code"]) == (409, "verification_failed")
    assert sorted(len(states(own, request)) for request in requests) == [1, 1, 3]
    assert {states(own, request)[-1] for request in requests} == {"scheduled"}
    assert {entry["attempts"] for entry in pending(own)} == {0}


def test_what_fails_in_the_kernel_is_tried_again_and_dies_in_the_end(own: Stage) -> None:
    function = add_function(own, "acme")
    request = ask(own, "acme", function)
    own.superuser.execute("REVOKE EXECUTE ON FUNCTION ledger.spend_quota(text, integer, bigint) FROM lambda_exec")
    for attempt in (1, 2, 3):
        assert agent(own, WORKER)["retried"] == 1
        last = own.spans(id=request)[-1]
        assert (last.status, (last.metadata or {})["attempt"]) == ("scheduled", attempt)
        let_leases_end(own)
    assert agent(own, WORKER)["dead"] == 1


def test_an_entry_that_the_ledger_does_not_confirm_is_passed_over(own: Stage) -> None:
    function = add_function(own, "acme")
    request = ask(own, "acme", function)
    done = ask(own, "acme", function)
    agent(own, WORKER)
    for surplus in (done, new_id()):
        own.superuser.execute(
            "INSERT INTO ledger_idx.pending VALUES (%s, 'acme', 'alice', %s, 'scheduled', '2026-01-01', 0)",
            [surplus, function],
        )
    other = ask(own, "acme", function)
    assert agent(own, WORKER)["claimed"] == 1
    assert [states(own, one)[-1] for one in (request, done, other)] == ["complete"] * 3
    assert len(executions(own, function)) == 3
