"""Every path, by real events on a real ledger."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.edge.kit import ENROLLMENT, Device, enrolled, send
from tests.stage0_loader.stage import MEMORY_KERNEL, Stage


def test_a_memory_is_stored_and_found(stage: Stage, device: Device) -> None:
    stored = device.boot(MEMORY_KERNEL, {"action": "store", "content": "the moon is full"})
    found = device.boot(MEMORY_KERNEL, {"action": "search", "search_query": "moon"})
    assert [m["memory_id"] for m in found.output["memories"]] == [stored.output["memory"]["memory_id"]]
    event = stage.one(id=stored.body["span_id"])
    assert (event.owner_id, event.tenant_id) == (device.user_id, device.tenant_id)


def test_an_idempotency_key_runs_a_boot_once(device: Device) -> None:
    key = str(uuid4())
    given = {"action": "store", "content": "once"}
    first = device.boot(MEMORY_KERNEL, given, **{"idempotency-key": key})
    again = device.boot(MEMORY_KERNEL, given, **{"idempotency-key": key})
    assert (again.body["replayed"], again.output) == (True, first.output)
    other = device.boot(MEMORY_KERNEL, {"action": "list"}, **{"idempotency-key": key})
    assert (other.status, other.error["code"]) == (409, "request_conflict")
    wrong = device.boot(MEMORY_KERNEL, given, **{"idempotency-key": "7"})
    assert (wrong.status, wrong.error["field"]) == (400, "Idempotency-Key")


def test_spans_are_appended_read_and_listed(device: Device) -> None:
    first = device.append("one")
    assert (first["owner_id"], first["tenant_id"], first["inserted"]) == (device.user_id, device.tenant_id, True)
    second = device.append("one", id=first["id"], seq=1, status="done")
    assert second["prev_hash"] == first["curr_hash"]
    many = device.post("/api/spans", {"spans": [{"entity_type": "note", "did": "noted", "this": t} for t in "ab"]})
    assert [span["this"] for span in many.body["spans"]] == ["a", "b"]
    shown = device.get(f"/api/spans/{first['id']}").body
    assert shown["span"]["seq"] == 1
    assert [version["seq"] for version in shown["versions"]] == [1, 0]
    newest = device.get("/api/spans", entity_type="note").body
    assert sorted(span["this"] for span in newest["spans"][:2]) == ["a", "b"]
    assert [(span["this"], span["seq"]) for span in newest["spans"][2:]] == [("one", 1), ("one", 0)]


def test_a_span_with_id_and_time_of_its_own_can_be_sent_again(stage: Stage, device: Device) -> None:
    own = {"id": str(uuid4()), "at": "2026-11-23T00:00:00Z"}
    first, again = (device.append("once", **own) for _ in range(2))
    assert (first["inserted"], again["inserted"]) == (True, False)
    assert again["curr_hash"] == first["curr_hash"]
    assert len(stage.spans(id=own["id"])) == 1
    third = device.post("/api/spans", {"span": {"entity_type": "note", "did": "noted", "this": "other", **own}})
    assert (third.status, third.error["code"]) == (409, "version_conflict")


def test_versions_come_in_pages(device: Device) -> None:
    span = device.append("v")
    for seq in (1, 2, 3, 4):
        device.append("v", id=span["id"], seq=seq)
    seqs: list[int] = []
    place: dict[str, int] = {}
    while True:
        page = device.get(f"/api/spans/{span['id']}", limit=2, **place).body
        assert page["span"]["seq"] == 4
        seqs += [version["seq"] for version in page["versions"]]
        if page["next_before_seq"] is None:
            break
        place = {"before_seq": page["next_before_seq"]}
    assert seqs == [4, 3, 2, 1, 0]


def test_pages_newest_first_lead_to_the_oldest(device: Device) -> None:
    for n in range(7):
        device.append(str(n))
    found: list[str] = []
    place: dict[str, str] = {}
    while page := device.get("/api/spans", limit=3, entity_type="note", **place).body["spans"]:
        found += [span["this"] for span in page]
        place = {"before": device.get("/api/spans", limit=3, entity_type="note", **place).body["cursor"]}
    assert found == list("6543210")


def test_a_function_runs(device: Device) -> None:
    code = "def main(input):\n    return {'twice': input['n'] * 2}\n"
    function = device.append("double", entity_type="function", name="double", code=code, input={"n": 4})
    assert device.post(f"/api/functions/{function['id']}/run", {"input": {"n": 21}}).output["output"] == {"twice": 42}
    assert device.post(f"/api/functions/{function['id']}/run", {}).output["output"] == {"twice": 8}
    missing = device.post(f"/api/functions/{uuid4()}/run", {})
    assert (missing.status, missing.error["field"]) == (422, "function_id")


def test_metrics_are_the_callers_own(stage: Stage, device: Device) -> None:
    before = device.get("/api/metrics").body
    device.append("counted")
    device.boot(MEMORY_KERNEL, {"action": "list"})
    device.boot(MEMORY_KERNEL, {"action": "store", "content": ""})
    enrolled(stage, "somebody-else").append("not counted")
    after = device.get("/api/metrics").body
    assert after["spans"]["note"] - before["spans"].get("note", 0) == 1
    assert after["executions"] == {"complete": 1, "rejected": 1}
    assert after["quota"]["appends"]["used"] - before["quota"]["appends"]["used"] == 1
    assert after["quota"]["executions"] | {"resets_at": ""} == {"limit": 100, "used": 0, "resets_at": ""}
    assert after["complete"] is True


def test_the_manifest_shows_what_the_app_may_boot(stage: Stage, tenant: str, device: Device) -> None:
    kernels = device.get("/api/manifest").body["kernels"]
    assert kernels["memory_store_kernel"] == str(MEMORY_KERNEL)
    assert "policy_agent_kernel" not in kernels
    narrow = enrolled(stage, tenant, scopes=["prompt_fetch_kernel"])
    assert list(narrow.get("/api/manifest").body["kernels"]) == ["prompt_fetch_kernel"]


def test_health_tells_nothing_more(stage: Stage) -> None:
    answer = send(stage, "GET", "/health")
    assert {**answer.body, "trace_id": ""} == {"ok": True, "status": "ok", "trace_id": ""}


def test_the_document_is_served(stage: Stage) -> None:
    assert send(stage, "GET", "/api/openapi.json").body["openapi"] == "3.1.0"


@pytest.mark.parametrize(
    ("kernel", "code"),
    [
        ("00000000-0000-4000-8000-000000000002", "not_allowed"),  # the observer: in the manifest, not for the edge
        ("00000000-0000-4000-8000-000000000004", "not_allowed"),  # the policy agent
        ("00000000-0000-4000-8000-0000000fffff", "not_allowed"),  # in no manifest
        (str(ENROLLMENT), "not_in_scope"),
        ("00000000-0000-4000-8000-000000000001", "not_in_scope"),
    ],
)
def test_an_app_boots_what_manifest_and_scopes_let_it(stage: Stage, tenant: str, kernel: str, code: str) -> None:
    narrow = enrolled(stage, tenant, scopes=["memory_store_kernel"])
    assert narrow.boot(MEMORY_KERNEL, {"action": "list"}).status == 200
    answer = narrow.boot(kernel, {})
    assert (answer.status, answer.error["code"], answer.error["boot_function_id"]) == (403, code, kernel)
    if code == "not_allowed":
        assert answer.error["message"] == "Boot function not allowed by manifest"
    denied = stage.one(entity_type="boot_event", status="denied", owner_id=narrow.user_id)
    assert denied.this == kernel


def test_a_kernel_knows_that_the_call_is_not_direct(device: Device) -> None:
    answer = device.boot(ENROLLMENT, {"action": "invite"})
    assert (answer.status, answer.error["field"]) == (422, "action")


def test_a_run_needs_the_scope_of_run_code(stage: Stage, tenant: str) -> None:
    narrow = enrolled(stage, tenant, scopes=["memory_store_kernel"])
    answer = narrow.post(f"/api/functions/{uuid4()}/run", {})
    assert (answer.status, answer.error["code"]) == (403, "not_in_scope")
