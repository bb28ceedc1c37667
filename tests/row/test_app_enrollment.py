"""app_enrollment_kernel: the life of invitations, apps and devices."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from ledger.ids import MANIFEST_ID, derived_id
from stage0_loader.boot import Loader
from stage0_loader.context import Context
from tests.conftest import LOADER_KEY
from tests.row.enrollment import KEY_IN_USE, NO_APP, NO_CODE, NO_DEVICE, Device, apps, ask, enroll, invite
from tests.stage0_loader.stage import MEMORY_KERNEL, Stage

EDGE_KERNELS = [
    "app_enrollment_kernel",
    "memory_store_kernel",
    "prompt_fetch_kernel",
    "provider_exec_kernel",
    "run_code_kernel",
]


@pytest.fixture
def over_https(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Boots that IAM did not let pass: the identity would come from a device's token."""
    made = Loader._context
    monkeypatch.setattr(Loader, "_context", lambda *given, **_: replace(made(*given, direct=True), direct=False))
    return stage


def test_an_invitation_answers_a_code_and_keeps_its_hash_alone(stage: Stage, tenant: str) -> None:
    before = datetime.now(UTC)
    invited = ask(stage, {"action": "invite"}, tenant=tenant).output
    assert len(invited["code"]) == 43
    assert (invited["tenant_id"], invited["app_name"], invited["scopes"]) == (tenant, None, EDGE_KERNELS)
    assert (
        timedelta(hours=24) <= datetime.fromisoformat(invited["expires_at"]) - before < timedelta(hours=24, minutes=1)
    )
    span = stage.one(id=UUID(invited["invitation_id"]))
    assert (span.entity_type, span.owner_id, span.visibility) == ("invitation", "edge:app_enrollment", "private")
    assert (span.tenant_id, span.who, span.status) == (tenant, "admin", "active")


def test_what_an_invitation_fixes_is_kept(stage: Stage, tenant: str) -> None:
    given = {"app_name": "Müller 🌙", "scopes": ["prompt_fetch_kernel", "memory_store_kernel"], "expires_in_minutes": 5}
    invited = ask(stage, {"action": "invite", **given}, tenant=tenant).output
    assert invited["scopes"] == ["memory_store_kernel", "prompt_fetch_kernel"]
    assert datetime.fromisoformat(invited["expires_at"]) < datetime.now(UTC) + timedelta(minutes=6)
    device = Device()
    other = ask(stage, device.enrollment(invited["code"]), tenant="system")
    assert (other.status, other.error["message"]) == (422, NO_CODE)
    # The same name in Unicode's other form, as another machine may write it.
    done = ask(stage, device.enrollment(invited["code"], app_name="Mu\u0308ller 🌙"), tenant="system").output
    assert (done["app_name"], done["scopes"]) == ("Müller 🌙", ["memory_store_kernel", "prompt_fetch_kernel"])


def test_enrolling_makes_an_app_a_device_and_a_user_in_the_invitations_tenant(stage: Stage, tenant: str) -> None:
    device, code = Device(), invite(stage, tenant)
    answer = ask(stage, device.enrollment(code), user="edge:stage0", tenant="system")
    done = answer.output
    app, machine = stage.one(id=UUID(done["app_id"])), stage.one(id=UUID(done["device_id"]))
    assert done["user_id"].startswith("user:")
    assert UUID(done["user_id"].removeprefix("user:")).version == 7
    for span, kind in ((app, "app_registration"), (machine, "device")):
        assert (span.entity_type, span.owner_id, span.tenant_id) == (kind, done["user_id"], tenant)
        assert (span.status, span.visibility, span.trace_id) == ("active", "tenant", answer.trace_id)
    about = {"user_id": done["user_id"], "scopes": EDGE_KERNELS}
    assert app.metadata == {**about, "app_name": "editor", "app_version": "1.0"}
    keys = {"app_id": done["app_id"], "device_fingerprint": "laptop-1", "pubkey": device.pubkey}
    assert (machine.parent_id, machine.metadata) == (app.id, {**about, **keys})
    used = stage.spans(entity_type="invitation", tenant_id=tenant)[-1]
    assert (used.seq, used.status, used.who) == (1, "used", done["user_id"])


def test_two_clients_get_two_users(stage: Stage, tenant: str) -> None:
    first, second = enroll(stage, tenant), enroll(stage, tenant)
    assert len({done[name] for done in (first, second) for name in ("app_id", "device_id", "user_id")}) == 6


