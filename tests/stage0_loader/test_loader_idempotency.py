"""A `request_id` makes a boot idempotent: one run, one result, whoever repeats it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from ledger.proof import verify
from tests.stage0_loader.counting import COUNTER, count_and, request, runs, unfinished
from tests.stage0_loader.stage import MEMORY_KERNEL, Stage


def test_a_repeat_answers_the_stored_result_and_runs_nothing(stage: Stage, tenant: str) -> None:
    kernel, request_id = stage.publish(COUNTER), request()
    first = stage.boot(kernel, {"n": 1}, tenant=tenant, request_id=request_id)
    again = stage.boot(kernel, {"n": 1}, tenant=tenant, request_id=request_id, loader=stage.new_loader())
    assert again.status == first.status == 200
    same = ("output", "span_id", "execution_id", "duration_ms", "proof", "error", "ok")
    assert {name: again.body[name] for name in same} == {name: first.body[name] for name in same}
    assert again.body["replayed"] is True
    assert "replayed" not in first.body
    assert again.trace_id != first.trace_id
    assert runs(stage, tenant) == 1
    assert len(stage.spans(tenant_id=tenant)) == 3


@pytest.mark.parametrize(
    ("first", "second"),
    [({"a": 1, "b": 2}, {"b": 2, "a": 1}), ({"a": 1.0}, {"a": 1}), ({"a": "é"}, {"a": "é"})],
    ids=["other key order", "the same number", "the same text"],
)
def test_the_same_input_written_otherwise_is_the_same_request(
    stage: Stage, tenant: str, first: dict[str, Any], second: dict[str, Any]
) -> None:
    kernel, request_id = stage.publish(COUNTER), request()
    assert stage.boot(kernel, first, tenant=tenant, request_id=request_id).status == 200
    assert stage.boot(kernel, second, tenant=tenant, request_id=request_id).body["replayed"] is True


@pytest.mark.parametrize("other", [{"a": 2}, {}, {"a": 1, "b": None}, {"a": "1"}, {"a": [1]}])
def test_another_input_under_a_used_request_id_is_409(stage: Stage, tenant: str, other: dict[str, Any]) -> None:
    kernel, request_id = stage.publish(COUNTER), request()
    assert stage.boot(kernel, {"a": 1}, tenant=tenant, request_id=request_id).status == 200
    answer = stage.boot(kernel, other, tenant=tenant, request_id=request_id)
    assert answer.status == 409
    assert answer.error == {
        "code": "request_conflict",
        "message": "request_id was used before for another kernel or input: take a new one",
    }
    assert runs(stage, tenant) == 1


def test_another_masked_content_under_a_used_request_id_is_409_too(stage: Stage, tenant: str) -> None:
    request_id = request()
    given = {"action": "store", "content": "one", "sensitivity": "secret"}
    assert stage.memory(given, tenant=tenant, request_id=request_id).status == 200
    assert stage.memory({**given, "content": "two"}, tenant=tenant, request_id=request_id).status == 409
    assert stage.memory(given, tenant=tenant, request_id=request_id).status == 200


def test_another_kernel_under_a_used_request_id_is_409(stage: Stage, tenant: str) -> None:
    request_id = request()
    assert stage.boot(stage.publish(COUNTER), tenant=tenant, request_id=request_id).status == 200
    answer = stage.boot(stage.publish(COUNTER), tenant=tenant, request_id=request_id)
    assert (answer.status, answer.error["code"]) == (409, "request_conflict")


def test_a_new_version_of_the_kernel_still_replays_the_old_result(stage: Stage, tenant: str) -> None:
    kernel, request_id = stage.publish(COUNTER), request()
    first = stage.boot(kernel, tenant=tenant, request_id=request_id)
    stage.publish("def main(ctx):\n    return 'new'", kernel=kernel, seq=2)
    assert stage.boot(kernel, tenant=tenant, request_id=request_id).output == first.output


@pytest.mark.parametrize(("user", "suffix"), [("bob", ""), ("alice", "-b")], ids=["another user", "another tenant"])
def test_the_same_request_id_of_someone_else_is_another_request(
    stage: Stage, tenant: str, user: str, suffix: str
) -> None:
    kernel, request_id = stage.publish(COUNTER), request()
    first = stage.boot(kernel, tenant=tenant, request_id=request_id)
    other = stage.boot(kernel, user=user, tenant=tenant + suffix, request_id=request_id)
    assert other.output["run"] != first.output["run"]
    assert "replayed" not in other.body


def test_names_that_run_together_are_different_callers(stage: Stage, tenant: str) -> None:
    kernel, request_id = stage.publish(COUNTER), request()
    callers = [("ab", tenant + "c"), ("b", tenant + "ca"), ("cab", tenant), ("b\nc", tenant + "a")]
    answers = [stage.boot(kernel, user=user, tenant=where, request_id=request_id) for user, where in callers]
    assert len({answer.output["run"] for answer in answers}) == len(callers)


FAILURES = {
    "an exception": ("raise ValueError('once')", 500),
    "a rejection": ("raise ctx.rejected('no such colour', field='colour')", 422),
    "a timeout": ("__import__('time').sleep(9)", 504),
    "wrong SQL": ("ctx.ledger.query('SELEKT')", 500),
    "a refusal of the ledger": (
        "ctx.ledger.append(entity_type='manifest', who='w', did='d', this='t')",
        403,
    ),
}


@pytest.mark.parametrize(("statement", "status"), FAILURES.values(), ids=FAILURES)
def test_a_failure_is_replayed_as_the_same_failure(stage: Stage, tenant: str, statement: str, status: int) -> None:
    kernel, request_id = stage.publish(count_and(statement)), request()
    first = stage.boot(kernel, tenant=tenant, request_id=request_id, remaining_ms=2_200)
    again = stage.boot(kernel, tenant=tenant, request_id=request_id)
    assert (first.status, again.status) == (status, status)
    assert again.error == first.error
    assert again.seconds < 1
    assert runs(stage, tenant) == 1


def test_secret_outputs_are_masked_in_a_replay(stage: Stage, tenant: str) -> None:
    given = {"action": "store", "content": "only once", "sensitivity": "secret"}
    request_id = request()
    first = stage.boot(MEMORY_KERNEL, given, tenant=tenant, request_id=request_id)
    again = stage.boot(MEMORY_KERNEL, given, tenant=tenant, request_id=request_id)
    assert first.output["memory"]["content"] == "only once"
    assert again.output["memory"] == {**first.output["memory"], "content": "***"}


def test_a_result_too_large_to_keep_is_not_run_again_and_says_so(stage: Stage, tenant: str) -> None:
    kernel, request_id = stage.publish(count_and("return 'x' * 1_100_000")), request()
    assert len(stage.boot(kernel, tenant=tenant, request_id=request_id).output) == 1_100_000
    answer = stage.boot(kernel, tenant=tenant, request_id=request_id)
    assert (answer.status, answer.error["message"]) == (409, "the stored result was too large to keep")
    assert runs(stage, tenant) == 1


def test_a_stored_result_that_was_tampered_with_is_not_replayed_and_raises_the_alarm(stage: Stage, tenant: str) -> None:
    kernel, request_id = stage.publish(COUNTER), request()
    first = stage.boot(kernel, tenant=tenant, request_id=request_id)
    stage.tamper('output = \'{"run": "mine"}\'', UUID(first.body["execution_id"]))
    answer = stage.boot(kernel, tenant=tenant, request_id=request_id)
    assert (answer.status, answer.error["span_id"]) == (409, first.body["execution_id"])
    assert [line["span_id"] for line in answer.errors] == [first.body["execution_id"]], answer.log


def test_an_unfinished_request_is_409_until_its_deadline_and_runs_afterwards(stage: Stage, tenant: str) -> None:
    kernel, request_id = stage.publish(COUNTER), request()
    unfinished(stage, tenant, kernel, request_id, ends_in=1.0)
    early = stage.boot(kernel, tenant=tenant, request_id=request_id)
    assert early.status == 409
    assert early.error["code"] == "request_in_progress"
    assert early.error["message"] == "the same request is still running"
    assert datetime.fromisoformat(early.error["retry_after"]) > datetime.now(UTC) - timedelta(seconds=1)
    time.sleep(1.1)
    late = stage.boot(kernel, tenant=tenant, request_id=request_id)
    assert late.status == 200
    assert "replayed" not in late.body
    assert stage.boot(kernel, tenant=tenant, request_id=request_id).output == late.output
    first, second = stage.spans(id=UUID(late.body["span_id"]))
    assert (first.seq, second.seq, second.prev_hash) == (0, 1, first.curr_hash)
    assert verify(second, None)
    assert runs(stage, tenant) == 2


def test_a_request_may_run_again_only_when_the_lambda_that_ran_it_must_be_gone(stage: Stage, tenant: str) -> None:
    before = datetime.now(UTC)
    answer = stage.boot(stage.publish(COUNTER), tenant=tenant, request_id=request(), remaining_ms=10_000)
    event = stage.one(id=UUID(answer.body["span_id"]))
    until = datetime.fromisoformat((event.metadata or {})["deadline"])
    assert timedelta(seconds=9.9) <= until - before <= timedelta(seconds=11)
