"""403 and 404: kernels that the manifest does not list, or the ledger does not have; and what refusals leave."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from ledger.ids import MANIFEST_ID, derived_id
from ledger.proof import verify
from tests.conftest import LOADER_KEY
from tests.stage0_loader.stage import NOT_LISTED, NOTHING, UNSEEDED, Stage, manifest


@pytest.fixture(autouse=True)
def _early_in_a_minute() -> None:
    """What is counted by the minute is tried within one."""
    left = 60 - time.time() % 60
    if left < 3:
        time.sleep(left)


def pass_a_minute(stage: Stage, tenant: str) -> None:
    """Let the refusals of a tenant, and the spans that tell of them, be of the minute before."""
    rows = stage.superuser.execute(
        "UPDATE ledger_idx.refusal SET minute = minute - interval '1 minute' WHERE tenant_id = %s RETURNING *", [tenant]
    ).fetchall()
    for found in rows:
        parts = ("refusal", tenant, found["user_id"], found["kind"])
        now, before = found["minute"] + timedelta(minutes=1), found["minute"]
        stage.tamper("id = %s", derived_id(*parts, now.isoformat()), [derived_id(*parts, before.isoformat())])


def test_a_kernel_outside_the_manifest_is_403_with_its_id(stage: Stage, tenant: str) -> None:
    answer = stage.boot(NOT_LISTED, {"a": 1}, tenant=tenant)
    assert answer.status == 403
    assert answer.body == {
        "ok": False,
        "error": {
            "code": "not_allowed",
            "message": "Boot function not allowed by manifest",
            "boot_function_id": str(NOT_LISTED),
        },
        "trace_id": answer.trace_id,
    }
    assert [line["message"] for line in answer.lines] == ["boot", "refused"]


def test_a_kernel_that_exists_but_is_not_listed_does_not_run(stage: Stage, tenant: str) -> None:
    stage.publish(NOTHING, kernel=NOT_LISTED)
    assert stage.boot(NOT_LISTED, tenant=tenant).status == 403
    assert stage.spans(tenant_id=tenant, entity_type="execution") == []


def test_a_listed_kernel_that_is_not_in_the_ledger_is_404(stage: Stage, tenant: str) -> None:
    answer = stage.boot(UNSEEDED, tenant=tenant)
    assert answer.status == 404
    assert answer.error == {
        "code": "not_found",
        "message": "Function span not found",
        "boot_function_id": str(UNSEEDED),
    }


def test_a_kernel_with_a_tombstone_is_404(stage: Stage, tenant: str) -> None:
    kernel = stage.publish(NOTHING)
    assert stage.boot(kernel, tenant=tenant).status == 200
    stage.publish(None, kernel=kernel, seq=2, is_deleted=True, status="deleted")
    assert stage.boot(kernel, tenant=tenant).error["message"] == "Function span not found"


@pytest.mark.parametrize(("kernel", "status"), [(NOT_LISTED, 403), (UNSEEDED, 404)])
def test_a_refused_boot_leaves_a_denied_boot_event_of_the_caller_and_no_execution(
    stage: Stage, tenant: str, kernel: object, status: int
) -> None:
    answer = stage.send(
        {"action": "boot", "boot_function_id": str(kernel), "input": {"content": "hush"}, "tenant_id": tenant}
    )
    assert answer.status == status
    span = stage.one(tenant_id=tenant)
    assert (span.entity_type, span.status, span.did, span.who) == ("boot_event", "denied", "booted", "edge:stage0")
    assert (span.owner_id, span.visibility, span.trace_id) == ("edge:stage0", "private", answer.trace_id)
    assert span.metadata is not None
    assert span.metadata["boot_function_id"] == str(kernel)
    assert span.metadata["error"]["message"] == answer.error["message"]
    assert span.input is None
    assert verify(span, [bytes(LOADER_KEY.verify_key).hex()])


def test_refusals_of_a_minute_are_one_span_and_their_total_follows_when_it_is_over(stage: Stage, tenant: str) -> None:
    for _ in range(5):
        assert stage.boot(NOT_LISTED, tenant=tenant).status == 403
    pass_a_minute(stage, tenant)
    first = stage.one(tenant_id=tenant)
    assert stage.boot(NOT_LISTED, tenant=tenant).status == 403
    total = stage.one(tenant_id=tenant, seq=1)
    assert (total.id, total.status, total.prev_hash) == (first.id, "denied", first.curr_hash)
    assert (total.metadata or {})["count"] == 5
    assert verify(total, None)


def test_a_total_is_written_once(stage: Stage, tenant: str) -> None:
    for _ in range(3):
        stage.boot(NOT_LISTED, tenant=tenant)
    pass_a_minute(stage, tenant)
    for _ in range(3):
        assert stage.boot(NOT_LISTED, tenant=tenant).status == 403
    assert len(stage.spans(tenant_id=tenant, seq=1)) == 1


def test_a_single_refusal_needs_no_total(stage: Stage, tenant: str) -> None:
    stage.boot(NOT_LISTED, tenant=tenant)
    pass_a_minute(stage, tenant)
    assert stage.boot(NOT_LISTED, tenant=tenant).status == 403
    assert stage.spans(tenant_id=tenant, seq=1) == []


def test_a_refusal_stays_what_it_is_when_the_counter_was_lost(stage: Stage, tenant: str) -> None:
    assert stage.boot(NOT_LISTED, tenant=tenant).status == 403
    stage.superuser.execute("DELETE FROM ledger_idx.refusal WHERE tenant_id = %s", [tenant])
    assert stage.boot(NOT_LISTED, tenant=tenant).status == 403


def test_the_total_of_a_minute_is_written_at_the_next_refusal_of_any_kind(stage: Stage, tenant: str) -> None:
    for _ in range(3):
        stage.boot(NOT_LISTED, tenant=tenant)
    pass_a_minute(stage, tenant)
    assert stage.boot(UNSEEDED, tenant=tenant).status == 404
    assert [(span.metadata or {})["count"] for span in stage.spans(tenant_id=tenant, seq=1)] == [3]


def test_refusals_are_counted_for_each_caller_tenant_and_kind(stage: Stage, tenant: str) -> None:
    for user, where in (("ana", tenant), ("ana", tenant), ("bob", tenant), ("ana", tenant + "-b")):
        stage.boot(NOT_LISTED, user=user, tenant=where)
        stage.boot(UNSEEDED, user=user, tenant=where)
    spans = [*stage.spans(tenant_id=tenant), *stage.spans(tenant_id=tenant + "-b")]
    kinds = {(span.owner_id, span.tenant_id, (span.metadata or {})["error"]["code"]) for span in spans}
    assert len(kinds) == 6


def test_a_denied_request_may_be_repeated_once_it_is_allowed(own: Stage) -> None:
    request = "6f1de1ae-32b6-4c44-8b8c-54d1f2a1f0aa"
    assert own.boot(NOT_LISTED, request_id=request).status == 403
    own.publish(NOTHING, kernel=NOT_LISTED)
    allowed = [*(own.spans(id=MANIFEST_ID)[-1].metadata or {})["allowed_boot_ids"], str(NOT_LISTED)]
    own.seed(manifest(seq=1001, allowed_boot_ids=allowed))
    assert own.boot(NOT_LISTED, request_id=request).output == {"done": True}
