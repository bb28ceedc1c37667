"""422 and 500: kernels that reject their input, raise, or answer what cannot be kept."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.proof import verify
from tests.stage0_loader.stage import NOTHING, Answer, Stage

FAILURES: dict[str, tuple[str | None, str]] = {
    "raises": ("def main(ctx):\n    raise ValueError('the cat sat on it')", "ValueError: the cat sat on it"),
    "raises without text": ("def main(ctx):\n    raise KeyError", "KeyError: "),
    "raises its own type": (
        "class Broken(Exception): pass\ndef main(ctx):\n    raise Broken('in two')",
        "Broken: in two",
    ),
    "recurses for ever": ("def main(ctx):\n    return main(ctx)", "RecursionError: maximum recursion depth exceeded"),
    "has no main": ("def man(ctx):\n    return 1", "kernel_x seq 1 has no main(ctx)"),
    "has a main that is no function": ("main = 7", "kernel_x seq 1 has no main(ctx)"),
    "is empty": ("", "kernel_x seq 1 has no main(ctx)"),
    "has no code": (None, "kernel_x seq 1 has no main(ctx)"),
    "does not parse": ("def main(ctx)\n    return 1", "SyntaxError: "),
    "raises as it loads": ("import no_such_module\ndef main(ctx):\n    return 1", "ModuleNotFoundError: "),
    "takes no ctx": ("def main():\n    return 1", "TypeError: main() takes 0 positional arguments"),
    "answers a set": ("def main(ctx):\n    return {1, 2}", "TypeError: Type is not JSON serializable: set"),
    "answers an object": ("def main(ctx):\n    return ctx", "TypeError: Type is not JSON serializable"),
    "answers other keys": ("def main(ctx):\n    return {1: 2}", "TypeError: Dict key must be str"),
    "answers a huge number": (
        "def main(ctx):\n    return {'n': 2**60}",
        "the kernel's output cannot be stored: output.n: an integer within ±(2^53 - 1)",
    ),
    "answers no number": ("def main(ctx):\n    return {'n': float('nan')}", "the kernel's output cannot be stored"),
    "answers NUL": (
        "def main(ctx):\n    return 'a\\0'",
        "the kernel's output cannot be stored: output: text without NUL",
    ),
    "answers half a character": ("def main(ctx):\n    return '\\ud800'", ""),
    "answers itself": ("def main(ctx):\n    a = []\n    a.append(a)\n    return a", ""),
}


def require_clean(answer: Answer) -> None:
    """Neither trace nor SQL nor place in a file."""
    for word in ("Traceback", "File ", ".py", "SELECT", "universal_registry", "psycopg"):
        assert word not in answer.raw


@pytest.mark.parametrize(("source", "message"), FAILURES.values(), ids=FAILURES)
def test_a_kernel_that_fails_is_500_with_type_and_message(
    stage: Stage, tenant: str, source: str | None, message: str
) -> None:
    kernel = stage.publish(source, name="kernel_x")
    answer = stage.boot(kernel, {"a": 1}, tenant=tenant)
    assert answer.status == 500
    assert answer.error["code"] == "kernel_failed"
    assert answer.error["message"].startswith(message)
    assert len(answer.error["message"]) <= 1100
    assert answer.errors != []
    require_clean(answer)
    event, execution = stage.spans(trace_id=answer.trace_id)
    assert (event.entity_type, event.status) == ("boot_event", "started")
    assert (execution.entity_type, execution.status, execution.error) == ("execution", "error", answer.error)
    assert (execution.output, execution.input) == (None, {"a": 1})
    assert execution.duration_ms is not None
    assert verify(execution, None)
    assert stage.boot(stage.publish(NOTHING), tenant=tenant).output == {"done": True}


ABORTS = {"exits": "sys.exit(3)", "interrupts": "raise KeyboardInterrupt", "stops": "raise GeneratorExit('now')"}


@pytest.mark.parametrize("statement", ABORTS.values(), ids=ABORTS)
def test_a_kernel_cannot_end_the_loader(stage: Stage, tenant: str, statement: str) -> None:
    kernel = stage.publish(f"import sys\ndef main(ctx):\n    {statement}")
    try:
        answer = stage.boot(kernel, tenant=tenant)
    except BaseException as escaped:
        pytest.fail(f"the handler raised {escaped!r}")
    assert (answer.status, answer.error["code"]) == (500, "kernel_failed")
    assert stage.one(tenant_id=tenant, entity_type="execution").status == "error"


def test_a_failing_kernels_stack_trace_is_in_the_log_with_the_trace_id(stage: Stage) -> None:
    answer = stage.boot(stage.publish("def main(ctx):\n    return 1 / 0", name="divider"))
    traces = [line for line in answer.errors if "ZeroDivisionError" in line.get("exception", "")]
    assert len(traces) == 1
    assert traces[0]["trace_id"] == answer.trace_id
    assert "<divider seq 1>" in traces[0]["exception"]


SENTENCES = ["tags: too many of them", "你好: no", "100% {wrong} %s $1"]


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_rejected_input_is_422_with_the_kernels_own_sentence(stage: Stage, tenant: str, sentence: str) -> None:
    source = f"def main(ctx):\n    raise ctx.rejected({sentence!r}, field='tags', limit=3)"
    answer = stage.boot(stage.publish(source), {"tags": []}, tenant=tenant)
    assert answer.status == 422
    assert answer.error == {"code": "rejected", "message": sentence, "field": "tags", "limit": 3}
    assert answer.errors == []
    execution = stage.one(trace_id=answer.trace_id, entity_type="execution")
    assert (execution.status, execution.error) == ("rejected", answer.error)


def test_an_input_that_the_kernels_model_does_not_know_is_422_and_named(stage: Stage) -> None:
    source = (
        "from pydantic import BaseModel, ConfigDict\n"
        "class Input(BaseModel):\n    model_config = ConfigDict(extra='forbid')\n    size: int\n"
        "def main(ctx):\n    return ctx.parse(Input).size"
    )
    kernel = stage.publish(source)
    assert stage.boot(kernel, {"size": 3}).output == 3
    answer = stage.boot(kernel, {"size": 3, "colour": "red"})
    assert (answer.status, answer.error["field"]) == (422, "colour")
    assert answer.error["message"] == "colour: unknown field; the known ones are size"
    assert stage.boot(kernel).error["message"] == "size: is required"


LEDGER_FAILURES: dict[str, tuple[str, int, str]] = {
    "SQL that is wrong": ("ctx.ledger.query('SELEKT secret_column FROM nowhere')", 500, "internal"),
    "a table that is not there": ("ctx.ledger.query('SELECT * FROM ledger.nowhere')", 500, "internal"),
    "division by zero": ("ctx.ledger.query('SELECT 1/0')", 500, "internal"),
    "a table of others": ("ctx.ledger.query('SELECT * FROM ledger_idx.usage')", 403, "not_permitted"),
    "a change": ("ctx.ledger.query('UPDATE ledger.universal_registry SET who = who')", 403, "not_permitted"),
    "a wrong span": ("ctx.ledger.append(entity_type='note')", 422, "rejected"),
    "an unknown column": ("ctx.ledger.append(entity_type='note', colour='red')", 422, "rejected"),
    "a span of another": (
        "ctx.ledger.append(entity_type='n', who='w', did='d', this='t', owner_id='bob')",
        403,
        "not_permitted",
    ),
    "an unknown secret": ("ctx.secret('MASTER_KEY')", 500, "internal"),
}


@pytest.mark.parametrize(("call", "status", "code"), LEDGER_FAILURES.values(), ids=LEDGER_FAILURES)
def test_what_the_ledger_refuses_a_kernel_shows_no_sql_to_the_caller(
    stage: Stage, tenant: str, call: str, status: int, code: str
) -> None:
    answer = stage.boot(stage.publish(f"def main(ctx):\n    {call}"), tenant=tenant)
    assert (answer.status, answer.error["code"]) == (status, code)
    require_clean(answer)
    # The caller reads the execution span too, through the timeline.
    page = stage.send({"action": "timeline", "entity_type": "execution", "user_id": "alice", "tenant_id": tenant})
    (execution,) = page.body["spans"]
    assert execution["status"] != "complete"
    assert answer.errors != [] or status < 500
    for word in ("nowhere", "SELEKT", "relation", "sqlstate", "permission denied for table"):
        assert word not in answer.raw + page.raw


def test_an_output_too_large_for_a_span_is_answered_and_the_execution_says_so(stage: Stage) -> None:
    answer = stage.boot(stage.publish("def main(ctx):\n    return 'x' * 1_100_000"))
    assert len(answer.output) == 1_100_000
    execution = stage.one(trace_id=answer.trace_id, entity_type="execution")
    assert (execution.status, execution.output) == ("complete", None)
    assert (execution.metadata or {})["output_omitted"] == "larger than a span may be"


PLAIN: list[Any] = [None, True, 0, -1.5, "", "用户 🌙", [], {}, [1, [2, {"a": None}]], {"": {"é": 1e300}}]


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_any_json_value_is_answered_and_stored_as_it_is(stage: Stage, value: Any) -> None:
    answer = stage.boot(stage.publish(f"def main(ctx):\n    return {value!r}"))
    assert answer.output == value
    execution = stage.one(trace_id=answer.trace_id, entity_type="execution")
    assert execution.output == value
    assert verify(execution, None)
