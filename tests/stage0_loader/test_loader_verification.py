"""409: manifest and kernels that cannot be trusted do not run, and an alert tells of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from nacl.signing import SigningKey

from ledger.ids import MANIFEST_ID
from ledger.proof import verify
from tests.conftest import LOADER_KEY, ROW_KEY
from tests.stage0_loader.stage import MEMORY_KERNEL, NOTHING, UNSEEDED, Answer, Stage, manifest, row

STRANGER = SigningKey(b"a key that nobody has announced!")
HASH = "its columns do not match its hash"
UNSIGNED = "it is not signed, and trusted keys are configured"
Prepare = Callable[[Stage, UUID], None]


def tampering(assignment: str, *parameters: Any) -> Prepare:
    """Change stored columns."""
    return lambda stage, kernel: stage.tamper(assignment, kernel, parameters)


def version(key: SigningKey | None = ROW_KEY, **values: Any) -> Prepare:
    """Insert a next version with the database owner's rights."""

    def insert(stage: Stage, kernel: UUID) -> None:
        head = stage.spans(id=kernel)[-1]
        kept = {name: value for name, value in head.columns().items() if name in ("name", "code", "metadata")}
        stage.insert_as_admin(row(kernel, head.entity_type, 2000, **{**kept, **values}), key)

    return insert


def require_alarm(stage: Stage, answer: Answer, span_id: UUID, reason: str) -> None:
    """The answer, the denied boot_event, the security_alert and the ERROR line that belong to a failed check."""
    assert answer.status == 409, answer.raw
    expected = {"code": "verification_failed", "message": "Span verification failed"}
    assert answer.error == {**expected, "span_id": str(span_id), "reason": answer.error["reason"]}
    assert reason in answer.error["reason"]
    denied = stage.one(trace_id=answer.trace_id, entity_type="boot_event")
    assert (denied.status, denied.visibility) == ("denied", "private")
    alert = stage.one(trace_id=answer.trace_id, entity_type="security_alert")
    assert (alert.owner_id, alert.tenant_id, alert.visibility) == ("system", "system", "private")
    assert (alert.this, alert.error) == (str(span_id), answer.error)
    assert alert.metadata == {"user_id": denied.owner_id, "tenant_id": denied.tenant_id}
    assert alert.parent_id == denied.id
    assert verify(alert, [bytes(LOADER_KEY.verify_key).hex()])
    assert stage.spans(trace_id=answer.trace_id, entity_type="execution") == []
    (line,) = answer.errors
    assert (line["span_id"], line["trace_id"]) == (str(span_id), answer.trace_id)
    assert reason in line["reason"]


KERNEL_CASES: dict[str, tuple[Prepare, str]] = {
    "other code": (tampering("code = %s", NOTHING.replace("True", "False")), HASH),
    "other name": (tampering("name = %s", "another"), HASH),
    "other mask": (tampering("metadata = %s::jsonb", '{"mask": {}}'), HASH),
    "other trace": (tampering("trace_id = %s", "x"), HASH),
    "other hash": (tampering("curr_hash = repeat('0', 64)"), HASH),
    "signature of another": (tampering("signature = repeat('0', 128)"), "its signature is wrong"),
    "signature removed": (tampering("signature = NULL, public_key = NULL"), UNSIGNED),
    "key swapped": (tampering("public_key = repeat('0', 64)"), "is not a trusted one"),
    "unsigned version": (version(None), UNSIGNED),
    "signed by the loader": (version(LOADER_KEY), "is not a trusted one"),
    "signed by a stranger": (version(STRANGER), "is not a trusted one"),
    "paused": (version(status="paused"), "it is not an active function"),
}


@pytest.mark.parametrize(("prepare", "reason"), KERNEL_CASES.values(), ids=KERNEL_CASES)
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_a_kernel_that_cannot_be_trusted_does_not_run(
    stage: Stage, tenant: str, prepare: Prepare, reason: str, warm: bool
) -> None:
    kernel = stage.publish(NOTHING)
    if warm:
        assert stage.boot(kernel, tenant=tenant).status == 200
    prepare(stage, kernel)
    loader = stage.loader if warm else stage.new_loader()
    require_alarm(stage, stage.boot(kernel, tenant=tenant, loader=loader), kernel, reason)


def test_a_kernel_of_another_owner_does_not_run_even_if_a_row_key_signed_it(own: Stage) -> None:
    kernel = UNSEEDED
    own.insert_as_admin(row(kernel, "function", 9, name="x", code=NOTHING).with_values(owner_id="mallory"), ROW_KEY)
    require_alarm(own, own.boot(kernel), kernel, "it does not belong to the system")


def test_a_span_of_another_type_is_no_kernel(stage: Stage, tenant: str) -> None:
    kernel = stage.publish(NOTHING)
    other = UUID(int=kernel.int + 0x1000)
    stage.seed(row(other, "prompt", 1, name="a prompt", code=NOTHING))
    stage.seed(manifest(seq=stage.spans(id=MANIFEST_ID)[-1].seq + 1, allowed_boot_ids=[str(other), str(kernel)]))
    require_alarm(stage, stage.boot(other, tenant=tenant), other, "it is not an active function")
    stage.seed(manifest(seq=stage.spans(id=MANIFEST_ID)[-1].seq + 1))