def test_the_same_code_key_and_fingerprint_again_answer_the_same_registration(stage: Stage, tenant: str) -> None:
    device, code = Device(), invite(stage, tenant)
    first = ask(stage, device.enrollment(code), tenant=tenant).output
    before = stage.spans(tenant_id=tenant, entity_type="device")
    for tenant_of_caller in (tenant, "system"):
        assert ask(stage, device.enrollment(code), tenant=tenant_of_caller).output == first
    assert stage.spans(tenant_id=tenant, entity_type="device") == before


def test_a_fresh_code_answers_the_same_registration_too_and_is_used_up(stage: Stage, tenant: str) -> None:
    device = Device()
    first, fresh = enroll(stage, tenant, device), invite(stage, tenant)
    assert ask(stage, device.enrollment(fresh), tenant=tenant).output == first
    assert len(apps(stage, tenant)) == 1
    assert ask(stage, Device().enrollment(fresh), tenant=tenant).error["message"] == NO_CODE


def test_a_key_is_enrolled_once_whatever_the_fingerprint_or_tenant(stage: Stage, tenant: str) -> None:
    device = Device()
    enroll(stage, tenant, device)
    moved = Device("laptop-2", device.key)
    there = tenant + "-b"
    refused = [
        ask(stage, moved.enrollment(invite(stage, tenant)), tenant=tenant),
        ask(stage, device.enrollment(invite(stage, there)), tenant=there),
        ask(stage, moved.registration(enroll(stage, tenant)["app_id"]), tenant=tenant),
        ask(stage, device.registration(enroll(stage, tenant)["app_id"]), tenant=tenant),
        ask(stage, device.registration(enroll(stage, there)["app_id"]), tenant=there),
    ]
    assert {(answer.status, answer.error["message"], answer.error["field"]) for answer in refused} == {
        (422, KEY_IN_USE, "pubkey")
    }
    assert all(tenant not in answer.raw for answer in refused)
    assert len(stage.spans(id=UUID(apps(stage, tenant)[-1]["devices"][0]["device_id"]))) == 1


def test_a_code_whose_key_was_refused_is_still_good(stage: Stage, tenant: str) -> None:
    device, code = Device(), invite(stage, tenant)
    enroll(stage, tenant, device)
    assert ask(stage, Device("x", device.key).enrollment(code), tenant=tenant).status == 422
    assert ask(stage, Device().enrollment(code), tenant=tenant).status == 200


def later(monkeypatch: pytest.MonkeyPatch, **by: int) -> None:
    """Let time pass for kernels."""
    monkeypatch.setattr(Context, "now", lambda _: datetime.now(UTC) + timedelta(**by))


