"""400 and 401: what is refused before the ledger is asked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stage0_loader.handler import handle
from tests.stage0_loader.stage import MEMORY_KERNEL, Stage

ID = str(MEMORY_KERNEL)
BOOT: dict[str, Any] = {"action": "boot", "boot_function_id": ID}
ACTIONS = "action: expected one of boot, append, timeline, health; got "
BOOT_FIELDS = "user_id, tenant_id, trace_id, action, boot_function_id, input, request_id"


def deep(levels: int) -> Any:
    """Objects in objects."""
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


WRONG: list[tuple[object, str, str]] = [
    (None, "event", "event: expected a JSON object with an action"),
    ([], "event", "event: expected a JSON object with an action"),
    ("boot", "event", "event: expected a JSON object with an action"),
    (7, "event", "event: expected a JSON object with an action"),
    ({}, "action", ACTIONS + "None"),
    ({"action": "drop"}, "action", ACTIONS + "'drop'"),
    ({"action": "Boot"}, "action", ACTIONS + "'Boot'"),
    ({"action": ["boot"]}, "action", ACTIONS + "['boot']"),
    ({"action": {"boot": 1}}, "action", ACTIONS + "{'boot': 1}"),
    ({"action": "boot"}, "boot_function_id", "boot_function_id: is required"),
    ({**BOOT, "boot_function_id": "memory"}, "boot_function_id", "boot_function_id: expected a UUID"),
    ({**BOOT, "boot_function_id": 7}, "boot_function_id", "boot_function_id: expected a UUID"),
    ({**BOOT, "boot_function_id": None}, "boot_function_id", "boot_function_id: expected a UUID"),
    ({**BOOT, "boot_function_id": [ID]}, "boot_function_id", "boot_function_id: expected a UUID"),
    ({**BOOT, "inputs": {}}, "inputs", f"inputs: unknown field; the known ones are {BOOT_FIELDS}"),
    ({**BOOT, "body": "{}"}, "body", f"body: unknown field; the known ones are {BOOT_FIELDS}"),
    ({**BOOT, "input": []}, "input", "input: expected a JSON object"),
    ({**BOOT, "input": "{}"}, "input", "input: expected a JSON object"),
    ({**BOOT, "input": None}, "input", "input: expected a JSON object"),
    ({**BOOT, "input": {"n": float("nan")}}, "input.n", "input.n: a finite number"),
    ({**BOOT, "input": {"n": [1, float("-inf")]}}, "input.n[1]", "input.n[1]: a finite number"),
    ({**BOOT, "input": {"n": 2**53}}, "input.n", "input.n: an integer within ±(2^53 - 1)"),
    ({**BOOT, "input": {"t": "a\0b"}}, "input.t", "input.t: text without NUL"),
    ({**BOOT, "input": {"t": "\ud800"}}, "input.t", "input.t: valid Unicode text without lone surrogates"),
    ({**BOOT, "input": {"a\0": 1}}, "input (a key)", "input (a key): text without NUL"),
    ({**BOOT, "input": deep(101)}, "input" + ".a" * 100, "input" + ".a" * 100 + ": at most 100 levels of nesting"),
    ({**BOOT, "input": deep(20_000)}, "input" + ".a" * 100, "input" + ".a" * 100 + ": at most 100 levels of nesting"),
    ({**BOOT, "user_id": 5}, "user_id", "user_id: expected text"),
    ({**BOOT, "user_id": ""}, "user_id", "user_id: expected "),
    ({**BOOT, "user_id": "x" * 201}, "user_id", "user_id: expected "),
    ({**BOOT, "user_id": "a\0"}, "user_id", "user_id: expected text without NUL characters"),
    ({**BOOT, "user_id": "system"}, "user_id", "user_id: expected a user other than system"),
    ({**BOOT, "tenant_id": ""}, "tenant_id", "tenant_id: expected "),
    ({**BOOT, "tenant_id": {"a": 1}}, "tenant_id", "tenant_id: expected text"),
    ({**BOOT, "tenant_id": "\udfff"}, "tenant_id", "tenant_id: expected valid Unicode text"),
    ({**BOOT, "trace_id": True}, "trace_id", "trace_id: expected text"),
    ({**BOOT, "request_id": "42"}, "request_id", "request_id: expected a UUID"),
    ({**BOOT, "owner_id": "bob"}, "owner_id", "owner_id: unknown field"),
    ({"action": "append"}, "span", "span: expected either span (one) or spans (a list)"),
    ({"action": "append", "span": {}, "spans": [{}]}, "span", "span: expected either span (one) or spans (a list)"),
    ({"action": "append", "span": []}, "span", "span: expected a JSON object"),
    ({"action": "append", "spans": []}, "spans", "spans: expected "),
    ({"action": "append", "spans": {"a": {}}}, "spans", "spans: expected a valid list"),
    ({"action": "append", "spans": [{}, 4]}, "spans.1", "spans.1: expected a JSON object"),
    ({"action": "timeline", "limit": 0}, "limit", "limit: expected greater than or equal to 1"),
    ({"action": "timeline", "limit": 1001}, "limit", "limit: expected less than or equal to 1000"),
    ({"action": "timeline", "limit": "5"}, "limit", "limit: expected a valid integer"),
    ({"action": "timeline", "limit": True}, "limit", "limit: expected a valid integer"),
    ({"action": "timeline", "before": ""}, "before", "before: expected "),
    ({"action": "timeline", "input": {}}, "input", "input: unknown field"),
    ({"action": "health", "verbose": True}, "verbose", "verbose: unknown field; the known ones are user_id"),
    ({"action": "timeline", "user_id": "system"}, "user_id", "user_id: expected a user other than system"),
]


@pytest.mark.parametrize(("event", "field", "message"), WRONG, ids=[f"{n}-{w[1][:20]}" for n, w in enumerate(WRONG)])
def test_a_wrong_event_is_400_and_names_the_field_and_what_was_expected(
    stage: Stage, event: object, field: str, message: str
) -> None:
    spans_before = len(stage.spans(did="booted"))
    answer = stage.send(event)
    assert answer.status == 400
    assert answer.error["code"] == "invalid_input"
    assert answer.error["field"] == field
    assert answer.error["message"].startswith(message)
    assert "should" not in answer.error["message"]
    assert "expected have" not in answer.error["message"]
    assert len(stage.spans(did="booted")) == spans_before
    assert answer.errors == []


def test_an_answer_of_failure_has_nothing_but_ok_error_and_trace_id(stage: Stage) -> None:
    answer = stage.send({"action": "boot", "boot_function_id": "x"})
    assert set(answer.body) == {"ok", "error", "trace_id"}
    assert set(answer.error) == {"code", "message", "field", "expected"}
    assert answer.headers == {"content-type": "application/json", "x-trace-id": answer.trace_id}


def test_a_refused_value_is_not_repeated_in_answer_or_log(stage: Stage) -> None:
    answer = stage.send({**BOOT, "input": {"content": "hunter2-is-my-secret\0"}})
    assert answer.status == 400
    assert "hunter2" not in answer.raw + answer.log


def test_the_deepest_input_that_is_allowed_boots_or_is_refused_by_its_own_name(stage: Stage) -> None:
    kernel = stage.publish("def main(ctx):\n    return None\n")
    answer = stage.boot(kernel, deep(100))
    assert answer.status == 200 or answer.error["field"].startswith("input"), answer.error["field"][:40]


def test_an_input_too_large_for_a_span_is_400_and_names_the_input(stage: Stage) -> None:
    kernel = stage.publish("def main(ctx):\n    return None\n")
    answer = stage.boot(kernel, {"text": "x" * (1024 * 1024)})
    assert answer.status == 400
    assert answer.error["field"].startswith("input"), answer.error


@pytest.mark.parametrize("trace_id", ["a\r\nset-cookie: a=b", "tab\there", "überall 🌙"])
def test_a_callers_trace_id_never_breaks_out_of_its_header(stage: Stage, trace_id: str) -> None:
    answer = stage.send({"action": "timeline", "trace_id": trace_id})
    header = answer.headers["x-trace-id"]
    assert header.isascii(), header
    assert header.isprintable(), header


V2 = {
    "version": "2.0",
    "routeKey": "$default",
    "rawPath": "/api/boot",
    "requestContext": {"http": {"method": "POST", "path": "/api/boot"}, "accountId": "1", "stage": "$default"},
    "isBase64Encoded": False,
}
V1 = {
    "resource": "/boot",
    "path": "/boot",
    "httpMethod": "POST",
    "requestContext": {"identity": {"sourceIp": "1.2.3.4"}, "resourcePath": "/boot", "authorizer": {"user_id": "eve"}},
    "multiValueHeaders": {},
}
BODIES = [
    '{"action": "health"}',
    f'{{"action": "boot", "boot_function_id": "{ID}", "user_id": "alice"}}',
    "no json",
    None,
]


@pytest.mark.parametrize("body", BODIES, ids=["health", "boot as alice", "no json", "no body"])
@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer x"}, {"Authorization": "Basic YTpi"}, None])
def test_https_without_a_verified_token_is_401_whatever_it_says(
    stage: Stage, headers: dict[str, str] | None, body: str | None
) -> None:
    raw, log = stage.invoke({**V2, "headers": headers, "body": body})
    assert raw["statusCode"] == 401
    assert json.loads(raw["body"])["error"] == {
        "code": "unauthenticated",
        "message": "No valid token: sign one with the key of an enrolled device",
    }
    assert "Bearer" not in log


@pytest.mark.parametrize(("shape", "status"), [(V2, 401), (V1, 400)], ids=["v2", "v1"])
def test_https_cannot_pass_for_a_direct_invocation(stage: Stage, shape: dict[str, Any], status: int) -> None:
    before = len(stage.spans(did="booted"))
    raw, _ = stage.invoke({**shape, **BOOT, "user_id": "alice", "tenant_id": "acme"})
    assert raw["statusCode"] == status
    assert len(stage.spans(did="booted")) == before


@pytest.mark.parametrize("event", [{"action": "nonsense"}, {**V1}, None], ids=["400", "no API's", "no object"])
def test_a_refusal_is_found_in_the_log_by_the_trace_id_of_its_answer(stage: Stage, event: object) -> None:
    answer = stage.send(event)
    assert [line["message"] for line in answer.lines] == ["refused"]
    assert answer.lines[0].get("trace_id") == answer.trace_id


def test_without_a_lambda_context_the_loader_answers_too(stage: Stage) -> None:
    assert handle(stage.loader, {"action": "health"}, None)["statusCode"] == 200