MANIFEST_CASES: dict[str, tuple[Prepare, str]] = {
    "other limits": (tampering("metadata = metadata || '{\"throttle\": {}}'"), HASH),
    "signature removed": (tampering("signature = NULL, public_key = NULL"), UNSIGNED),
    "unsigned version": (version(None), UNSIGNED),
    "signed by the loader": (version(LOADER_KEY), "is not a trusted one"),
    "signed by a stranger": (version(STRANGER), "is not a trusted one"),
    "tombstone": (version(is_deleted=True), "it is not an active manifest"),
    "hidden tombstone": (version(is_deleted=True, visibility="private"), "there is no manifest"),
    "archived": (version(status="archived"), "it is not an active manifest"),
    "no list": (version(metadata={}), "the manifest is not valid: metadata.allowed_boot_ids"),
    "bad list": (version(metadata={"allowed_boot_ids": ["x"]}), "the manifest is not valid: metadata.allowed"),
    "bad limit": (
        version(metadata={"allowed_boot_ids": [], "throttle": {"per_tenant_daily_append_limit": -1}}),
        "the manifest is not valid: metadata.throttle",
    ),
}


@pytest.mark.parametrize(("prepare", "reason"), MANIFEST_CASES.values(), ids=MANIFEST_CASES)
def test_a_manifest_that_cannot_be_trusted_lets_nothing_run(own: Stage, prepare: Prepare, reason: str) -> None:
    kernel = own.publish(NOTHING)
    assert own.boot(kernel).status == 200
    prepare(own, MANIFEST_ID)
    require_alarm(own, own.boot(kernel), MANIFEST_ID, reason)
    require_alarm(own, own.boot(kernel, user="bob", loader=own.new_loader()), MANIFEST_ID, reason)


def test_a_kernel_too_deep_to_be_hashed_is_one_that_cannot_be_trusted(stage: Stage, tenant: str) -> None:
    kernel = stage.publish(NOTHING)
    stage.tamper("metadata = (repeat('{\"a\":', 150) || '1' || repeat('}', 150))::jsonb", kernel)
    require_alarm(stage, stage.boot(kernel, tenant=tenant), kernel, "")


@pytest.mark.parametrize(
    "event", [{"action": "append", "span": {"entity_type": "note", "did": "wrote", "this": "x"}}, {"action": "health"}]
)
def test_append_and_health_raise_the_alarm_about_a_manifest_too(own: Stage, event: dict[str, Any]) -> None:
    own.tamper("code = 'x'", MANIFEST_ID)
    answer = own.send(event)
    assert (answer.status, answer.error["reason"]) == (409, HASH)
    assert own.spans(entity_type="note") == []
    assert [line["span_id"] for line in answer.errors] == [str(MANIFEST_ID)], answer.log
    # Who only looks appends nothing: then the line alone is the alarm.
    assert len(own.spans(entity_type="security_alert")) == (event["action"] != "health")


def test_two_kernels_that_are_tampered_with_raise_an_alert_each(stage: Stage, tenant: str) -> None:
    kernels = [stage.publish(NOTHING) for _ in range(2)]
    for kernel in kernels:
        stage.tamper("code = code || '#'", kernel)
        assert stage.boot(kernel, tenant=tenant).status == 409
    alerts = stage.spans(entity_type="security_alert")
    assert {str(kernel) for kernel in kernels} <= {alert.this for alert in alerts}


def test_the_alert_of_one_kernel_is_not_repeated_within_the_minute(stage: Stage, tenant: str) -> None:
    kernel = stage.publish(NOTHING)
    stage.tamper("code = code || '#'", kernel)
    answers = [stage.boot(kernel, tenant=tenant) for _ in range(4)]
    assert [len(answer.errors) for answer in answers] == [1, 1, 1, 1]
    assert 1 <= len(stage.spans(entity_type="security_alert", this=str(kernel))) <= 2  # (two, if a minute ended)


@pytest.mark.parametrize("span_id", [MANIFEST_ID, MEMORY_KERNEL])
def test_an_older_version_than_the_deployment_accepts_does_not_run(stage: Stage, tenant: str, span_id: UUID) -> None:
    head = stage.spans(id=span_id)[-1].seq
    for minimum, status in ((head, 200), (head + 1, 409)):
        loader = stage.new_loader(MINIMUM_SEQS=f'{{"{span_id}": {minimum}}}')
        answer = stage.memory({"action": "list"}, tenant=tenant, loader=loader)
        assert answer.status == status
        loader.database.close()
    require_alarm(stage, answer, span_id, f"seq {head} is older than this deployment accepts")


def test_with_keys_configured_answer_and_spans_say_signed(stage: Stage, tenant: str) -> None:
    answer = stage.boot(stage.publish(NOTHING), tenant=tenant)
    assert answer.body["proof"] == "signed"
    assert {(span.metadata or {})["signed"] for span in stage.spans(trace_id=answer.trace_id)} == {True}
    assert "unsigned" not in answer.log


def test_without_keys_the_hash_alone_is_checked_and_answer_span_and_log_say_unsigned(
    stage: Stage, unsigned: Stage, tenant: str
) -> None:
    kernel = stage.publish(NOTHING)
    answer = unsigned.boot(kernel, tenant=tenant)
    assert (answer.status, answer.body["proof"]) == (200, "unsigned")
    spans = unsigned.spans(trace_id=answer.trace_id)
    assert [(span.signature, (span.metadata or {})["signed"]) for span in spans] == [(None, False), (None, False)]
    stage.tamper("code = code || '#'", kernel)
    assert unsigned.boot(kernel, tenant=tenant).error["reason"] == HASH
    assert "unsigned" in answer.log
