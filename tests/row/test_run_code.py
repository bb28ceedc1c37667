"""run_code_kernel: what may be run, what comes of it, and what it leaves in the ledger."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from ledger.ids import new_id
from ledger.proof import verify
from tests.row.queue_kit import ECHO, FOREVER, RUN_CODE, add_function, append_function, executions, restrict, run
from tests.stage0_loader.stage import MEMORY_KERNEL, Stage, row

LOOP = "def main(input):\n    n = 0\n    while n < 2000000:\n        n = n + 1\n    return n\n"


def test_a_run_answers_its_output_and_leaves_an_execution_of_the_caller(stage: Stage, tenant: str) -> None:
    function = add_function(stage, tenant, "def main(input):\n    print('in', 1)\n    return {'n': input['n'] + 1}\n")
    answer = run(stage, tenant, function, input={"n": 1})
    (execution,) = executions(stage, function)
    assert answer.output == {
        "output": {"n": 2},
        "printed": "in 1\n",
        "status": "complete",
        "execution_id": str(execution.id),
        "function": {"id": str(function), "name": "f", "seq": 0},
        "duration_ms": execution.duration_ms,
    }
    written = stage.one(id=function)
    assert (execution.who, execution.did, execution.this) == ("edge:run_code", "executed", "run_code")
    assert (execution.owner_id, execution.tenant_id, execution.visibility) == ("alice", tenant, "private")
    assert (execution.input, execution.output, execution.error) == ({"n": 1}, {"n": 2}, None)
    assert (execution.status, execution.trace_id) == ("complete", answer.trace_id)
    assert execution.metadata == {
        "function": {"id": str(function), "seq": 0, "curr_hash": written.curr_hash},
        "printed": "in 1\n",
    }
    assert verify(execution, None)


@pytest.mark.parametrize(
    ("code", "given", "status", "code_of_error"),
    [
        ("def main(input):\n    return input[0]\n", [], 422, "runtime"),
        ("def main(input):\n    raise ValueError('no')\n", None, 422, "runtime"),
        (f"def main(input):\n    return {'x' * 10!r} * 200000\n", None, 422, "output_too_large"),
        ("def main(input):\n    return main(input)\n", None, 422, "recursion"),
        (FOREVER, None, 504, "timeout"),
    ],
)
def test_what_a_function_does_wrong_is_answered_and_recorded(
    own: Stage, code: str, given: Any, status: int, code_of_error: str
) -> None:
    restrict(own, sandbox={"timeout_ms": 500})
    function = add_function(own, "acme", code)
    answer = run(own, "acme", function, input=given)
    (execution,) = executions(own, function)
    assert (answer.status, answer.error["code"]) == (status, code_of_error)
    assert answer.error["execution_id"] == str(execution.id)
    assert execution.status == ("timeout" if code_of_error == "timeout" else "error")
    assert {**execution.error, "execution_id": str(execution.id)} == answer.error
    assert execution.output is None
    assert answer.errors == [], "a function's failure is no alarm"
    assert run(own, "acme", add_function(own, "acme"), input=1).output["output"] == {"echo": 1}


@pytest.mark.parametrize(
    ("stored", "given", "seen"),
    [
        ({"a": 1}, {}, {"a": 1}),
        ({"a": 1}, {"input": {"b": 2}}, {"b": 2}),
        ({"a": 1}, {"input": None}, None),
        (None, {}, None),
        ({"a": 1}, {"input": {}}, {}),
        ([], {"input": 0}, 0),
    ],
)
def test_without_input_the_functions_own_is_its_argument(
    stage: Stage, tenant: str, stored: Any, given: dict[str, Any], seen: Any
) -> None:
    function = add_function(stage, tenant, input=stored)
    assert run(stage, tenant, function, **given).output["output"] == {"echo": seen}
    by_span = stage.boot(RUN_CODE, {"span_id": str(function)}, tenant=tenant)
    assert by_span.output["output"] == {"echo": stored}
    assert [execution.input for execution in executions(stage, function)] == [seen, stored]


def test_the_latest_version_runs(stage: Stage, tenant: str) -> None:
    function = add_function(stage, tenant)
    newer = {"id": str(function), "seq": 1, "entity_type": "function", "did": "wrote", "this": "function"}
    assert stage.append({**newer, "code": "def main(input):\n    return 'new'\n"}, tenant=tenant).status == 200
    assert run(stage, tenant, function).output["function"]["seq"] == 1
    assert run(stage, tenant, function).output["output"] == "new"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "function_id: expected either function_id or span_id"),
        ({"function_id": str(RUN_CODE), "span_id": str(RUN_CODE)}, "function_id: expected either"),
        ({"span_id": str(RUN_CODE), "input": 1}, "input: span_id runs the function with its own input"),
        ({"function_id": "abc"}, "function_id: "),
        ({"function_id": 7}, "function_id: "),
        ({"function_id": str(RUN_CODE), "args": 1}, "args: unknown field"),
        ({"function_id": str(RUN_CODE), "metadata": {"force": "yes"}}, "metadata.force: "),
        ({"function_id": str(RUN_CODE), "metadata": {"forced": True}}, "metadata.forced: unknown field"),
        ({"function_id": str(RUN_CODE), "metadata": {"force": {"signature": "00"}}}, "metadata.force.expires_at: "),
    ],
)
def test_input_that_is_not_accepted_is_422_and_names_the_field(
    stage: Stage, tenant: str, given: dict[str, Any], sentence: str
) -> None:
    answer = stage.boot(RUN_CODE, given, tenant=tenant)
    assert (answer.status, answer.error["code"]) == (422, "rejected")
    assert answer.error["message"].startswith(sentence), answer.raw


def test_another_language_is_refused_with_what_is_supported(stage: Stage, tenant: str) -> None:
    function = row(new_id(), "function", 0, name="f", code="x", language="ruby", owner_id="alice", tenant_id=tenant)
    stage.insert_as_admin(function, None)  # `append` refuses it beforehand
    answer = run(stage, tenant, function.id)
    assert (answer.status, answer.error["message"]) == (
        422,
        "language: ruby is not supported; functions are python",
    )


def test_whatever_is_not_the_callers_to_run_is_the_same_422(stage: Stage, tenant: str) -> None:
    others = add_function(stage, f"{tenant}-other", visibility="tenant")
    deleted = add_function(stage, tenant)
    tombstone = {"id": str(deleted), "seq": 1, "entity_type": "function", "did": "wrote", "this": "function"}
    assert stage.append({**tombstone, "is_deleted": True}, tenant=tenant).status == 200
    hidden = add_function(stage, tenant, user="bob", visibility="tenant")
    private = {**tombstone, "id": str(hidden), "code": ECHO, "visibility": "private"}
    assert stage.append(private, user="bob", tenant=tenant).status == 200
    unseen = {
        "private, of another user": add_function(stage, tenant, user="bob"),
        "private since its second version": hidden,
        "another tenant's": others,
        "of the same user name in another tenant": add_function(stage, f"{tenant}-other"),
        "deleted": deleted,
        "not there": new_id(),
        "a memory": UUID(stage.store("x", tenant=tenant)["memory_id"]),
        "a kernel": RUN_CODE,
        "another kernel": MEMORY_KERNEL,
    }
    for field in ("function_id", "span_id"):
        answers = {what: stage.boot(RUN_CODE, {field: str(which)}, tenant=tenant) for what, which in unseen.items()}
        said = {(answer.status, answer.error["code"], answer.error["message"]) for answer in answers.values()}
        assert said == {(422, "rejected", f"{field}: there is no such function in your tenant")}
    assert all(executions(stage, which) == [] for which in unseen.values())
    assert (
        stage.superuser.execute(
            "SELECT FROM ledger_idx.usage WHERE kind LIKE 'exec%%' AND tenant_id = %s", [tenant]
        ).rowcount
        == 0
    ), "what does not run is not counted"


def test_a_function_that_its_tenant_may_see_runs_as_the_caller(stage: Stage, tenant: str) -> None:
    function = add_function(stage, tenant, user="bob", visibility="tenant")
    assert run(stage, tenant, function, input=1).status == 200
    (execution,) = executions(stage, function)
    assert (execution.owner_id, execution.visibility) == ("alice", "private")


def test_kernels_do_not_run_in_tenant_system_either(stage: Stage) -> None:
    answer = stage.boot(RUN_CODE, {"function_id": str(MEMORY_KERNEL)}, user="edge:stage0", tenant="system")
    assert (answer.status, answer.error["code"]) == (422, "rejected")


def test_a_run_longer_than_slow_ms_is_marked_once(own: Stage) -> None:
    restrict(own, policy={"slow_ms": 1}, sandbox={"timeout_ms": 5000})
    function = add_function(own, "acme", LOOP)
    execution_id = run(own, "acme", function).output["execution_id"]
    mark = own.one(entity_type="status_patch")
    assert (mark.status, str(mark.parent_id), mark.owner_id, mark.tenant_id) == ("slow", execution_id, "alice", "acme")
    assert (mark.duration_ms or 0) > 1
    assert mark.metadata == {"slow_ms": 1}
    restrict(own, seq=1002, sandbox={"timeout_ms": 5000})
    run(own, "acme", function)
    assert len(own.spans(entity_type="status_patch")) == 1


@pytest.mark.parametrize("ends", ["return 'y' * 600000", "print('p' * 60000)", "1 // 0"])
def test_what_does_not_fit_into_one_span_is_recorded_without_it(stage: Stage, tenant: str, ends: str) -> None:
    function = add_function(stage, tenant, f"def main(input):\n    {ends}\n", name="n" * 70_000)
    answer = run(stage, tenant, function, input="x" * 978_000)
    (execution,) = executions(stage, function)
    expected = "runtime" if ends == "1 // 0" else "output_too_large"
    assert (answer.status, answer.error["code"]) == (422, expected)
    assert (execution.status, execution.error["code"]) == ("error", expected)
    assert (execution.input, execution.output, execution.name) == (None, None, None)
    assert (execution.metadata or {})["omitted"] == ["name", "input", "output", "printed"]


def test_code_that_could_never_run_is_refused_when_it_is_appended(stage: Stage, tenant: str) -> None:
    answer = append_function(stage, tenant, "def main(input):\n    return (\n")
    assert (answer.status, answer.error["code"]) == (422, "compile")
