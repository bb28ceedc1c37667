"""The two policies of `examples/`: what they ask for, and that the loader takes them as their files are."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from uuid import UUID

import pytest

from sandbox import Limits, Sandbox
from tests.cli.conftest import CODE, Shell
from tests.conftest import TestLedger
from tests.examples.kit import ROOT, Example, examples
from tests.row.queue_kit import WORKER, add_function, agent, executions, run
from tests.stage0_loader.stage import Stage

POLICY_AGENT = UUID("00000000-0000-4000-8000-000000000004")
POLICIES = {example.name: example for example in examples("policies")}


@pytest.fixture(params=list(POLICIES))
def example(request: pytest.FixtureRequest) -> Example:
    return POLICIES[request.param]


def test_there_are_two() -> None:
    assert len(POLICIES) == 2


def test_it_asks_for_what_stands_beside_it(sandbox: Sandbox, example: Example) -> None:
    answer = sandbox.run(example.code, "on", example.json("input"), Limits(), tenant="examples")
    assert answer.output == example.json("output")


def test_it_is_appended_as_its_header_says(shell: Shell, ledger: TestLedger, example: Example) -> None:
    command = re.search(rf"loglineos (append @{example.name}\.span\.json)", example.code)
    assert command is not None
    done = subprocess.run(
        [sys.executable, "-c", CODE, *command[1].split()],
        cwd=ROOT / "policies", env=shell.environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (span,) = ledger.execute(
        "rdsadmin", "SELECT * FROM ledger.universal_registry WHERE entity_type = 'policy' AND tenant_id = 'acme'"
    )
    assert (span["name"], span["code"], span["owner_id"]) == (example.name, example.code, "ana")
    assert span["metadata"] == example.json("span")["metadata"]


def test_a_file_of_code_that_is_not_there_is_named(shell: Shell) -> None:
    (shell.folder / "p.json").write_text(json.dumps({"entity_type": "policy", "code_file": "p.py"}))
    done = shell.run("append", "@p.json")
    assert done.returncode == 2
    assert "cannot read p.py" in done.stderr


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("keywords_of_memories", {"metadata": {"content": "text", "tags": ["notes"]}}),
        ("keywords_of_memories", {"metadata": {"ciphertext": "c2VjcmV0", "tags": ["summarise"]}}),
        ("keywords_of_memories", {"metadata": None}),
        ("keywords_of_memories", {"seq": 1}),
        ("note_of_failures", {"who": "edge:stage0"}),
        ("note_of_failures", {"status": "complete"}),
    ],
)
def test_what_does_not_concern_it_asks_for_nothing(sandbox: Sandbox, name: str, change: dict[str, object]) -> None:
    given = {**POLICIES[name].json("input"), **change}
    assert sandbox.run(POLICIES[name].code, "on", given, Limits(), tenant="examples").output is None


def test_a_slow_run_is_noted(sandbox: Sandbox) -> None:
    slow = {**POLICIES["note_of_failures"].json("input"), "status": "complete", "error": None, "duration_ms": 2001}
    answer = sandbox.run(POLICIES["note_of_failures"].code, "on", slow, Limits(), tenant="examples").output
    assert answer["span"]["metadata"]["text"] == "invoice_csv took 2001 ms"


def append(stage: Stage, tenant: str, name: str) -> None:
    """The policy, as its file says, by alice of the tenant."""
    span = {key: value for key, value in POLICIES[name].json("span").items() if key != "code_file"}
    assert stage.append({**span, "code": POLICIES[name].code}, tenant=tenant).status == 200


def test_a_tagged_memory_gets_its_keywords(own: Stage) -> None:
    (keywords,) = (one for one in examples("functions") if one.name == "keywords")
    function = UUID(POLICIES["keywords_of_memories"].json("output")["function_id"])
    add_function(own, "acme", keywords.code, id=str(function), name="keywords")
    append(own, "acme", "keywords_of_memories")
    own.store("O gato dorme", tags=["notes"])
    own.store("Spans, and spans again, in a ledger of spans.", tags=["summarise"])
    agent(own, POLICY_AGENT)
    assert agent(own, WORKER)["complete"] == 1
    (execution,) = executions(own, function)
    assert execution.output["keywords"][0] == {"word": "spans", "count": 3, "share": 0.6}
    assert execution.owner_id == "alice"


def test_a_failed_run_is_noted_beside_it(own: Stage) -> None:
    append(own, "acme", "note_of_failures")
    failing = add_function(own, "acme", "def main(input):\n    return 1 // input\n", name="divide")
    for given in (1, 0):
        run(own, "acme", failing, input=given)
    agent(own, POLICY_AGENT)
    (_, failed) = executions(own, failing)
    note = own.one(entity_type="note")
    assert (note.parent_id, note.this, note.owner_id) == (failed.id, "divide", "alice")
    assert (note.metadata or {})["text"].startswith("divide failed: runtime: line 2, column ")
