"""What is run for its owner later is within the app's scopes too, and ends with the app."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.edge.kit import ENROLLMENT, enrolled
from tests.row.queue_kit import ECHO, WORKER, agent, executions
from tests.stage0_loader.stage import Stage

FUNCTION = {"entity_type": "function", "did": "wrote", "this": "function", "name": "f", "code": ECHO}


@pytest.mark.parametrize("entity_type", ["function", "request", "policy"])
def test_without_the_scope_of_running_nothing_is_left_to_be_run(stage: Stage, tenant: str, entity_type: str) -> None:
    device = enrolled(stage, tenant, scopes=["memory_store_kernel"])
    answer = device.post("/api/spans", {"spans": [{**FUNCTION, "entity_type": entity_type}]})
    assert (answer.status, answer.body["error"]["code"]) == (403, "not_in_scope")
    assert device.post("/api/spans", {"span": {"entity_type": "note", "did": "said", "this": "it"}}).status == 200


def test_a_revoked_app_runs_nothing_more(stage: Stage, tenant: str) -> None:
    device = enrolled(stage, tenant)
    function = device.post("/api/spans", {"span": {**FUNCTION, "metadata": {"schedule": "* * * * *"}}}).body["spans"][0]
    request = {"entity_type": "request", "did": "r", "this": "r", "status": "scheduled", "parent_id": function["id"]}
    assert device.post("/api/spans", {"span": request}).status == 200
    (app,) = stage.spans(entity_type="app_registration", tenant_id=tenant)
    revoked = stage.boot(ENROLLMENT, {"action": "revoke", "app_id": str(app.id)}, user="admin", tenant=tenant).output
    assert revoked["withdrawn"] == 2
    agent(stage, WORKER)
    assert executions(stage, UUID(function["id"])) == []


@pytest.mark.parametrize("field", ["app_version", "device_fingerprint", "code"])
def test_who_has_proved_nothing_writes_little(stage: Stage, tenant: str, field: str) -> None:
    device = enrolled(stage, tenant)
    before = len(stage.spans(entity_type="boot_event"))
    body = {"code": "c", "app_name": "a", "app_version": "1", "device_fingerprint": "f", "pubkey": "0" * 64,
            "signature": "0" * 128, field: "x" * 201}  # fmt: skip
    assert device.post("/api/enroll", body).status == 400
    assert len(stage.spans(entity_type="boot_event")) == before
