"""request_worker_kernel: each request once, in turn for all tenants, and none is lost."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from ledger.proof import verify
from tests.row.queue_kit import ECHO, WORKER, add_function, agent, ask, executions, pending, states
from tests.stage0_loader.stage import Stage

IDLE = {"claimed": 0, "complete": 0, "error": 0, "dead": 0, "deferred": 0, "retried": 0, "lost": 0}


def test_a_request_runs_and_every_transition_is_a_span(own: Stage) -> None:
    function = add_function(own, "acme")
    request = ask(own, "acme", function, {"n": 1})
    assert agent(own, WORKER) == {**IDLE, "claimed": 1, "complete": 1}
    versions = own.spans(id=request)
    assert [span.status for span in versions] == ["scheduled", "running", "complete"]
    assert [span.seq for span in versions] == [0, 1, 2]
    (execution,) = executions(own, function)
    assert (execution.output, execution.status, execution.who) == ({"echo": {"n": 1}}, "complete", "edge:run_code")
    assert execution.related_to == [request]
    assert (versions[-1].metadata or {})["execution_id"] == str(execution.id)
    assert {span.trace_id for span in versions} == {execution.trace_id}
    for span in [*versions, execution]:
        assert (span.owner_id, span.tenant_id, span.visibility) == ("alice", "acme", "private")
        assert verify(span, None)
    assert pending(own) == []
    assert agent(own, WORKER) == IDLE


def test_a_function_that_fails_is_an_error_and_is_not_tried_again(own: Stage) -> None:
    function = add_function(own, "acme", "def main(input):\n    return 1 // 0\n")
    request = ask(own, "acme", function)
    assert agent(own, WORKER) == {**IDLE, "claimed": 1, "error": 1}
    assert states(own, request) == ["scheduled", "running", "error"]
    assert own.spans(id=request)[-1].error["code"] == "runtime"
    (execution,) = executions(own, function)
    assert execution.status == "error"
    assert agent(own, WORKER) == IDLE


@pytest.mark.parametrize("values", [{"is_deleted": True, "status": "scheduled"}, {"is_deleted": True, "status": None}])
def test_a_withdrawn_request_does_not_run(own: Stage, values: dict[str, Any]) -> None:
    function = add_function(own, "acme")
    request = ask(own, "acme", function)
    withdrawal = {"id": str(request), "seq": 1, "entity_type": "request", "did": "withdrew", "this": "run_code"}
    assert own.append({**withdrawal, **values}, tenant="acme").status == 200
    assert agent(own, WORKER) == IDLE
    assert executions(own, function) == []


def test_tenants_take_turns_and_each_has_its_oldest_first(own: Stage) -> None:
    functions = {tenant: add_function(own, tenant) for tenant in ("a", "b", "c")}
    wanted: dict[UUID, str] = {}
    for tenant, count in (("a", 40), ("b", 2), ("c", 1)):
        for number in range(count):
            wanted[ask(own, tenant, functions[tenant], number)] = f"{tenant}{number}"
    assert agent(own, WORKER)["complete"] == 43
    done = [span for function in functions.values() for span in executions(own, function)]
    ran = sorted(done, key=lambda span: span.position or 0)
    order = [wanted[(span.related_to or [])[0]] for span in ran]
    for tenant in functions:
        own_order = [name for name in order if name.startswith(tenant)]
        assert own_order == [f"{tenant}{number}" for number in range(len(own_order))]
    # A turn is 16 requests or a second, whichever is over first: the flood of the one does not hold up the others.
    assert max(order.index(name) for name in ("b0", "b1", "c0")) < 16 + 3


def test_limit_bounds_what_is_claimed(own: Stage) -> None:
    function = add_function(own, "acme", ECHO)
    for number in range(5):
        ask(own, "acme", function, number)
    assert agent(own, WORKER, {"limit": 2})["claimed"] == 2
    assert agent(own, WORKER)["claimed"] == 3
