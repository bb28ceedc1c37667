"""What callers give: bodies, queries, headers and events, right and wrong."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from stage0_loader.edge.call import MAX_BODY_BYTES
from tests.edge.kit import Device, http_event
from tests.stage0_loader.stage import MEMORY_KERNEL, Stage

NOTE: Final = {"entity_type": "note", "did": "noted", "this": "x"}
ENROLL: Final = {
    **dict.fromkeys(("code", "app_name", "app_version", "device_fingerprint"), "x"),
    "pubkey": "0" * 64,
    "signature": "0" * 128,
}
JSON: Final = {"content-type": "application/json"}


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "application/json; charset=latin1",
    ],
)
def test_a_body_that_is_no_json_by_its_own_account_is_415(device: Device, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    answer = device.send("POST", "/api/spans", headers=headers, body=json.dumps({"span": NOTE}))
    assert (answer.status, answer.error["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "Application/JSON", 'application/json;charset="UTF-8"']
)
def test_json_is_taken_however_it_is_written(device: Device, content_type: str) -> None:
    headers = {"content-type": content_type}
    body = json.dumps({"span": NOTE})
    assert device.send("POST", "/api/spans", headers=headers, body=body).status == 200
    assert device.send("POST", "/api/spans", headers=headers, body=body.encode()).status == 200


NO_JSON: Final[dict[str, str | bytes]] = {
    "nothing": "",
    "half": '{"span":',
    "a list": "[]",
    "a number": "7",
    "text": '"span"',
    "two": "{}{}",
    "NaN": '{"span": {"metadata": {"n": NaN}}}',
    "infinity": '{"input": 1e999}',
    "invalid UTF-8": b'{"span": "\xff\xfe"}',
    "UTF-16": '{"span": {}}'.encode("utf-16"),
    "a BOM": b"\xef\xbb\xbf{}",
    "a lone surrogate": '{"span": "\\ud800"}',
    "a control character": '{"span": "\x01"}',
    "a name twice": '{"span": {"this": "a", "this": "b"}}',
    "deep": "[" * 100_000,
    "deep objects": '{"a":' * 50_000,
    "deep and closed": '{"span": {"metadata": ' + '{"a":' * 900 + "1" + "}" * 902,
    "a huge number": '{"span": ' + "9" * 100_000 + "}",
}


@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON)
@pytest.mark.parametrize("path", ["/api/spans", "/api/boot"])
def test_a_body_that_is_no_json_object_is_400(device: Device, path: str, body: str | bytes) -> None:
    answer = device.send("POST", path, headers=JSON, body=body)
    assert (answer.status, answer.error["code"]) == (400, "invalid_input"), answer.raw
    assert len(answer.raw) < 2000


def test_base64_that_is_none_is_400(device: Device) -> None:
    event = http_event("POST", "/api/spans", headers={**JSON, "authorization": f"Bearer {device.token()}"}, body="%%%")
    raw, _ = device.stage.invoke({**event, "isBase64Encoded": True})
    assert raw["statusCode"] == 400


def nested(levels: int) -> Any:
    """Objects in objects."""
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize("levels", [101, 110, 250, 260, 500, 900])
def test_nesting_is_bounded(device: Device, levels: int) -> None:
    for path, given in (
        ("/api/boot", {"boot_function_id": str(MEMORY_KERNEL), "input": nested(levels)}),
        ("/api/spans", {"span": {**NOTE, "metadata": nested(levels)}}),
        ("/api/spans", {"spans": [{**NOTE, "input": nested(levels)}]}),
        (f"/api/functions/{MEMORY_KERNEL}/run", {"input": nested(levels)}),
        ("/api/enroll", nested(levels)),
    ):
        answer = device.post(path, given)
        assert (answer.status, answer.error["code"]) == (400, "invalid_input"), answer.raw


def test_what_nests_as_deeply_as_a_span_may_is_taken(device: Device) -> None:
    assert device.post("/api/spans", {"spans": [{**NOTE, "metadata": nested(100)}]}).status == 200


WRONG: Final[dict[str, tuple[str, Any, str]]] = {
    "unknown field": ("/api/boot", {"boot_function_id": str(MEMORY_KERNEL), "inputs": {}}, "inputs"),
    "action": ("/api/boot", {"action": "boot", "boot_function_id": str(MEMORY_KERNEL)}, "action"),
    "no id": ("/api/boot", {}, "boot_function_id"),
    "a wrong id": ("/api/boot", {"boot_function_id": "memory"}, "boot_function_id"),
    "an input that is none": ("/api/boot", {"boot_function_id": str(MEMORY_KERNEL), "input": []}, "input"),
    "a NUL": ("/api/boot", {"boot_function_id": str(MEMORY_KERNEL), "input": {"a": "\0"}}, "input.a"),
    "a huge integer": ("/api/boot", {"boot_function_id": str(MEMORY_KERNEL), "input": {"a": 2**60}}, "input.a"),
    "a huge span integer": ("/api/spans", {"span": {**NOTE, "metadata": {"n": 2**63}}}, "span.metadata.n"),
    "neither": ("/api/spans", {}, "span"),
    "both": ("/api/spans", {"span": NOTE, "spans": [NOTE]}, "span"),
    "no spans": ("/api/spans", {"spans": []}, "spans"),
    "a span that is none": ("/api/spans", {"spans": [NOTE, 7]}, "spans.1"),
    "a column that is none": ("/api/spans", {"spans": [{**NOTE, "colour": "red"}]}, "spans.0.colour"),
    "a hash": ("/api/spans", {"span": {**NOTE, "curr_hash": "0" * 64}}, "span.curr_hash"),
    "a run with more": (f"/api/functions/{MEMORY_KERNEL}/run", {"argument": 1}, "argument"),
    "a run of nothing": ("/api/functions/nothing/run", {}, "id"),
    "enrolment without a code": ("/api/enroll", {"app_name": "x"}, "code"),
    "enrolment as another action": ("/api/enroll", {**ENROLL, "action": "invite"}, "action"),
}


@pytest.mark.parametrize(("path", "given", "field"), WRONG.values(), ids=WRONG)
def test_a_wrong_body_is_400_and_names_the_field(device: Device, path: str, given: Any, field: str) -> None:
    answer = device.post(path, given)
    assert answer.status == 400, answer.raw
    assert answer.error["field"].startswith(field), answer.error


@pytest.mark.parametrize(
    ("path", "given", "field"),
    [
        ("/api/boot", {"boot_function_id": str(MEMORY_KERNEL), "user_id": "admin"}, "user_id"),
        ("/api/boot", {"boot_function_id": str(MEMORY_KERNEL), "tenant_id": "acme"}, "tenant_id"),
        ("/api/spans", {"span": NOTE, "tenant_id": "acme"}, "tenant_id"),
        ("/api/spans", {"span": {**NOTE, "tenant_id": "acme"}}, "span.tenant_id"),
        ("/api/spans", {"spans": [NOTE, {**NOTE, "owner_id": "admin"}]}, "spans[1].owner_id"),
        (f"/api/functions/{MEMORY_KERNEL}/run", {"user_id": None}, "user_id"),
        ("/api/enroll", {"tenant_id": "acme"}, "tenant_id"),
    ],
)
def test_nobody_says_in_a_body_who_they_are(device: Device, path: str, given: Any, field: str) -> None:
    answer = device.post(path, given)
    assert (answer.status, answer.error["field"]) == (400, field)
    assert "the device that signed the token says who calls" in answer.error["message"]


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("/api/spans", {"limit": "0"}, "limit"),
        ("/api/spans", {"limit": "1001"}, "limit"),
        ("/api/spans", {"limit": "ten"}, "limit"),
        ("/api/spans", {"limit": "1,2"}, "limit"),
        ("/api/spans", {"limit": "9" * 5000}, "limit"),
        ("/api/spans", {"before": "yesterday"}, "before"),
        ("/api/spans", {"before": "\0"}, "before"),
        ("/api/spans", {"entity_type": "\0"}, "entity_type"),
        ("/api/spans", {"entity_type": ""}, "entity_type"),
        ("/api/spans", {"user_id": "admin"}, "user_id"),
        ("/api/spans", {"tenant_id": "acme"}, "tenant_id"),
        ("/api/timeline", {"after": "now"}, "after"),
        ("/api/timeline", {"after": "é"}, "after"),
        ("/api/timeline", {"before": "x"}, "before"),
        ("/api/spans/7", {}, "id"),
        ("/api/spans/00000000-0000-4000-8000-00000000000g", {}, "id"),
        (f"/api/spans/{MEMORY_KERNEL}", {"before_seq": "-1"}, "before_seq"),
        ("/api/metrics", {"x": "1"}, "x"),
        ("/health", {"x": "1"}, "x"),
    ],
)
def test_a_wrong_query_is_400_and_names_the_field(device: Device, path: str, query: dict[str, str], field: str) -> None:
    answer = device.send("GET", path, query=query)
    assert (answer.status, answer.error["field"]) == (400, field)


@pytest.mark.parametrize("path", ["/api/spans", "/api/enroll"])
def test_what_would_be_ignored_is_refused(device: Device, path: str) -> None:
    answer = device.post(path, {}, **{"idempotency-key": str(MEMORY_KERNEL)})
    assert (answer.status, answer.error["field"]) == (400, "Idempotency-Key")
    answer = device.send("POST", path, given={}, query={"limit": "1"})
    assert (answer.status, answer.error["field"]) == (400, "limit")


def test_a_compressed_body_is_not_taken(device: Device) -> None:
    headers = {**JSON, "content-encoding": "gzip"}
    assert device.send("POST", "/api/spans", headers=headers, body=b"\x1f\x8b").status == 415


def test_a_body_is_at_most_1_mb(device: Device) -> None:
    def body(size: int) -> str:
        text = json.dumps({"boot_function_id": str(MEMORY_KERNEL), "input": {"action": "list"}})
        return text + " " * (size - len(text))

    at_limit = device.send("POST", "/api/boot", headers=JSON, body=body(MAX_BODY_BYTES))
    assert at_limit.status == 200, at_limit.raw
    for over in (
        body(MAX_BODY_BYTES + 1),
        body(MAX_BODY_BYTES + 1).encode(),
        "é" * (MAX_BODY_BYTES // 2 + 1),
        "x" * 6_000_000,
    ):
        answer = device.send("POST", "/api/boot", headers=JSON, body=over)
        assert (answer.status, answer.error["code"], answer.error["limit"]) == (413, "body_too_large", MAX_BODY_BYTES)


HEADERS: Final[list[dict[str, str]]] = [
    {"if-none-match": '"' * 5000},
    {"if-none-match": "W/"},
    {"accept-encoding": ";;;,,,q=q=q"},
    {"accept-encoding": "\0"},
    {"origin": "null"},
    {"origin": "https://evil.example\r\nset-cookie: a=b"},
    {"idempotency-key": "\0"},
    {"content-length": "-1"},
    {"x-forwarded-for": "127.0.0.1", "host": "evil.example"},
    {"x" * 10_000: "y"},
    {"": ""},
]


@pytest.mark.parametrize("headers", HEADERS)
def test_odd_headers_do_no_harm(device: Device, headers: dict[str, str]) -> None:
    answer = device.send("GET", "/api/spans", headers=headers)
    assert answer.status == 200
    assert not {"set-cookie", "access-control-allow-origin"} & set(answer.headers)


@pytest.mark.parametrize(
    "change",
    [
        {"headers": None},
        {"headers": {"authorization": 7}},
        {"queryStringParameters": None},
        {"queryStringParameters": {"limit": 7}},
        {"body": None},
        {"body": 7},
        {"body": {"span": NOTE}},
        {"requestContext": None},
        {"requestContext": []},
        {"requestContext": {}},
        {"requestContext": {"http": {}}},
        {"requestContext": {"http": {"method": 7}}},
        {"rawPath": None},
        {"rawPath": 7},
    ],
    ids=str,
)
def test_events_of_another_shape_do_no_harm(stage: Stage, change: dict[str, Any]) -> None:
    raw, _ = stage.invoke({**http_event("POST", "/api/spans"), **change})
    assert raw["statusCode"] in (400, 401)
