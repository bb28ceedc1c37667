"""A provider on the deployed loader: its key comes from Secrets Manager, and a refusal that passes is tried again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.rehearsal.kit import LOADER, Rehearsal, Release
from tests.stage0_loader.provider_server import KEY, ProviderServer, provider_server, says

PROVIDER_EXEC = "00000000-0000-4000-8000-000000000005"
GIVEN = {"name": "rehearsed", "prompt": "Olá"}


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


def ask(deployed: Rehearsal) -> dict[str, Any]:
    """The manual's command; the body that the loader answers."""
    event = {"action": "boot", "boot_function_id": PROVIDER_EXEC, "input": GIVEN}
    done = deployed.shell(f"aws lambda invoke --function-name {LOADER} --payload '{json.dumps(event)}' response.json")
    assert done.code == 0, done.text
    body: dict[str, Any] = json.loads(deployed.response["body"])
    return body


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


def test_the_key_is_in_no_span_and_no_log(deployed: Rehearsal) -> None:
    assert deployed.sql("SELECT id FROM ledger.universal_registry r WHERE strpos(r::text, %s) > 0", KEY) == []
    lines = deployed.logs(f"/aws/lambda/{LOADER}")
    assert any("provider called" in line for line in lines)
    assert not any(KEY in line for line in lines)
