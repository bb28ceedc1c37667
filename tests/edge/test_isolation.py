"""One tenant sees nothing of another, and nobody what is inside."""

from __future__ import annotations

from typing import Final

from tests.edge.kit import Device, enrolled
from tests.stage0_loader.stage import Stage

NOTE: Final = {"entity_type": "note", "did": "noted", "this": "x"}


def test_two_tenants_never_see_each_other(stage: Stage, device: Device) -> None:
    other, colleague = enrolled(stage, "another-tenant"), enrolled(stage, device.tenant_id)
    secret = device.append("for-me-alone")
    shared = device.append("for-us", visibility="tenant")
    for who, seen in [(device, {"for-me-alone", "for-us"}), (colleague, {"for-us"}), (other, set[str]())]:
        for path in ("/api/spans", "/api/timeline"):
            spans = who.get(path, entity_type="note", limit=1000).body["spans"]
            assert {span["this"] for span in spans} == seen
        for span in (secret, shared):
            answer = who.get(f"/api/spans/{span['id']}")
            assert answer.status == (200 if span["this"] in seen else 404)
            if answer.status == 404:
                assert device.tenant_id not in answer.raw.decode()
    taken = other.post("/api/spans", {"span": {**NOTE, "id": shared["id"], "seq": 1}})
    assert taken.status in (403, 409)
    assert shared["curr_hash"] not in taken.raw.decode()
    assert other.get("/api/metrics").body["spans"].get("note", 0) == 0


def test_what_fails_inside_is_told_to_the_log_alone(stage: Stage, device: Device) -> None:
    broken = stage.publish("def main(ctx):\n    return ctx.ledger.query('SELECT password FROM nowhere')\n")
    manifest_metadata = stage.spans(entity_type="manifest")[-1].metadata or {}
    assert str(broken) not in manifest_metadata["edge_boot_ids"]
    assert device.boot(broken, {}).status == 403
    stage.superuser.execute("ALTER FUNCTION ledger.recent_counts RENAME TO elsewhere")
    try:
        answer = device.get("/api/metrics")
    finally:
        stage.superuser.execute("ALTER FUNCTION ledger.elsewhere RENAME TO recent_counts")
    assert (answer.status, answer.error["code"]) == (500, "internal")
    assert "recent_counts" in answer.log
    for word in ("recent_counts", "SELECT", "function", "Traceback", *stage.secrets()):
        assert word not in answer.raw.decode()
