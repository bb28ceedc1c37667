"""What a tenant's policy may ask for, what comes of it, and what is refused by name."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from ledger.proof import verify
from tests.row.policy_kit import add_policy, boot_agent, note, run_agent, system_policy
from tests.row.queue_kit import WORKER, add_function, agent, executions
from tests.stage0_loader.stage import Stage

FUNCTION = "00000000-0000-7000-8000-00000000f00d"


def answering(answer: object) -> str:
    """A policy that answers the same for each span."""
    return f"def on(span):\n    return {answer!r}\n"


def effects(stage: Stage, policy: UUID) -> list[Any]:
    """What was appended because of a policy."""
    found = stage.superuser.execute(
        "SELECT id FROM ledger.universal_registry WHERE metadata -> 'caused_by' -> 'policies' ->> -1 = %s"
        " AND entity_type <> 'policy_cursor' ORDER BY position",
        [str(policy)],
    ).fetchall()
    return [stage.one(id=row["id"]) for row in found]


def test_a_policy_sees_the_span_as_json(stage: Stage, tenant: str) -> None:
    code = "def on(span):\n    return {'action': 'emit_span', 'span': {'entity_type': 'echo', 'output': span}}\n"
    policy = add_policy(stage, code, tenant=tenant)
    seen = note(stage, tenant=tenant, input={"n": [1, 2.5, None]}, related_to=[FUNCTION])
    run_agent(stage, policy)
    (echo,) = effects(stage, policy)
    span = stage.one(id=seen)
    assert echo.output["id"] == str(seen)
    assert echo.output["input"] == {"n": [1, 2.5, None]}
    assert echo.output["at"].endswith("Z")
    assert (echo.output["owner_id"], echo.output["tenant_id"]) == ("alice", tenant)
    assert echo.output["related_to"] == [FUNCTION]
    assert echo.output["parent_id"] is None
    assert {"curr_hash", "prev_hash", "signature", "xid", "facts"}.isdisjoint(echo.output)
    assert (echo.who, echo.did, echo.this) == ("edge:policy_agent", "emitted", "p")
    assert echo.trace_id == span.trace_id
    assert verify(echo, None)


def test_facts_come_where_they_are_asked_for(stage: Stage, tenant: str) -> None:
    code = (
        "def on(span):\n    return {'action': 'emit_span', 'span': {'entity_type': 'echo', 'output': span['facts']}}\n"
    )
    policy = add_policy(stage, code, tenant=tenant, metadata={"facts": True})
    note(stage, tenant=tenant)
    run_agent(stage, policy)
    (echo,) = effects(stage, policy)
    assert echo.output["manifest"]["policy"] == {"slow_ms": 5000}
    assert echo.output["manifest"]["throttle"]["per_tenant_daily_exec_limit"] == 100
    assert echo.output["executions_today"] == 0
    assert len(echo.output["today"]) == 10


def test_each_action_leaves_its_span(stage: Stage, tenant: str) -> None:
    function = add_function(stage, tenant)
    actions = [
        {"action": "run", "function_id": str(function), "input": {"n": 1}},
        {"action": "emit_span", "span": {"entity_type": "finding", "name": "n", "metadata": {"a": 1}}},
        {"action": "status_patch", "status": "seen"},
        {"action": "metric", "name": "Size", "value": 2, "unit": "Bytes", "dimensions": {"kind": "note"}},
    ]
    policy = add_policy(stage, answering(actions), tenant=tenant)
    seen = note(stage, tenant=tenant)
    answer = boot_agent(stage, {"policy_id": str(policy)})
    (report,) = [each for each in answer.output["policies"] if each["policy_id"] == str(policy)]
    assert (report["evaluated"], report["actions"], report["failures"]) == (1, 4, 0)
    found = {span.entity_type: span for span in effects(stage, policy)}
    request, finding, patch, metric = (found[kind] for kind in ("request", "finding", "status_patch", "metric"))
    assert (request.status, request.parent_id, request.input) == ("scheduled", function, {"n": 1})
    assert (finding.name, (finding.metadata or {})["a"]) == ("n", 1)
    assert (patch.status, patch.parent_id) == ("seen", seen)
    assert (metric.parent_id, (metric.metadata or {})["value"]) == (seen, 2)
    assert not [line for line in answer.lines if "_aws" in line]  # a tenant's metrics are in the ledger alone
    for span in (request, finding, patch, metric):
        assert (span.owner_id, span.tenant_id, span.visibility) == ("alice", tenant, "private")
        cause = (span.metadata or {})["caused_by"]
        assert cause == {"policies": [str(policy)], "span_id": str(seen), "effect_id": str(span.id)}
    agent(stage, WORKER)
    (execution,) = executions(stage, function)
    assert execution.output == {"echo": {"n": 1}}


@pytest.mark.parametrize("answer", [None, [], {"action": "metric", "name": "One", "value": 1.5}])
def test_nothing_one_or_a_list(stage: Stage, tenant: str, answer: Any) -> None:
    policy = add_policy(stage, answering(answer), tenant=tenant)
    note(stage, tenant=tenant)
    report = run_agent(stage, policy)[str(policy)]
    assert (report["evaluated"], report["failures"]) == (1, 0)
    assert len(effects(stage, policy)) == (1 if answer else 0)


RUN = {"action": "run", "function_id": FUNCTION}
EMIT: dict[str, Any] = {"action": "emit_span", "span": {"entity_type": "note"}}
METRIC = {"action": "metric", "name": "N", "value": 1}
WRONG: list[tuple[Any, str]] = [
    (5, "actions[0]: expected an object"),
    ("run", "actions[0]: expected an object"),
    ([None], "actions[0]: expected an object"),
    ({}, "actions[0].action: expected one of run, emit_span, status_patch, metric; got None"),
    ({"action": "delete"}, "actions[0].action: expected one of run"),
    ({"action": ["run"]}, "actions[0].action: expected one of run"),
    ([METRIC, {"action": "run"}], "actions[1].function_id: is required"),
    ({**RUN, "function_id": "x"}, "actions[0].function_id: expected a UUID"),
    ({**RUN, "user_id": "bob"}, "actions[0].user_id: unknown field"),
    ({"action": "emit_span"}, "actions[0].span: is required"),
    ({"action": "emit_span", "span": []}, "actions[0].span: expected a JSON object"),
    ({"action": "emit_span", "span": {}}, "actions[0].span.entity_type: is required"),
    ({"action": "emit_span", "span": {"entity_type": "x", "colour": 1}}, "actions[0].span.colour: unknown field"),
    ({"action": "status_patch", "status": ""}, "actions[0].status: expected"),
    ({"action": "status_patch", "status": "slow", "parent_id": FUNCTION}, "actions[0].parent_id: unknown field"),
    ({**METRIC, "value": "1"}, "actions[0].value: expected"),
    ({**METRIC, "value": True}, "actions[0].value: expected"),
    ({**METRIC, "name": "a b"}, "actions[0].name: expected"),
    ({**METRIC, "unit": "Parsecs"}, "actions[0].unit: expected"),
    ({**METRIC, "dimensions": {str(n): "x" for n in range(6)}}, "actions[0].dimensions: expected"),
    ([METRIC] * 11, "actions: at most 10 for one span, got 11"),
    ({"action": "rollup", "name": "x", "day": "2026-11-23", "sums": {"n": 1}}, "actions[0].action: expected one of"),
    ({"action": "report", "message": "x"}, "actions[0].action: expected one of run, emit_span, status_patch, metric"),
    ({"action": "violation", "kind": "x", "limit": 1, "used": 1}, "actions[0].action: expected one of"),
]
NOT_TO_EMIT: list[tuple[dict[str, Any], str]] = [
    ({"entity_type": "execution"}, "actions[0].span.entity_type: execution spans are written by the system alone"),
    ({"entity_type": "rollup"}, "actions[0].span.entity_type: rollup spans are written by the system alone"),
    ({"entity_type": "policy_cursor"}, "actions[0].span.entity_type"),
    ({"entity_type": "status_patch"}, "actions[0].span.entity_type"),
    ({"visibility": "public"}, "actions[0].span.visibility"),
    ({"id": FUNCTION}, "actions[0].span.id: is given by the agent"),
    ({"seq": 1}, "actions[0].span.seq: is given by the agent"),
    ({"owner_id": "bob"}, "actions[0].span.owner_id: is given by the agent"),
    ({"tenant_id": "other"}, "actions[0].span.tenant_id: is given by the agent"),
    ({"is_deleted": True}, "actions[0].span.is_deleted: is given by the agent"),
    ({"signature": "0" * 128}, "actions[0].span.signature: is given by the agent"),
    ({"metadata": {"caused_by": {"policies": []}}}, "actions[0].span.metadata.caused_by: is filled in by the system"),
    ({"metadata": 5}, "actions[0].span.metadata: expected"),
    ({"entity_type": "request", "status": "running"}, "actions[0].span.status: a caller's request begins"),
    ({"entity_type": "request", "status": "scheduled"}, "actions[0].span.parent_id: is required"),
    ({"name": "a\x00b"}, "actions[0].span.name"),
    ({"input": 2**60}, "actions[0].span.input"),
]
ALL_WRONG = WRONG + [({**EMIT, "span": {**EMIT["span"], **span}}, message) for span, message in NOT_TO_EMIT]


@pytest.mark.parametrize(("answer", "message"), ALL_WRONG, ids=[str(n) for n in range(len(ALL_WRONG))])
def test_what_is_wrong_is_a_failure_that_names_the_field(stage: Stage, tenant: str, answer: Any, message: str) -> None:
    policy = add_policy(stage, answering(answer), tenant=tenant)
    seen = note(stage, tenant=tenant)
    assert run_agent(stage, policy)[str(policy)]["failures"] == 1
    (error,) = effects(stage, policy)  # and nothing of the action
    assert (error.entity_type, error.status, error.parent_id) == ("policy_error", "error", policy)
    assert error.related_to == [seen]
    assert error.error["message"].startswith(message), error.error


def test_a_callers_own_append_cannot_pretend_to_follow_from_a_policy(stage: Stage, tenant: str) -> None:
    forged: list[dict[str, Any]] = [{"caused_by": {"policies": []}}, {"caused_by": None}]
    for metadata in forged:
        span = {"entity_type": "note", "did": "d", "this": "t", "metadata": metadata}
        answer = stage.append(span, tenant=tenant)
        assert (answer.status, answer.error["code"]) == (403, "not_permitted")


def test_another_users_opinion_of_a_shared_span_is_another_mark(stage: Stage, tenant: str) -> None:
    code = answering({"action": "status_patch", "status": "read"})
    policies = {user: add_policy(stage, code, user=user, tenant=tenant) for user in ("alice", "bob")}
    seen = note(stage, tenant=tenant, visibility="tenant")
    for user, policy in policies.items():
        run_agent(stage, policy)
        (patch,) = effects(stage, policy)
        assert (patch.owner_id, patch.parent_id) == (user, seen)


def test_a_policy_of_the_system_may_not_emit_what_a_caller_may_not(own: Stage) -> None:
    span = system_policy(0, answering({"action": "emit_span", "span": {"entity_type": "execution"}}))
    own.seed(span)
    note(own)
    assert run_agent(own)[str(span.id)]["failures"] == 1


def test_a_span_that_would_be_too_large_is_a_failure(stage: Stage, tenant: str) -> None:
    span = "{'entity_type': 'note', 'description': 'x' * 1048100}"
    policy = add_policy(
        stage, "def on(span):\n    return {'action': 'emit_span', 'span': " + span + "}\n", tenant=tenant
    )
    note(stage, tenant=tenant)
    run_agent(stage, policy)
    (error,) = effects(stage, policy)
    assert error.error["message"].startswith("actions[0]: at most 1048576 bytes in canonical form")
