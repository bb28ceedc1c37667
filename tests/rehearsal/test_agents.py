"""Functions, the queue, policies and a provider at work in a deployed environment: `aws lambda invoke` and schedules."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from loglineos.aws.schedules import fire
from tests.rehearsal.kit import LOADER, Rehearsal
from tests.stage0_loader.provider_server import ProviderServer, failing, provider_server

RUN_CODE, PROVIDER = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000005"
OBSERVER, WORKER, POLICIES = "loglineos-observer", "loglineos-request-worker", "loglineos-policy-agent"
SLOW = "00000000-0000-4000-8000-000000000401"

REPORT = """
def main(input):
    words = input['text'].split()
    print('counted', len(words))
    return {'words': len(words)}
"""
LOOP = "def main(input):\n    while True:\n        pass\n"
ESCAPE = "def main(input):\n    return open('/proc/self/environ').read()\n"


@pytest.fixture(scope="module")
def deployed(rehearsal: Rehearsal) -> Rehearsal:
    rehearsal.deploy("agents")
    return rehearsal


def invoke(deployed: Rehearsal, event: dict[str, Any], *, user: str = "ana", tenant: str = "acme") -> dict[str, Any]:
    """What an operator does: the `aws` command; the body of the loader's answer."""
    payload = shlex.quote(json.dumps({**event, "user_id": user, "tenant_id": tenant}))
    done = deployed.shell(f"aws lambda invoke --function-name {LOADER} --payload {payload} response.json")
    assert done.code == 0, done.text
    body: dict[str, Any] = json.loads(deployed.response["body"])
    return body


def append(deployed: Rehearsal, code: str, **values: Any) -> str:
    span = {"entity_type": "function", "did": "wrote", "this": "function", "name": "report", "code": code, **values}
    body = invoke(deployed, {"action": "append", "span": span})
    assert body["ok"], body
    return str(body["spans"][0]["id"])


def run(deployed: Rehearsal, function: str, given: Any = None, **who: str) -> dict[str, Any]:
    event = {"action": "boot", "boot_function_id": RUN_CODE, "input": {"function_id": function, "input": given}}
    return invoke(deployed, event, **who)


def scheduled(deployed: Rehearsal, rule: str) -> dict[str, Any]:
    """Fire a rule of the stack; what its agent answered."""
    (answer,) = fire(deployed.endpoint, rule)
    body: dict[str, Any] = json.loads(answer["body"]["body"])
    assert body["ok"], body
    output: dict[str, Any] = body["output"]
    return output


def test_a_scheduled_function_is_requested_and_executed(deployed: Rehearsal) -> None:
    earlier = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    function = append(
        deployed, REPORT, at=earlier, input={"text": "um dois três"}, metadata={"schedule": "* * * * *"}
    )
    assert scheduled(deployed, OBSERVER)["requested"] == 1
    assert scheduled(deployed, WORKER)["complete"] == 1
    states = deployed.sql(
        "SELECT status, owner_id, tenant_id FROM ledger.universal_registry"
        " WHERE entity_type = 'request' AND parent_id = %s ORDER BY seq",
        function,
    )
    assert states == [(status, "ana", "acme") for status in ("scheduled", "running", "complete")]
    executed = deployed.sql(
        "SELECT status, output, metadata ->> 'printed' FROM ledger.universal_registry"
        " WHERE entity_type = 'execution' AND parent_id = %s",
        function,
    )
    assert executed == [("complete", {"words": 3}, "counted 3\n")]


def test_a_hostile_function_is_stopped_in_its_limit_and_the_next_call_works(deployed: Rehearsal) -> None:
    body = run(deployed, append(deployed, LOOP, name="loop"))
    assert (body["ok"], body["error"]["code"]) == (False, "timeout")
    body = run(deployed, append(deployed, ESCAPE, name="escape"))
    assert body["error"]["code"] in ("runtime", "unsupported")
    assert run(deployed, append(deployed, REPORT), {"text": "a b"})["output"]["output"] == {"words": 2}


def test_a_policy_marks_the_slow_one(deployed: Rehearsal) -> None:
    scheduled(deployed, POLICIES)
    marked = deployed.sql(
        "SELECT e.status, p.status, p.owner_id, p.tenant_id FROM ledger.universal_registry p"
        " JOIN ledger.universal_registry e ON e.id = p.parent_id"
        " WHERE p.entity_type = 'status_patch' AND p.status = 'slow' AND e.who = 'edge:run_code'"
    )
    assert marked == [("timeout", "slow", "ana", "acme")]
    boots = deployed.sql(
        "SELECT count(*) FROM ledger.universal_registry p JOIN ledger.universal_registry e ON e.id = p.parent_id"
        " WHERE p.entity_type = 'status_patch' AND e.who = 'edge:stage0' AND p.metadata ->> 'policy_id' = %s",
        SLOW,
    )
    assert boots == [(1,)]  # run_code_kernel's own boot took as long; run_code marks runs only, the policy all


def test_tenants_do_not_reach_each_others_functions(deployed: Rehearsal) -> None:
    function = append(deployed, REPORT, visibility="tenant")
    assert run(deployed, function, {"text": "a"}, user="bia")["ok"]
    body = run(deployed, function, {"text": "a"}, user="bia", tenant="other")
    assert body["error"]["message"] == "function_id: there is no such function in your tenant"


@pytest.fixture
def ollama() -> Iterator[ProviderServer]:
    """A server where the seeded provider ollama_local looks for one."""
    with provider_server(port=11434) as server:
        yield server


def test_a_busy_provider_is_asked_again(deployed: Rehearsal, ollama: ProviderServer) -> None:
    ollama.answers = [(429, {"Retry-After": "1"}, {"error": "busy"}), (200, {}, OLLAMA_ANSWER)]
    event = {"action": "boot", "boot_function_id": PROVIDER, "input": {"name": "ollama_local", "prompt": "Olá?"}}
    body = invoke(deployed, event)
    assert body["ok"], body
    assert len(ollama.requests) == 2
    kept = deployed.sql(
        "SELECT status, metadata -> 'attempts' FROM ledger.universal_registry WHERE entity_type = 'provider_execution'"
    )
    assert kept == [("complete", 2)]
