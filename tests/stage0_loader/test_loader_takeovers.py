"""Takeovers through `append`: what a caller may not become, write, or lay hands on."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from ledger.database import Identity
from ledger.ids import MANIFEST_ID, derived_id, new_id
from stage0_loader.claim import claim_id
from stage0_loader.permitted import RESERVED_TYPES
from tests.stage0_loader.stage import MEMORY_KERNEL, NOTHING, Stage

NOTE: dict[str, Any] = {"entity_type": "note", "did": "wrote", "this": "it"}
LEDGER_MD_RESERVED = [
    "boot_event",
    "execution",
    "device",
    "app_registration",
    "status_patch",
    "policy_cursor",
    "policy_error",
    "policy_violation",
    "security_alert",
    "auth.decision",
    "checkpoint",
    "archive",
    "manifest",
    "prompt",
    "provider",
]


def require_refused(stage: Stage, tenant: str, span: dict[str, Any], status: int, message: str) -> None:
    """Refused alone and within a batch, and nothing of the batch is appended."""
    before = len(stage.spans(did="wrote"))
    event = {"action": "append", "span": span, "user_id": "alice", "tenant_id": tenant}
    alone, batch = stage.send(event), stage.append(NOTE, span, NOTE, tenant=tenant)
    assert (alone.status, batch.status) == (status, status), (alone.raw, batch.raw)
    assert message in alone.error["message"]
    assert "universal_registry" not in alone.raw + batch.raw
    assert len(stage.spans(did="wrote")) == before


def test_the_reserved_types_are_those_of_the_contract() -> None:
    assert set(LEDGER_MD_RESERVED) | {"invitation"} <= RESERVED_TYPES


@pytest.mark.parametrize("entity_type", sorted(RESERVED_TYPES))
@pytest.mark.parametrize("where", ["own", "system"])
def test_a_reserved_type_is_403(stage: Stage, tenant: str, entity_type: str, where: str) -> None:
    place = tenant if where == "own" else "system"
    message = f"entity_type: {entity_type} spans are written by the system alone"
    require_refused(stage, place, {**NOTE, "entity_type": entity_type}, 403, message)


SYSTEM_IDS = [
    MEMORY_KERNEL,
    MANIFEST_ID,
    "00000000-0000-4000-8000-0000deadbeef",
    "00000000-0000-4000-8000-000000000000",
]


@pytest.mark.parametrize("span_id", [*SYSTEM_IDS, derived_id("anything"), str(derived_id("x")).upper()], ids=str)
@pytest.mark.parametrize("entity_type", ["note", "function", "policy"])
def test_an_id_of_the_system_is_403(stage: Stage, tenant: str, span_id: object, entity_type: str) -> None:
    span = {**NOTE, "entity_type": entity_type, "id": str(span_id), "code": NOTHING}
    require_refused(stage, tenant, span, 403, "this range of ids belongs to the system")
    require_refused(stage, tenant, {**span, "seq": 2**31 - 1}, 403, "this range of ids belongs to the system")


@pytest.mark.parametrize("status", [None, "running", "complete", "dead", "Scheduled", ""])
def test_a_request_that_is_not_scheduled_is_403(stage: Stage, tenant: str, status: str | None) -> None:
    span = {**NOTE, "entity_type": "request", "status": status}
    require_refused(stage, tenant, span, 403, "a caller's request begins as 'scheduled'")


def test_a_scheduled_request_and_functions_and_policies_of_the_own_tenant_are_appended(
    stage: Stage, tenant: str
) -> None:
    for entity_type in ("function", "policy", "request"):
        span = {**NOTE, "entity_type": entity_type, "status": "scheduled", "parent_id": str(new_id())}
        span |= {"code": "def main(input):\n    return 1\n\ndef on(span):\n    return []\n"}
        span |= {"metadata": {"watches": ["note"]}}
        answer = stage.append(span, tenant=tenant)
        assert answer.status == 200, answer.raw


def test_a_request_names_its_function_is_asked_once_and_can_be_withdrawn(stage: Stage, tenant: str) -> None:
    span = {**NOTE, "id": str(new_id()), "entity_type": "request", "status": "scheduled", "parent_id": str(new_id())}
    require_refused(stage, tenant, {**span, "parent_id": None}, 400, "parent_id: is required")
    assert stage.append(span, tenant=tenant).status == 200
    require_refused(stage, tenant, {**span, "seq": 1}, 403, "is not asked for again")
    assert stage.append({**span, "seq": 1, "is_deleted": True}, tenant=tenant).status == 200
    require_refused(stage, tenant, {**span, "seq": 2}, 403, "is not asked for again")


@pytest.mark.parametrize("entity_type", ["note", "request", "function"])
def test_nobody_makes_up_which_policies_led_to_a_span(stage: Stage, tenant: str, entity_type: str) -> None:
    span = {**NOTE, "entity_type": entity_type, "status": "scheduled", "metadata": {"caused_by": None}}
    require_refused(stage, tenant, span, 403, "metadata.caused_by: is filled in by the system alone")


@pytest.mark.parametrize("entity_type", ["function", "policy"])
def test_functions_and_policies_of_tenant_system_are_403(stage: Stage, entity_type: str) -> None:
    require_refused(stage, "system", {**NOTE, "entity_type": entity_type}, 403, "come from the seed alone")


@pytest.mark.parametrize(
    ("column", "value"),
    [("owner_id", "bob"), ("owner_id", "system"), ("owner_id", None), ("tenant_id", "system"), ("tenant_id", None)],
)
def test_the_owner_and_tenant_of_another_are_403(stage: Stage, tenant: str, column: str, value: object) -> None:
    require_refused(stage, tenant, {**NOTE, column: value}, 403, f"{column}: a caller appends as")


def test_a_public_span_is_403_whatever_its_type(stage: Stage, tenant: str) -> None:
    require_refused(stage, tenant, {**NOTE, "visibility": "public"}, 403, "public spans come from the seed alone")


GIVEN = {
    "curr_hash": "0" * 64,
    "signature": "0" * 128,
    "public_key": "0" * 64,
    "era": 1,
    "xid": 1,
    "position": 1,
}


@pytest.mark.parametrize(("column", "value"), [*GIVEN.items(), *((name, None) for name in GIVEN)])
def test_proof_and_place_are_given_by_the_ledger_and_by_nobody_else(
    stage: Stage, tenant: str, column: str, value: object
) -> None:
    require_refused(stage, tenant, {**NOTE, column: value}, 400, f"{column}: is given by the ledger; leave it out")


@pytest.mark.parametrize("seq", [0, 1, 999])
@pytest.mark.parametrize("entity_type", ["note", "memory"])
@pytest.mark.parametrize(("user", "suffix"), [("bob", ""), ("alice", "-b")])
def test_a_version_of_someone_elses_span_is_403_and_tells_nothing_of_it(
    stage: Stage, tenant: str, seq: int, entity_type: str, user: str, suffix: str
) -> None:
    span_id = str(new_id())
    mine = {**NOTE, "entity_type": entity_type, "id": span_id}
    assert stage.append(mine, user=user, tenant=tenant + suffix).status == 200
    answer = stage.append({**mine, "seq": seq, "metadata": {"mine": 1}}, tenant=tenant)
    assert answer.status == 403
    assert answer.error == {"code": "not_permitted", "message": f"span {span_id} is not yours to append to"}
    assert len(stage.spans(id=span_id)) == 1


def test_a_shared_memory_of_a_colleague_cannot_be_continued_either(stage: Stage, tenant: str) -> None:
    memory = stage.store("ours", user="bob", tenant=tenant, visibility="tenant")
    head = stage.one(id=memory["memory_id"])
    version = {**NOTE, "entity_type": "memory", "id": memory["memory_id"], "seq": 1}
    for prev_hash in (None, head.curr_hash, "0" * 64):
        assert stage.append({**version, "prev_hash": prev_hash}, tenant=tenant).status == 403
    assert len(stage.spans(id=head.id)) == 1


@pytest.mark.parametrize("change", [{"entity_type": "other"}, {"prev_hash": "0" * 64}, {"seq": 0, "prev_hash": None}])
def test_a_version_that_breaks_the_own_chain_is_409(stage: Stage, tenant: str, change: dict[str, Any]) -> None:
    span_id = str(new_id())
    stage.append({**NOTE, "id": span_id, "seq": 3}, tenant=tenant)
    answer = stage.append({**NOTE, "id": span_id, "seq": 4, **change}, tenant=tenant)
    assert (answer.status, answer.error["code"]) == (409, "version_conflict")
    assert len(stage.spans(id=span_id)) == 1


def test_a_first_version_with_a_prev_hash_is_refused(stage: Stage, tenant: str) -> None:
    assert stage.append({**NOTE, "prev_hash": "0" * 64}, tenant=tenant).status == 403


def test_the_id_of_a_request_to_come_cannot_be_taken_before(stage: Stage, tenant: str) -> None:
    request = uuid4()
    span_id = claim_id(Identity("alice", tenant), request)
    assert stage.append({**NOTE, "id": str(span_id)}, user="mallory", tenant=tenant).status == 403
    assert stage.boot(stage.publish(NOTHING), tenant=tenant, request_id=str(request)).status == 200


@pytest.mark.parametrize("entity_type", ["boot_event", "execution", "note"])
def test_an_audit_span_of_ones_own_cannot_be_continued(stage: Stage, tenant: str, entity_type: str) -> None:
    answer = stage.boot(stage.publish(NOTHING), tenant=tenant)
    for name in ("span_id", "execution_id"):
        span = {**NOTE, "entity_type": entity_type, "id": answer.body[name], "seq": 1}
        assert stage.append(span, tenant=tenant).status in (403, 409)
        assert len(stage.spans(id=answer.body[name])) == 1
