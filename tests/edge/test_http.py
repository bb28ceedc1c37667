"""What HTTP asks of an API: problems, methods, validators, compression, CORS, limits."""

from __future__ import annotations

from typing import Final

import pytest

from ledger.errors import Misconfigured
from stage0_loader.settings import Settings
from tests.edge.kit import Device, enrolled, http_event, send
from tests.stage0_loader.stage import MANIFEST_SEQ, Stage, loader_environment, manifest

NOTE: Final = {"entity_type": "note", "did": "noted", "this": "x"}


def test_an_error_is_a_problem_of_rfc_9457_and_the_loaders_own_error(device: Device) -> None:
    answer = device.get("/api/spans", limit=0)
    trace_id = answer.headers["x-trace-id"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"].startswith("request-")
    assert answer.body == {
        "type": "urn:loglineos:problem:invalid_input",
        "title": "Invalid input",
        "status": 400,
        "detail": "limit: expected greater than or equal to 1",
        "instance": f"urn:loglineos:trace:{trace_id}",
        "ok": False,
        "error": {
            "code": "invalid_input",
            "message": "limit: expected greater than or equal to 1",
            "field": "limit",
            "expected": "expected greater than or equal to 1",
        },
        "trace_id": trace_id,
    }
    assert f'"trace_id":"{trace_id}"' in answer.log


@pytest.mark.parametrize(
    "path", ["/", "/api", "/api/", "/api/nothing", "/api/spans/", "/API/spans", "/health/x", "//", ""]
)
def test_an_unknown_path_is_404(stage: Stage, path: str) -> None:
    answer = send(stage, "GET", path)
    assert (answer.status, answer.error["code"]) == (404, "unknown_path")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/api/spans", "GET, HEAD, POST, OPTIONS"),
        ("PUT", "/api/boot", "POST, OPTIONS"),
        ("GET", "/api/boot", "POST, OPTIONS"),
        ("HEAD", "/api/enroll", "POST, OPTIONS"),
        ("POST", "/health", "GET, HEAD, OPTIONS"),
        ("TRACE", "/api/timeline", "GET, HEAD, OPTIONS"),
        ("get ", "/health", "GET, HEAD, OPTIONS"),
    ],
)
def test_another_method_is_405_with_those_that_are_allowed(stage: Stage, method: str, path: str, allowed: str) -> None:
    answer = send(stage, method, path)
    assert (answer.status, answer.headers["allow"]) == (405, allowed)


def test_options_tells_the_methods(stage: Stage) -> None:
    answer = send(stage, "OPTIONS", "/api/spans")
    assert (answer.status, answer.raw, answer.headers["allow"]) == (204, b"", "GET, HEAD, POST, OPTIONS")
    assert send(stage, "OPTIONS", "/nowhere").status == 404


def test_head_answers_as_get_without_the_body(device: Device) -> None:
    device.append("x")
    get, head = (device.send(method, "/api/spans", headers={"accept-encoding": "gzip"}) for method in ("GET", "HEAD"))
    assert (head.status, head.raw, head.headers["etag"]) == (200, b"", get.headers["etag"])
    assert head.headers["content-type"] == "application/json"


def test_health_says_when_the_ledger_cannot_be_reached(stage: Stage) -> None:
    nowhere = stage.new_loader(DATABASE_URL="postgresql://lambda_exec:x@127.0.0.1:1/nowhere")
    answer = send(stage, "GET", "/health", loader=nowhere)
    assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (503, "ledger_unavailable", "1")
    assert "127.0.0.1" not in answer.raw.decode()


def test_a_stage_with_a_name_is_no_part_of_the_path(stage: Stage) -> None:
    event = http_event("GET", "/v1/health")
    event["requestContext"]["stage"] = "v1"
    assert stage.invoke(event)[0]["statusCode"] == 200


def test_a_quota_that_is_used_up_is_429_and_says_when_to_come_back(own: Stage) -> None:
    device = enrolled(own, "busy")
    throttle = {"per_tenant_daily_exec_limit": 100, "per_tenant_daily_append_limit": 2}
    own.seed(manifest(seq=MANIFEST_SEQ + 1, throttle=throttle))
    assert device.post("/api/spans", {"spans": [NOTE, NOTE]}).status == 200
    answer = device.post("/api/spans", {"span": NOTE})
    assert (answer.status, answer.error["code"], answer.error["limit"]) == (429, "quota_exceeded", 2)
    assert 1 <= int(answer.headers["retry-after"]) <= 86_400
    assert device.get("/api/metrics").body["quota"]["appends"]["used"] == 2


