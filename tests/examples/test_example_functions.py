"""The five functions of `examples/`: what their headers say is so, here and behind the loader."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from typing import Any

import pytest

from sandbox import Limits, Sandbox, SandboxError
from tests.cli.conftest import CODE, Shell
from tests.examples.kit import ROOT, Example, examples
from tests.row.queue_kit import add_function, executions, run
from tests.stage0_loader.stage import Stage

FUNCTIONS = {example.name: example for example in examples("functions")}


@pytest.fixture(params=list(FUNCTIONS))
def example(request: pytest.FixtureRequest) -> Example:
    return FUNCTIONS[request.param]


def call(sandbox: Sandbox, name: str, given: Any) -> Any:
    return sandbox.run(FUNCTIONS[name].code, "main", given, Limits(), tenant="examples").output


def test_there_are_five() -> None:
    assert len(FUNCTIONS) == 5


def test_the_header_can_be_tried_as_it_stands(shell: Shell, example: Example) -> None:
    header = example.code.partition('"""')[2].partition('"""')[0]
    assert header.startswith(f"{example.name}: ")
    assert "Input: " in header
    assert "Output: " in header
    command = re.search(r"Try it:  loglineos (.*)", header)
    assert command is not None
    done = subprocess.run(
        [sys.executable, "-c", CODE, *shlex.split(command[1])],
        cwd=ROOT / "functions", env=shell.environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == example.json("output")


def test_it_answers_the_same_behind_the_loader(stage: Stage, tenant: str, example: Example) -> None:
    function = add_function(stage, tenant, example.code, name=example.name)
    answer = run(stage, tenant, function, input=example.json("input"))
    assert answer.output["output"] == example.json("output")
    (execution,) = executions(stage, function)
    assert (execution.status, execution.name) == ("complete", example.name)
    assert execution.output == example.json("output")


def test_the_memory_of_a_webhook_is_one_that_can_be_stored(stage: Stage, tenant: str) -> None:
    given = FUNCTIONS["webhook_to_memory"].json("output")
    memory = stage.memory(given, tenant=tenant).output["memory"]
    assert (memory["content"], memory["session_id"]) == (given["content"], "acme/shop#17")
    found = stage.memory({"action": "search", "search_query": "orders 404", "tags": ["bug"]}, tenant=tenant).output
    assert [one["memory_id"] for one in found["memories"]] == [memory["memory_id"]]


STRIPE = {"type": "invoice.paid", "data": {"object": {"id": "in_1", "amount_paid": 4999, "currency": "eur"}}}
GITHUB = {"repository": {"full_name": "acme/shop"}, "sender": {"login": "ana"}}


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({}, STRIPE, {"content": "invoice.paid: 49.99 EUR of nobody", "session_id": "in_1"}),
        (
            {},
            {"type": "customer.created", "data": {"object": {"id": "c"}}},
            {"skipped": "customer.created has no amount"},
        ),
        ({}, {"hello": 1}, {"skipped": "neither GitHub's X-GitHub-Event nor Stripe's type is there"}),
        ({"x-github-event": "star"}, GITHUB, {"skipped": "GitHub's event star"}),
        (
            {"X-GitHub-Event": "push"},
            {**GITHUB, "ref": "refs/heads/main", "commits": [{"message": "Mend it\n\nlong"}, {"message": "Test it"}]},
            {"content": "ana pushed 2 to main\n\n- Mend it\n- Test it", "session_id": "acme/shop"},
        ),
        (
            {"X-GitHub-Event": "issue_comment"},
            {**GITHUB, "issue": {"number": 3, "title": "T"}, "comment": {"body": "x" * 3000}},
            {"content": "ana commented on #3: T\n\n" + "x" * 1999 + "…", "session_id": "acme/shop#3"},
        ),
    ],
)
def test_webhooks_of_each_kind(sandbox: Sandbox, headers: Any, body: Any, expected: dict[str, Any]) -> None:
    answer = call(sandbox, "webhook_to_memory", {"headers": headers, "body": body})
    assert {name: answer[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"date": "2026-11-20"}, "2026-11-23"),
        ({"date": "2026-11-21", "days": 0}, "2026-11-23"),
        ({"date": "2026-11-20", "days": 0}, "2026-11-20"),
        ({"date": "2026-11-23", "days": -1}, "2026-11-20"),
        ({"date": "2026-11-19", "weekend": ["friday", "saturday"]}, "2026-11-22"),
        ({"date": "2027-12-31", "holidays": ["01-01"]}, "2028-01-03"),
    ],
)
def test_business_days_in_both_directions(sandbox: Sandbox, given: Any, expected: str) -> None:
    assert call(sandbox, "next_business_day", given)["date"] == expected


@pytest.mark.parametrize(
    ("name", "given", "sentence"),
    [
        ("next_business_day", {"date": "2026-11-20", "weekend": ["caturday"]}, "no weekday is called caturday"),
        ("next_business_day", {"date": "2026-11-20", "days": 5000}, "expected a whole number from -1000 to 1000"),
        ("next_business_day", {"date": "soon"}, "ValueError"),
        ("invoice_csv", {"csv": ""}, "expected a line of headings"),
        ("invoice_csv", {"csv": "quantity,price\n1,2"}, "the headings lack description, unit_price, vat_percent"),
    ],
)
def test_what_cannot_be_read_is_named(sandbox: Sandbox, name: str, given: Any, sentence: str) -> None:
    with pytest.raises(SandboxError, match=sentence) as raised:
        call(sandbox, name, given)
    assert raised.value.code == "runtime"


def test_a_week_without_business_days_ends(sandbox: Sandbox) -> None:
    days = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
    with pytest.raises(SandboxError, match="no business day in 60 days"):
        call(sandbox, "next_business_day", {"date": "2026-11-20", "weekend": days})


def test_an_invoice_in_tabs_and_in_another_order(sandbox: Sandbox) -> None:
    text = "Quantity\tVAT percent\tUnit price\tDescription\n3\t0\t0.10\tPen\n"
    answer = call(sandbox, "invoice_csv", {"csv": text})
    assert answer["valid"]
    assert answer["totals"] == {"net": "0.30", "vat": "0.00", "total": "0.30"}


def test_texts_and_logs_of_nothing(sandbox: Sandbox) -> None:
    assert call(sandbox, "keywords", {"text": ""})["keywords"] == []
    assert call(sandbox, "access_log", {"text": "\n\n"})["requests"] == 0
