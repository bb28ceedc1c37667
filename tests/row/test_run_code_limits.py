"""run_code_kernel's bounds: the daily quota, its override, and how many runs of a function there may be at once."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from nacl.signing import SigningKey

from ledger.ids import new_id
from ledger.override import sign_override
from ledger.proof import public_key_of
from tests.row.queue_kit import (
    ECHO,
    FOREVER,
    RUN_CODE,
    WORKER,
    add_function,
    agent,
    ask,
    executions,
    restrict,
    run,
    until,
)
from tests.stage0_loader.stage import MANIFEST_SEQ, Stage, manifest
from tests.stage0_loader.worker import PROCESSES, at_once, running

OVERRIDE_KEY = SigningKey(b"override key of these tests 32 B")
BUSY_LOOP = "def main(input):\n    n = 0\n    while n < 1500000:\n        n = n + 1\n    return n\n"
WRONG = "its signature is not the override key's, for this tenant, function, request_id and expires_at"


def limit_to(stage: Stage, limit: int, **values: Any) -> None:
    throttle = {**(manifest().metadata or {})["throttle"], "per_tenant_daily_exec_limit": limit}
    stage.seed(manifest(MANIFEST_SEQ + 1, throttle=throttle, **values))


@pytest.mark.parametrize("limit", [1, 3])
def test_runs_at_once_never_overshoot_the_quota(own: Stage, limit: int) -> None:
    limit_to(own, limit)
    function = add_function(own, "acme")
    answers = at_once(own, RUN_CODE, "acme", input={"function_id": str(function)})
    assert sorted(answer["statusCode"] for answer in answers) == [200] * limit + [429] * (PROCESSES - limit)
    assert len(executions(own, function)) == limit
    violation = own.one(entity_type="policy_violation")
    assert (violation.this, violation.parent_id) == ("quota.exec.per_tenant.daily", function)
    assert (violation.owner_id, violation.tenant_id, violation.visibility) == ("alice", "acme", "private")
    metadata = violation.metadata or {}
    assert (metadata["policy"], metadata["limit"], metadata["used"]) == ("quota.exec.per_tenant.daily", limit, limit)
    refused = next(json.loads(answer["body"]) for answer in answers if answer["statusCode"] == 429)["error"]
    assert (refused["code"], refused["limit"], refused["used"]) == ("quota_exceeded", limit, limit)
    assert datetime.fromisoformat(refused["resets_at"]) > datetime.now(UTC)
    assert run(own, "other", add_function(own, "other")).status == 200, "a tenant's quota is its own"


def test_boots_of_kernels_and_refused_runs_do_not_count(own: Stage) -> None:
    limit_to(own, 2)
    function = add_function(own, "acme")
    for _ in range(3):
        own.store("x")
        assert run(own, "acme", new_id()).status == 422
    assert [run(own, "acme", function).status for _ in range(3)] == [200, 200, 429]
    assert run(own, "acme", function, user="bob").status == 422
    assert own.store("still works")


def test_a_run_that_fails_counts(own: Stage) -> None:
    limit_to(own, 1)
    function = add_function(own, "acme", "def main(input):\n    return 1 // 0\n")
    assert [run(own, "acme", function).status for _ in range(2)] == [422, 429]


def forced(
    tenant: str, function: UUID, request: UUID, *, key: SigningKey = OVERRIDE_KEY, minutes: int = 5
) -> dict[str, Any]:
    """`metadata` with a force that the key allows for these."""
    expires_at = (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat()
    signature = sign_override(key, tenant_id=tenant, function_id=function, request_id=request, expires_at=expires_at)
    return {"force": {"signature": signature, "expires_at": expires_at}}


def changed(metadata: dict[str, Any], **values: str) -> dict[str, Any]:
    """The force with other values, under the same signature."""
    return {"force": {**metadata["force"], **values}}


def test_force_passes_for_its_tenant_function_request_and_time_alone(own: Stage) -> None:
    limit_to(own, 1, override_pubkey_hex=public_key_of(OVERRIDE_KEY))
    function = add_function(own, "acme", visibility="tenant")
    other, request = add_function(own, "acme", visibility="tenant"), new_id()
    assert [run(own, "acme", function).status for _ in range(2)] == [200, 429]
    right = forced("acme", function, request)
    far = (datetime.now(UTC) + timedelta(days=9)).isoformat()
    cases: list[tuple[dict[str, Any], UUID, UUID | None, str]] = [
        (right, other, request, WRONG),
        (right, function, new_id(), WRONG),
        (right, function, None, "it is bound to a request_id, and this run has none"),
    ]
    cases += [
        (metadata, function, named, problem)
        for named in [new_id()]
        for metadata, problem in [
            (forced("acme", function, named, key=SigningKey(b"o" * 32)), WRONG),
            (forced("other", function, named), WRONG),
            (forced("acme", function, named, minutes=-1), "it has expired"),
            (changed(forced("acme", function, named), expires_at=far), WRONG),
            (changed(forced("acme", function, named), signature="zz"), WRONG),
            (changed(forced("acme", function, named), signature=""), WRONG),
            (changed(forced("acme", function, named), expires_at="tomorrow"), "expires_at is no RFC 3339 time"),
            (changed(forced("acme", function, named), expires_at="2999-01-01T00:00:00"), "expires_at is no RFC 3339"),
        ]
    ]
    for user, (metadata, which, request_id, problem) in enumerate(cases):
        # Another user each time, or the request_id would be one that was used for another input.
        fields: dict[str, Any] = {"request_id": str(request_id)} if request_id else {}
        given = {"function_id": str(which), "metadata": metadata}
        answer = own.boot(RUN_CODE, given, user=f"user-{user}", **fields)
        assert (answer.status, answer.error.get("field")) == (422, "metadata.force"), answer.raw
        assert answer.error["message"].startswith(f"metadata.force: {problem}"), answer.raw
    assert len(executions(own, function)) == 1
    for _ in range(2):  # the second is the stored result of the first
        allowed = run(own, "acme", function, metadata=right, fields={"request_id": str(request)})
        assert allowed.status == 200
    (_, execution) = executions(own, function)
    assert (execution.metadata or {})["forced"] is True
    assert (execution.metadata or {})["request_id"] == str(request)
    assert run(own, "acme", function).status == 429


def test_without_an_override_key_in_the_manifest_nothing_is_forced(own: Stage) -> None:
    limit_to(own, 0)
    function, request = add_function(own, "acme"), new_id()
    metadata = forced("acme", function, request)
    answer = run(own, "acme", function, metadata=metadata, fields={"request_id": str(request)})
    assert (answer.status, answer.error["field"]) == (422, "metadata.force")
    assert "the manifest names no override key" in answer.error["message"]


def test_max_concurrency_bounds_simultaneous_runs(own: Stage) -> None:
    function = add_function(own, "acme", BUSY_LOOP, metadata={"max_concurrency": 2})
    answers = at_once(own, RUN_CODE, "acme", input={"function_id": str(function)})
    done = executions(own, function)
    refused = [json.loads(answer["body"])["error"] for answer in answers if answer["statusCode"] == 429]
    assert len(done) + len(refused) == PROCESSES
    assert len(done) >= 2
    assert {(error["code"], error["limit"]) for error in refused} == {("busy", 2)}
    spent = own.superuser.execute("SELECT used FROM ledger_idx.usage WHERE kind = 'exec.per_tenant.daily'").fetchall()
    assert spent == [{"used": len(done)}], "a run that had no place is not counted"
    # Of any three runs, the third began after one of the two before it had ended.
    spans = sorted((span.at - timedelta(milliseconds=span.duration_ms or 0), span.at) for span in done)
    for (_, first_end), (_, second_end), (third_start, _) in zip(spans, spans[1:], spans[2:], strict=False):
        assert third_start >= min(first_end, second_end) - timedelta(milliseconds=5)
    assert run(own, "acme", function).status == 200


@pytest.mark.parametrize("code", ["def main(input):\n    return 1 // 0\n", FOREVER])
def test_a_place_is_free_again_after_a_failure(own: Stage, code: str) -> None:
    restrict(own, sandbox={"timeout_ms": 300})
    function = add_function(own, "acme", code, metadata={"max_concurrency": 1})
    assert {run(own, "acme", function).error["code"] for _ in range(2)} <= {"runtime", "timeout"}
    assert places(own) == 0


def test_a_place_is_free_again_after_the_kernel_ran_out_of_time(own: Stage) -> None:
    restrict(own, sandbox={"timeout_ms": 20_000})
    function = add_function(own, "acme", FOREVER, metadata={"max_concurrency": 1})
    answer = own.boot(RUN_CODE, {"function_id": str(function)}, remaining_ms=2_500)
    assert (answer.status, answer.error["code"]) == (504, "timeout")
    assert places(own) == 0


def test_the_place_of_a_killed_process_is_free_once_it_is_certainly_gone(own: Stage) -> None:
    restrict(own, sandbox={"timeout_ms": 20_000})
    function = add_function(own, "acme", FOREVER, metadata={"max_concurrency": 1})
    with running(own, RUN_CODE, "acme", input={"function_id": str(function)}) as process:
        until(lambda: places(own) == 1)
        process.kill()
        process.join(10)
    assert run(own, "acme", function).error["code"] == "busy"
    own.superuser.execute("UPDATE ledger_idx.running SET until = until - interval '61 s'")
    newer = {"id": str(function), "seq": 1, "entity_type": "function", "did": "wrote", "this": "function"}
    own.append({**newer, "code": ECHO, "metadata": {"max_concurrency": 1}})
    assert run(own, "acme", function).status == 200
    assert places(own) == 0


@pytest.mark.parametrize("most", [0, -1, 1.5, "2", True])
def test_a_max_concurrency_that_is_none_is_refused_when_it_is_appended(stage: Stage, tenant: str, most: Any) -> None:
    span = {"entity_type": "function", "did": "wrote", "this": "function", "code": ECHO}
    answer = stage.append({**span, "metadata": {"max_concurrency": most}}, tenant=tenant)
    assert (answer.status, answer.error["field"]) == (400, "spans[0].metadata.max_concurrency")


def places(stage: Stage) -> int:
    """How many places are taken, of all functions."""
    return len(stage.superuser.execute("SELECT FROM ledger_idx.running").fetchall())


def test_an_override_is_good_for_one_run_whoever_has_it(own: Stage) -> None:
    limit_to(own, 1, override_pubkey_hex=public_key_of(OVERRIDE_KEY))
    function, request = add_function(own, "acme", visibility="tenant"), new_id()
    assert run(own, "acme", function).status == 200
    metadata, fields = forced("acme", function, request), {"request_id": str(request)}
    assert run(own, "acme", function, metadata=metadata, fields=fields).status == 200
    answer = run(own, "acme", function, user="bob", metadata=metadata, fields=fields)
    assert (answer.status, answer.error["message"]) == (422, "metadata.force: it was used before")
    ask(own, "acme", function, id=str(request), metadata=metadata)
    agent(own, WORKER)
    assert len(executions(own, function)) == 2
