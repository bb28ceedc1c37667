"""Functions, queue, policies and a provider at work in a deployed environment: `aws lambda invoke`, and schedules."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from db_migration.archive.parquet import read_file
from loglineos.aws.schedules import fire
from tests.rehearsal.kit import LOADER, MEMORY, Rehearsal, Release
from tests.stage0_loader.provider_server import KEY, ProviderServer, provider_server, says

RUN_CODE, PROVIDER_EXEC = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000005"
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
def server() -> Iterator[ProviderServer]:
    with provider_server() as running:
        yield running


@pytest.fixture(scope="module")
def deployed(rehearsal: Rehearsal, server: ProviderServer) -> Rehearsal:
    """With one more provider, at the local server, that wants OpenAI's key."""
    Release(rehearsal.repository).row(
        id="00000000-0000-4000-8000-000000000599",
        seq=1,
        entity_type="provider",
        who="system",
        did="released",
        this="rehearsed",
        at="2026-11-23T00:00:00Z",
        status="active",
        name="rehearsed",
        metadata={"type": "openai", "base_url": f"{server.url}/v1", "model": "m", "secret": "loglineos-openai"},
    )
    rehearsal.deploy("first")
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
    function = append(deployed, REPORT, at=earlier, input={"text": "um dois três"}, metadata={"schedule": "* * * * *"})
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
    # run_code marks the runs of functions itself; the policy marks all, and its boot took as long.
    boots = deployed.sql(
        "SELECT p.metadata -> 'caused_by' -> 'policies' ->> 0 FROM ledger.universal_registry p"
        " JOIN ledger.universal_registry e ON e.id = p.parent_id"
        " WHERE p.entity_type = 'status_patch' AND p.status = 'slow' AND e.who = 'edge:stage0'"
    )
    assert boots == [(SLOW,)]


def test_tenants_do_not_reach_each_others_functions(deployed: Rehearsal) -> None:
    function = append(deployed, REPORT, visibility="tenant")
    assert run(deployed, function, {"text": "a"}, user="bia")["ok"]
    body = run(deployed, function, {"text": "a"}, user="bia", tenant="other")
    assert body["error"]["message"] == "function_id: there is no such function in your tenant"


def ask(deployed: Rehearsal) -> dict[str, Any]:
    """The provider of these tests."""
    event = {"action": "boot", "boot_function_id": PROVIDER_EXEC, "input": {"name": "rehearsed", "prompt": "Olá"}}
    return invoke(deployed, event)


def test_without_its_secret_a_provider_says_which_command_makes_it(deployed: Rehearsal, server: ProviderServer) -> None:
    error = ask(deployed)["error"]
    assert error["code"] == "auth"
    assert "run: aws secretsmanager create-secret --name loglineos-openai --secret-string" in error["message"]
    assert server.asked == []


def test_once_it_is_made_a_429_is_tried_again_and_the_answer_kept(deployed: Rehearsal, server: ProviderServer) -> None:
    made = deployed.shell(f"aws secretsmanager create-secret --name loglineos-openai --secret-string '{KEY}'")
    assert made.code == 0, made.text
    server.script[:] = [says(429, {"error": {"message": "slow down"}}, {"retry-after": "1"})]
    output = ask(deployed)["output"]
    assert output["text"] == "You said: Olá"
    assert [asked.headers["authorization"] for asked in server.asked] == [f"Bearer {KEY}"] * 2
    kept = deployed.sql(
        "SELECT entity_type, status, metadata->>'attempts' FROM ledger.universal_registry WHERE id = %s",
        output["span_id"],
    )
    assert kept == [("provider_execution", "complete", "2")]


def test_what_is_sealed_is_archived_in_the_bucket_and_nothing_older_by_schedule(
    deployed: Rehearsal, tmp_path: Path
) -> None:
    deployed.remember("not secret")
    whisper = {"action": "store", "content": "only for me", "sensitivity": "secret"}
    assert deployed.boot(MEMORY, whisper)["ok"]
    by_hand(deployed, {"action": "checkpoint"})
    (answer,) = fire(deployed.endpoint, "loglineos-monthly-archive")
    assert (answer["body"]["ok"], answer["body"]["sealed"], answer["body"]["ranges"]) == (True, 0, [])
    result = by_hand(deployed, {"action": "archive", "older_than_days": 0})
    (made,) = result["ranges"]
    (file,) = made["files"]
    assert (result["more"], made["to"], file["count"]) == (False, result["archived"], result["archived"])
    recorded = deployed.sql("SELECT metadata -> 'files' FROM ledger.universal_registry WHERE entity_type = 'archive'")
    assert recorded == [([file],)]
    location = deployed.client("s3").list_buckets()["Buckets"]
    (bucket,) = (one["Name"] for one in location if one["Name"].startswith("loglineos-archive-"))
    deployed.client("s3").download_file(bucket, file["name"], str(tmp_path / "spans.parquet"))
    archived = list(read_file(tmp_path / "spans.parquet", file["name"]))
    assert len(archived) == file["count"]
    assert sum("not secret" in str(row) for row in archived) >= 1
    assert [row for row in archived if "only for me" in str(row)] == []


def by_hand(deployed: Rehearsal, event: dict[str, Any]) -> dict[str, Any]:
    """An action of db-deploy."""
    answer = deployed.client("lambda").invoke(FunctionName="loglineos-db-deploy", Payload=json.dumps(event))
    body: dict[str, Any] = json.loads(answer["Payload"].read())
    assert body["ok"], body
    return body


def test_the_key_is_in_no_span_and_no_log(deployed: Rehearsal) -> None:
    assert deployed.sql("SELECT id FROM ledger.universal_registry r WHERE strpos(r::text, %s) > 0", KEY) == []
    lines = deployed.logs(f"/aws/lambda/{LOADER}")
    assert any("provider called" in line for line in lines)
    assert not any(KEY in line for line in lines)


# The runbooks' pages are typed last, into the same deployment: a second one would cost minutes.
from tests.rehearsal.runbook_typed import (  # noqa: E402
    operator,  # noqa: F401
    programs,  # noqa: F401
    test_a_runbooks_commands_do_what_it_says,  # noqa: F401
    test_no_page_is_without_a_scenario,  # noqa: F401
)
