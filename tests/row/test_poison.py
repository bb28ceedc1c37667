"""What one tenant appends stops neither worker nor observer nor policy agent for the others."""

from __future__ import annotations

import json

from ledger.ids import new_id
from tests.row.policy_kit import AGENT, COUNT, add_policy, boot_agent, note, seen_by
from tests.row.queue_kit import OBSERVER, WORKER, add_function, agent, append_function, ask, executions, states
from tests.stage0_loader.stage import Stage

EVERY_MINUTE = {"schedule": "* * * * *"}


def test_a_trace_id_is_short_or_the_next_version_of_a_request_would_not_fit(own: Stage) -> None:
    function = add_function(own, "evil")
    span = {"entity_type": "request", "did": "r", "this": "r", "status": "scheduled", "parent_id": str(function)}
    answer = own.append({**span, "trace_id": "t" * 201}, tenant="evil")
    assert (answer.status, answer.error["field"]) == (400, "spans[0].trace_id")
    own.append({**span, "trace_id": "t" * 200}, tenant="evil")
    good = ask(own, "good", add_function(own, "good"))
    agent(own, WORKER)
    assert states(own, good) == ["scheduled", "running", "complete"]


def test_no_clock_of_a_tenants_stops_the_observer(own: Stage) -> None:
    evil = new_id()
    for seq, at in enumerate(["9999-12-31T23:59:30Z", "2000-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"]):
        assert append_function(own, "evil", id=str(evil), seq=seq, at=at, metadata=EVERY_MINUTE).status == 200
    good = add_function(own, "good", status="scheduled")
    assert agent(own, OBSERVER)["requested"] >= 1
    assert [span.parent_id for span in own.spans(entity_type="request", tenant_id="good")] == [good]
    agent(own, WORKER)
    assert len(executions(own, good)) == 1


def test_what_a_policys_function_runs_into_is_not_shown_to_that_policy(own: Stage) -> None:
    again = {
        "entity_type": "function",
        "did": "w",
        "this": "f",
        "name": "n",
        "language": "python",
        "status": "scheduled",
    }
    emitted = json.dumps({**again, "status": "scheduled", "code": "def main(input): return 1"})
    code = (
        "import json\ndef on(span):\n    if span['this'] != 'run_code':\n        return None\n"
        f"    return {{'action': 'emit_span', 'span': json.loads({emitted!r})}}\n"
    )
    add_policy(own, code, ["execution"], tenant="evil")
    add_function(own, "evil", status="scheduled")
    for _ in range(3):
        agent(own, OBSERVER)
        agent(own, WORKER)
        boot_agent(own)
    assert len(own.spans(entity_type="function", tenant_id="evil")) == 2


def test_who_boots_the_agent_is_told_of_no_other_tenants_policies(own: Stage) -> None:
    policy = add_policy(own, COUNT, tenant="good")
    note(own, tenant="good")
    answer = own.boot(AGENT, {"policy_id": str(policy)}, user="mallory", tenant="evil")
    assert (answer.status, answer.error["message"]) == (422, "policy_id: there is no such active policy")
    assert own.boot(AGENT, None, user="mallory", tenant="evil").output["policies"] == []
    assert len(seen_by(own, policy)) == 1