def test_a_code_expires(stage: Stage, tenant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    device, code, taken = Device(), invite(stage, tenant, expires_in_minutes=5), invite(stage, tenant)
    first = ask(stage, device.enrollment(taken), tenant=tenant).output
    later(monkeypatch, minutes=5, seconds=1)
    assert ask(stage, Device().enrollment(code), tenant=tenant).error["message"] == NO_CODE
    later(monkeypatch, days=3)
    assert ask(stage, device.enrollment(taken), tenant=tenant).output == first, "a repeat enrolls nothing"


def test_a_further_device_belongs_to_the_apps_user(stage: Stage, tenant: str) -> None:
    app, phone = enroll(stage, tenant), Device("phone")
    done = ask(stage, phone.registration(app["app_id"]), tenant=tenant)
    assert done.output == {**app, "device_id": done.output["device_id"]}
    assert done.output["device_id"] != app["device_id"]
    span = stage.one(id=UUID(done.output["device_id"]))
    assert (span.owner_id, span.who, span.parent_id) == (app["user_id"], "admin", UUID(app["app_id"]))
    assert ask(stage, phone.registration(app["app_id"]), tenant=tenant).output == done.output
    assert len(apps(stage, tenant)[0]["devices"]) == 2


def test_an_app_has_at_most_a_hundred_devices(stage: Stage, tenant: str) -> None:
    app = enroll(stage, tenant)
    for number in range(99):
        assert ask(stage, Device(f"phone-{number}").registration(app["app_id"]), tenant=tenant).status == 200
    answer = ask(stage, Device("one more").registration(app["app_id"]), tenant=tenant)
    assert (answer.status, answer.error["field"]) == (422, "app_id")
    assert "at most 100 devices" in answer.error["message"]
    revoked = ask(stage, {"action": "revoke", "app_id": app["app_id"]}, tenant=tenant).output
    assert len(revoked["devices"]) == 100
    assert {device["status"] for device in apps(stage, tenant)[0]["devices"]} == {"revoked"}


def test_apps_are_listed_newest_first_by_the_page(stage: Stage, tenant: str) -> None:
    enrolled = [enroll(stage, tenant, app_version=f"{number}.0") for number in range(5)]
    ask(stage, {"action": "revoke", "app_id": enrolled[1]["app_id"]}, tenant=tenant)  # a new version moves nothing
    cursor, pages = None, []
    for size in (2, 2, 1):
        page = ask(stage, {"action": "list", "limit": 2, "cursor": cursor}, tenant=tenant).output
        cursor = page["cursor"]
        assert len(page["apps"]) == size
        pages += page["apps"]
    assert cursor is None
    assert [app["app_id"] for app in pages] == [app["app_id"] for app in reversed(enrolled)]
    assert [app["status"] for app in pages] == ["active"] * 3 + ["revoked", "active"]
    assert [device["device_id"] for app in pages for device in app["devices"]] == [
        app["device_id"] for app in reversed(enrolled)
    ]
    assert apps(stage, tenant + "-b") == []


def test_a_page_is_found_beyond_many_versions(stage: Stage, tenant: str) -> None:
    oldest = enroll(stage, tenant)
    for _ in range(60):
        app = enroll(stage, tenant)
        ask(stage, {"action": "revoke", "app_id": app["app_id"]}, tenant=tenant)
    first = ask(stage, {"action": "list", "limit": 60}, tenant=tenant).output
    assert [app["status"] for app in first["apps"]] == ["revoked"] * 60
    second = ask(stage, {"action": "list", "limit": 60, "cursor": first["cursor"]}, tenant=tenant).output
    assert ([app["app_id"] for app in second["apps"]], second["cursor"]) == ([oldest["app_id"]], None)


@pytest.mark.parametrize("what", ["app_id", "device_id"])
def test_what_is_revoked_is_so_at_once_and_for_ever(stage: Stage, tenant: str, what: str) -> None:
    device = Device()
    app = enroll(stage, tenant, device)
    given = {"action": "revoke", what: app[what]}
    first = ask(stage, given, tenant=tenant).output
    assert (first["status"], first[what]) == ("revoked", app[what])
    assert apps(stage, tenant)[0]["devices"][0]["status"] == "revoked"
    assert apps(stage, tenant)[0]["status"] == ("revoked" if what == "app_id" else "active")
    count = len(stage.spans(tenant_id=tenant, status="revoked"))
    assert ask(stage, given, user="another admin", tenant=tenant).output == first
    assert len(stage.spans(tenant_id=tenant, status="revoked")) == count
    for code in (invite(stage, tenant), invite(stage, tenant)):
        assert ask(stage, device.enrollment(code), tenant=tenant).error["message"] == KEY_IN_USE


def test_a_device_that_came_while_its_app_was_being_revoked_is_as_dead(stage: Stage, tenant: str) -> None:
    app, phone = enroll(stage, tenant), Device("phone")
    ask(stage, {"action": "revoke", "app_id": app["app_id"]}, tenant=tenant)
    registered = stage.spans(id=UUID(app["device_id"]))[0]
    about = {**(registered.metadata or {}), "pubkey": phone.pubkey, "device_fingerprint": "phone"}
    late = registered.with_values(id=derived_id("device", phone.pubkey), metadata=about)
    stage.insert_as_admin(late, LOADER_KEY)
    assert {device["status"] for device in apps(stage, tenant)[0]["devices"]} == {"revoked"}
    answer = ask(stage, phone.enrollment(invite(stage, tenant)), tenant=tenant)
    assert answer.error["message"] == KEY_IN_USE
    ask(stage, {"action": "revoke", "app_id": app["app_id"]}, tenant=tenant)
    assert [span.status for span in stage.spans(id=late.id)] == ["active", "revoked"]


def test_a_revoked_app_takes_no_device(stage: Stage, tenant: str) -> None:
    app = enroll(stage, tenant)
    ask(stage, {"action": "revoke", "app_id": app["app_id"]}, tenant=tenant)
    answer = ask(stage, Device("phone").registration(app["app_id"]), tenant=tenant)
    assert answer.error["message"] == "app_id: this app was revoked: enroll a new one"


def test_revoking_one_device_leaves_the_others(stage: Stage, tenant: str) -> None:
    app = enroll(stage, tenant)
    phone = ask(stage, Device("phone").registration(app["app_id"]), tenant=tenant).output["device_id"]
    ask(stage, {"action": "revoke", "device_id": phone}, tenant=tenant)
    (listed,) = apps(stage, tenant)
    assert {d["device_id"]: d["status"] for d in listed["devices"]} == {phone: "revoked", app["device_id"]: "active"}


def test_an_invitation_can_be_taken_back_until_it_is_used(stage: Stage, tenant: str) -> None:
    invited = ask(stage, {"action": "invite"}, tenant=tenant).output
    given = {"action": "revoke", "invitation_id": invited["invitation_id"]}
    foreign = ask(stage, given, tenant=tenant + "-b")
    assert foreign.error["message"] == "invitation_id: there is no such invitation"
    for _ in range(2):
        assert ask(stage, given, tenant=tenant).output["status"] == "revoked"
    assert ask(stage, Device().enrollment(invited["code"]), tenant=tenant).error["message"] == NO_CODE
    enroll(stage, tenant)
    used = stage.spans(entity_type="invitation", tenant_id=tenant)[-1]
    answer = ask(stage, {"action": "revoke", "invitation_id": str(used.id)}, tenant=tenant)
    assert "revoke its app" in answer.error["message"]


def test_get_manifest_says_what_apps_may_boot(stage: Stage, tenant: str) -> None:
    answer = ask(stage, {"action": "get_manifest"}, tenant=tenant).output
    head = stage.spans(id=MANIFEST_ID)[-1]
    about = head.metadata or {}
    assert (answer["manifest_id"], answer["seq"]) == (str(MANIFEST_ID), head.seq)
    assert sorted(answer["kernels"]) == EDGE_KERNELS
    assert answer["limits"] == {"throttle": about["throttle"], "sandbox": about["sandbox"]}
    code = invite(stage, tenant, scopes=["memory_store_kernel"])
    app = ask(stage, Device().enrollment(code), tenant=tenant).output
    given = {"action": "get_manifest", "app_id": app["app_id"]}
    assert ask(stage, given, tenant=tenant).output["kernels"] == {"memory_store_kernel": str(MEMORY_KERNEL)}
    ask(stage, {"action": "revoke", "app_id": app["app_id"]}, tenant=tenant)
    assert ask(stage, given, tenant=tenant).output["kernels"] == {}


def test_over_https_nobody_invites(over_https: Stage, tenant: str) -> None:
    for given in ({"action": "invite"}, {"action": "invite", "scopes": ["memory_store_kernel"]}):
        answer = ask(over_https, given, tenant=tenant)
        assert (answer.status, answer.error["field"]) == (422, "action")
    assert over_https.spans(entity_type="invitation", tenant_id=tenant) == []


def test_over_https_a_client_enrolls_and_then_sees_its_own_app_alone(
    stage: Stage, tenant: str, request: pytest.FixtureRequest
) -> None:
    code, narrow = invite(stage, tenant), invite(stage, tenant, scopes=["memory_store_kernel"])
    other = enroll(stage, tenant)
    request.getfixturevalue("over_https")
    anonymous: dict[str, Any] = {"user": "edge:anonymous", "tenant": "system"}
    mine = ask(stage, Device().enrollment(code), **anonymous).output
    limited = ask(stage, Device().enrollment(narrow), **anonymous).output
    me: dict[str, Any] = {"user": mine["user_id"], "tenant": tenant}
    assert [app["app_id"] for app in apps(stage, tenant, user=mine["user_id"])] == [mine["app_id"]]
    assert sorted(ask(stage, {"action": "get_manifest"}, **me).output["kernels"]) == EDGE_KERNELS
    kernels = ask(stage, {"action": "get_manifest"}, user=limited["user_id"], tenant=tenant).output["kernels"]
    assert list(kernels) == ["memory_store_kernel"]
    for given, message in (
        ({"action": "revoke", "app_id": other["app_id"]}, NO_APP),
        ({"action": "revoke", "device_id": other["device_id"]}, NO_DEVICE),
        ({"action": "get_manifest", "app_id": other["app_id"]}, NO_APP),
        (Device("phone").registration(other["app_id"]), NO_APP),
    ):
        assert ask(stage, given, **me).error["message"] == message
    phone = ask(stage, Device("phone").registration(mine["app_id"]), **me).output
    assert stage.one(id=UUID(phone["device_id"])).who == mine["user_id"]
    assert ask(stage, {"action": "revoke", "app_id": mine["app_id"]}, **me).output["status"] == "revoked"
    assert ask(stage, {"action": "get_manifest"}, **me).output["kernels"] == {}


def test_over_https_whoever_is_nobody_sees_nothing(over_https: Stage) -> None:
    anonymous: dict[str, Any] = {"user": "edge:anonymous", "tenant": "system"}
    assert apps(over_https, "system", user="edge:anonymous") == []
    assert ask(over_https, {"action": "get_manifest"}, **anonymous).output["kernels"] == {}
