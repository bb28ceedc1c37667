"""What is secret in one span stands in no other, in no log line and in no answer."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest

from ledger.connection import Target
from stage0_loader.masking import mask
from tests.stage0_loader.proxy import closed_port, through
from tests.stage0_loader.stage import MEMORY_KERNEL, NOT_LISTED, Stage

RULES: list[tuple[Any, list[Any], Any]] = [
    ({"a": 1, "b": 2}, ["a"], {"a": "***", "b": 2}),
    ({"a": {"b": "x", "c": 1}}, ["a.b"], {"a": {"b": "***", "c": 1}}),
    ({"a": [{"b": 1}, {"b": None}, 3]}, ["a.*.b"], {"a": [{"b": "***"}, {"b": None}, 3]}),
    ({"a": {"x": 1, "y": [2]}}, ["a.*"], {"a": {"x": "***", "y": "***"}}),
    ({"a": {"deep": ["secret"]}}, ["a"], {"a": "***"}),
    ({"a": "text"}, ["a.b"], {"a": "text"}),
    ({"a": None}, ["a"], {"a": None}),
    ({}, ["a", "b.c"], {}),
    ([{"a": 1}], ["*.a"], [{"a": "***"}]),
    ({"c": 1, "k": "s"}, [{"path": "c", "when": {"k": "s"}}], {"c": "***", "k": "s"}),
    ({"c": 1, "k": "n"}, [{"path": "c", "when": {"k": "s"}}], {"c": 1, "k": "n"}),
    ({"c": 1}, [{"path": "c"}], {"c": "***"}),
]


@pytest.mark.parametrize(("value", "rules", "expected"), RULES, ids=lambda v: json.dumps(v)[:40])
def test_declared_places_are_masked_and_nothing_else(value: Any, rules: list[Any], expected: Any) -> None:
    before = json.dumps(value)
    assert mask(value, rules) == expected
    assert json.dumps(value) == before


def test_without_regard_to_conditions_all_declared_places_are_masked() -> None:
    rule = {"path": "m.*.c", "when": {"k": "s"}}
    assert mask({"m": [{"c": 1, "k": "n"}]}, [rule], always=True) == {"m": [{"c": "***", "k": "n"}]}


def needle() -> str:
    """A text that stands nowhere yet."""
    return f"needle{uuid4().hex}"


def test_the_content_given_to_store_stands_in_no_boot_event_and_no_input(stage: Stage, tenant: str) -> None:
    text = needle()
    answer = stage.memory({"action": "store", "content": text, "tags": ["t"]}, tenant=tenant)
    event, execution = (stage.one(id=answer.body[name]) for name in ("span_id", "execution_id"))
    assert event.input == execution.input == {"action": "store", "content": "***", "tags": ["t"]}
    assert stage.places_of(text) == ["execution", "memory"]
    assert text not in answer.log


def test_a_secret_content_stands_nowhere_in_the_database_or_the_log(debugging: Stage, tenant: str) -> None:
    first, second = needle(), needle()
    answers = [
        debugging.memory({"action": "store", "content": first, "sensitivity": "secret"}, tenant=tenant),
    ]
    memory_id = answers[0].output["memory"]["memory_id"]
    assert answers[0].output["memory"]["content"] == first
    for given in (
        {"action": "get", "memory_id": memory_id},
        {"action": "list"},
        {"action": "search", "search_query": "needle"},
        {"action": "update", "memory_id": memory_id, "content": second},
        {"action": "store", "content": second, "sensitivity": "secret", "limit": 3},
        {"action": "get", "memory_id": memory_id},
        {"action": "delete", "memory_id": memory_id},
    ):
        answers.append(debugging.memory(given, tenant=tenant))
    assert [answer.status for answer in answers] == [200, 200, 200, 200, 200, 422, 200, 200]
    assert answers[2].output["memories"][0]["content"] == first
    log = "".join(answer.log for answer in answers)
    for text in (first, second):
        assert debugging.places_of(text) == []
        assert text not in log


def test_a_kernels_own_rules_hold_for_output_too(stage: Stage) -> None:
    text = needle()
    rules = {"input": ["code"], "output": ["invitation.code"]}
    source = f"def main(ctx):\n    return {{'invitation': {{'code': {text[:20]!r} + {text[20:]!r}, 'n': 1}}}}"
    answer = stage.boot(stage.publish(source, metadata={"mask": rules}), {"code": text})
    assert answer.output == {"invitation": {"code": text, "n": 1}}
    execution = stage.one(id=answer.body["execution_id"])
    assert execution.output == {"invitation": {"code": "***", "n": 1}}
    assert stage.places_of(text) == []


def test_debug_shows_what_the_manual_shows_with_contents_masked(debugging: Stage, tenant: str) -> None:
    text = needle()
    given = {"action": "store", "content": text, "tags": ["ui"]}
    answer = debugging.memory(given, user="ana", tenant=tenant)
    assert answer.status == 200
    (line,) = [line for line in answer.lines if line["message"] == "kernel input"]
    assert line["level"] == "DEBUG"
    assert line["input"] == {**given, "content": "***"}
    assert line["env"] == {"user_id": "ana", "tenant_id": tenant}
    (boot,) = [line for line in answer.lines if "boot_function_id" in line]
    assert (boot["boot_function_id"], boot["trace_id"]) == (str(MEMORY_KERNEL), line["trace_id"])
    (output,) = [line for line in answer.lines if line["message"] == "kernel output"]
    assert output["output"]["memory"]["content"] == "***"
    assert text not in answer.log


def test_without_debug_no_input_is_logged(stage: Stage) -> None:
    text = needle()
    assert text not in stage.memory({"action": "search", "search_query": text}).log


def test_no_failure_puts_a_secret_of_the_deployment_into_answer_or_log(debugging: Stage) -> None:
    broken = debugging.publish("def main(ctx):\n    secret = ctx.secret('loglineos-memory-key')\n    return 1 / 0")
    showing = debugging.publish("def main(ctx):\n    raise ValueError(repr(ctx))")
    logging = debugging.publish("def main(ctx):\n    ctx.log.error('all', context=repr(ctx), its=str(ctx.settings))")
    away = debugging.new_loader(DATABASE_URL=through(debugging.environment["DATABASE_URL"], closed_port()))
    answers = [
        debugging.boot(broken),
        debugging.boot(showing),
        debugging.boot(logging),
        debugging.boot(NOT_LISTED),
        debugging.boot(debugging.publish("def main(ctx):\n    ctx.ledger.query('SELEKT')")),
        debugging.send({"action": "health"}),
        debugging.send({"action": "health"}, remaining_ms=2_100, loader=away),
    ]
    assert [answer.status for answer in answers] == [500, 500, 200, 403, 500, 200, 503]
    for secret in debugging.secrets():
        assert all(secret not in answer.raw + answer.log for answer in answers)
        assert secret not in repr(debugging.loader)
        assert debugging.places_of(secret) == []


@pytest.mark.parametrize("form", ["keywords", "query"])
def test_health_shows_no_password_however_the_connection_is_written(stage: Stage, form: str) -> None:
    password = stage.secrets()[0]
    server = stage.ledger.server
    url = {
        "keywords": f"host={server.host} port={server.port} user=lambda_exec password={password} "
        f"dbname={stage.ledger.name}",
        "query": f"postgresql://{server.host}:{server.port}/{stage.ledger.name}?user=lambda_exec&password={password}",
    }[form]
    assert Target(role="lambda_exec", url=url).parameters()["password"] == password
    loader = stage.new_loader(DATABASE_URL=url)
    answer = stage.send({"action": "health"}, loader=loader)
    loader.database.close()
    assert answer.status == 200
    assert password not in answer.raw + answer.log