# Validators -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/spans", "/api/metrics", "/api/manifest", "/api/openapi.json", "/health"])
def test_what_has_not_changed_is_304(device: Device, path: str) -> None:
    first = device.get(path)
    again = device.get(path, headers={"if-none-match": first.headers["etag"]})
    assert (again.status, again.raw, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert first.headers["cache-control"] == "private, no-cache"
    for condition in ("*", f'"other", {first.headers["etag"]}', first.headers["etag"].removeprefix("W/")):
        assert device.get(path, headers={"if-none-match": condition}).status == 304
    assert device.get(path, headers={"if-none-match": '"other"'}).status == 200


def test_what_has_changed_is_sent(device: Device) -> None:
    span = device.append("x")
    path = f"/api/spans/{span['id']}"
    before = device.get(path)
    assert device.get(path, headers={"if-none-match": before.headers["etag"]}).status == 304
    device.append("x", id=span["id"], seq=1)
    assert device.get(path, headers={"if-none-match": before.headers["etag"]}).body["span"]["seq"] == 1


def test_what_changes_something_is_never_kept(device: Device) -> None:
    answer = device.post("/api/spans", {"span": NOTE}, **{"if-none-match": "*"})
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    assert "etag" not in answer.headers


# Compression ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [("gzip", True), ("deflate, GZIP;q=0.5", True), ("*", True), ("gzip;q=0", False), ("identity", False), ("", False)],
)
def test_a_large_answer_is_compressed_where_that_is_accepted(device: Device, accepted: str, packed: bool) -> None:
    device.append("x", metadata={"text": "word " * 2000})
    answer = device.get("/api/spans", headers={"accept-encoding": accepted})
    assert (answer.headers.get("content-encoding") == "gzip") is packed
    assert answer.body["spans"][0]["metadata"]["text"] == "word " * 2000
    assert "Accept-Encoding" in answer.headers["vary"]


def test_a_small_answer_is_not_compressed(device: Device) -> None:
    assert "content-encoding" not in device.get("/health", headers={"accept-encoding": "gzip"}).headers


# CORS -----------------------------------------------------------------------------------------------------


def test_pages_of_listed_origins_may_read(stage: Stage, device: Device) -> None:
    open_to = stage.new_loader(CORS_ORIGINS="https://app.example, chrome-extension://abc")
    headers = {"authorization": f"Bearer {device.token()}"}
    for origin, allowed in [
        ("https://app.example", "https://app.example"),
        ("chrome-extension://abc", "chrome-extension://abc"),
        ("https://evil.example", None),
        ("https://app.example.evil.example", None),
        ("*", None),
        ("null", None),
    ]:
        answer = send(stage, "GET", "/api/spans", headers={**headers, "origin": origin}, loader=open_to)
        assert answer.headers.get("access-control-allow-origin") == allowed
        assert "access-control-allow-credentials" not in answer.headers
        assert "Origin" in answer.headers["vary"]


def test_a_browser_is_told_beforehand_what_it_may_send(stage: Stage) -> None:
    asked = {"origin": "https://app.example", "access-control-request-method": "POST"}
    for origins, allowed in [("https://app.example", "https://app.example"), ("*", "*"), ("", None)]:
        loader = stage.new_loader(CORS_ORIGINS=origins)
        answer = send(stage, "OPTIONS", "/api/boot", headers=asked, loader=loader)
        assert (answer.status, answer.headers.get("access-control-allow-origin")) == (204, allowed)
        assert answer.headers["access-control-allow-methods"] == "POST, OPTIONS"
        assert "authorization" in answer.headers["access-control-allow-headers"]


def test_a_refusal_is_readable_for_the_page_too(stage: Stage) -> None:
    loader = stage.new_loader(CORS_ORIGINS="*")
    answer = send(stage, "GET", "/api/spans", headers={"origin": "https://app.example"}, loader=loader)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (401, "*")


@pytest.mark.parametrize("value", ["app.example", "https://app.example/", "https://*.example", "https://a b", "null"])
def test_origins_that_are_none_are_refused_at_the_start(stage: Stage, value: str) -> None:
    with pytest.raises(Misconfigured, match="CORS_ORIGINS"):
        Settings.from_environment(loader_environment(stage.ledger, CORS_ORIGINS=value))
