"""app_enrollment_kernel against those who send it what they should not, or want what is another tenant's."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.row.enrollment import (
    KEY_IN_USE,
    NO_APP,
    NO_CODE,
    NO_DEVICE,
    Device,
    apps,
    ask,
    enroll,
    invite,
)
from tests.stage0_loader.stage import Stage

ID = "0190a1b2-0000-7000-8000-000000000001"
GOOD = Device()
ENROLL = GOOD.enrollment("x" * 43)
REGISTER = GOOD.registration(ID)
KNOWN = "unknown field; the known ones are action"
NO_PROOF = "expected one over"
UNREADABLE = "expected text without control characters"


def without(given: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in given.items() if key != name}


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({}, "action", "is required"),
    ({"action": "enrol"}, "action", "expected 'invite', 'enroll'"),
    ({"action": ["invite"]}, "action", "expected"),
    ({"action": "invite", "user_id": "bob"}, "user_id", KNOWN),
    ({"action": "invite", "tenant_id": None}, "tenant_id", KNOWN),
    ({**ENROLL, "user_id": "user:x"}, "user_id", KNOWN),
    ({**ENROLL, "user_id": None}, "user_id", KNOWN),
    ({**ENROLL, "scopes": ["run_code_kernel"]}, "scopes", "enroll does not take it"),
    ({**ENROLL, "app_id": ID}, "app_id", "enroll does not take it"),
    ({**REGISTER, "code": "x"}, "code", "register_device does not take it"),
    ({"action": "list", "app_id": ID}, "app_id", "list does not take it"),
    ({"action": "invite", "pubkey": GOOD.pubkey}, "pubkey", "invite does not take it"),
    ({"action": "get_manifest", "limit": 1}, "limit", "get_manifest does not take it"),
    ({"action": "revoke", "cursor": "x"}, "cursor", "revoke does not take it"),
    ({"action": "invite", "scopes": []}, "scopes", "expected a list with at least 1"),
    ({"action": "invite", "scopes": "all"}, "scopes", "expected a valid list"),
    ({"action": "invite", "scopes": [7]}, "scopes.0", "expected a valid string"),
    ({"action": "invite", "scopes": ["policy_agent_kernel"]}, "scopes", "expected names of run_code_kernel"),
    ({"action": "invite", "scopes": ["memory_store_kernel", "*"]}, "scopes", "expected names of"),
    ({"action": "invite", "expires_in_minutes": 0}, "expires_in_minutes", "expected greater than or equal to 1"),
    ({"action": "invite", "expires_in_minutes": 10081}, "expires_in_minutes", "expected less than or equal to 10080"),
    ({"action": "invite", "expires_in_minutes": 1e9}, "expires_in_minutes", "expected"),
    ({"action": "invite", "expires_in_minutes": True}, "expires_in_minutes", "expected a valid integer"),
    *((without(ENROLL, name), name, "is required") for name in ENROLL if name != "action"),
    *((without(REGISTER, name), name, "is required") for name in REGISTER if name != "action"),
    *(({**ENROLL, name: None}, name, "is required") for name in ENROLL if name != "action"),
    *(
        ({**ENROLL, "pubkey": key}, "pubkey", "expected")
        for key in ("", "00", "0" * 63, "0" * 65, GOOD.pubkey.upper(), "0x" + GOOD.pubkey[2:], GOOD.pubkey + "\n",
                    "g" * 64, "٠" * 64, 7, ["00" * 32], "0" * 100_000)
    ),
    *(
        ({**ENROLL, "signature": signature}, "signature", "expected text of pattern")
        for signature in ("", "00", ENROLL["signature"].upper(), ENROLL["signature"] + "0", ENROLL["signature"][2:])
    ),
    ({**ENROLL, "signature": "0" * 128}, "signature", NO_PROOF),
    ({**ENROLL, "signature": GOOD.sign("another code")}, "signature", NO_PROOF),
    ({**ENROLL, "signature": Device().sign("x" * 43)}, "signature", NO_PROOF),
    ({**ENROLL, "pubkey": Device().pubkey}, "signature", NO_PROOF),
    ({**REGISTER, "signature": GOOD.sign(ID)}, "signature", NO_PROOF),
    ({**REGISTER, "signature": GOOD.sign(f"{ID}\nother")}, "signature", NO_PROOF),
    ({**REGISTER, "app_id": str(uuid4())}, "signature", NO_PROOF),
    *(
        ({**ENROLL, name: value}, name, UNREADABLE)
        for name in ("app_name", "app_version", "device_fingerprint")
        for value in ("", " ", "\u3000", " x", "x ", "a\nb", "a\tb", "a\x1b[31m", "a\u202eb", "a\u200bb", "a\u2028b")
    ),
    *(
        ({**ENROLL, name: value}, name, "expected")
        for name in ("app_name", "app_version", "device_fingerprint")
        for value in ("x" * 201, "🌙" * 100_000, 7, {"a": 1})
    ),
    ({**ENROLL, "code": ""}, "code", "expected"),
    ({**ENROLL, "code": "x" * 500_000}, "code", "expected"),
    ({**REGISTER, "app_id": "x"}, "app_id", "expected a valid UUID"),
    ({"action": "list", "limit": 0}, "limit", "expected"),
    ({"action": "list", "limit": 101}, "limit", "expected"),
    ({"action": "list", "cursor": "1.2.3"}, "cursor", "a cursor that an earlier page gave"),
    ({"action": "list", "cursor": "é"}, "cursor", "a cursor that an earlier page gave"),
    ({"action": "revoke"}, "app_id", "expected exactly one of"),
    ({"action": "revoke", "app_id": ID, "device_id": ID}, "app_id", "expected exactly one of"),
    ({"action": "revoke", "app_id": ID}, "app_id", "there is no such app"),
    ({"action": "revoke", "app_id": "00000000-0000-4000-8000-000000000008"}, "app_id", "there is no such app"),
    ({"action": "revoke", "device_id": ID}, "device_id", "there is no such device"),
    ({"action": "revoke", "invitation_id": ID}, "invitation_id", "there is no such invitation"),
    ({"action": "get_manifest", "app_id": ID}, "app_id", "there is no such app"),
    (REGISTER, "app_id", "there is no such app"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "field", "message"), WRONG, ids=[f"{n}-{w[1]}" for n, w in enumerate(WRONG)])
def test_what_the_kernel_does_not_accept_is_422_and_named(
    stage: Stage, tenant: str, given: dict[str, Any], field: str, message: str
) -> None:
    answer = ask(stage, given, tenant=tenant)
    assert answer.status == 422, answer.raw
    assert answer.error["field"] == field, answer.error
    assert answer.error["message"].startswith(f"{field}: {message}"), answer.error
    left = {span.entity_type for span in stage.spans(tenant_id=tenant)}
    assert left == {"boot_event", "execution"}


@pytest.mark.parametrize("given", [{"app_id": None}, {"code": None, "scopes": None, "limit": None}])
def test_null_is_the_same_as_leaving_a_field_out(stage: Stage, tenant: str, given: dict[str, Any]) -> None:
    assert ask(stage, {"action": "list", **given}, tenant=tenant).output == {"apps": [], "cursor": None}


@pytest.mark.parametrize("name", ["用户 🌙", "👩‍💻 dev", "می‌خواهم", "'; DROP TABLE x; --", "<b>&%_", "x" * 200])
def test_names_of_any_language_are_kept(stage: Stage, tenant: str, name: str) -> None:
    assert enroll(stage, tenant, Device(name), app_name=name)["app_name"] == name
    (app,) = apps(stage, tenant)
    assert (app["app_name"], app["devices"][0]["device_fingerprint"]) == (name, name)


# RFC 8032 keys that hold no secret: points of small order, and encodings of the same that are not the shortest.
WEAK_KEYS = [
    "01" + "00" * 31,
    "01" + "00" * 30 + "80",
    "00" * 32,
    "00" * 31 + "80",
    "ec" + "ff" * 30 + "7f",
    "ec" + "ff" * 31,
    "ed" + "ff" * 30 + "7f",
    "ee" + "ff" * 30 + "7f",
    "ee" + "ff" * 31,
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]
# What holds for such a key without any secret: R = [s]B, for s = 0 and s = 1.
ANYBODYS = ["01" + "00" * 63, "58" + "66" * 31 + "01" + "00" * 31]


@pytest.mark.parametrize("signature", ANYBODYS, ids=["s=0", "s=1"])
@pytest.mark.parametrize("pubkey", WEAK_KEYS)
def test_a_key_that_anybody_could_sign_for_is_refused(stage: Stage, tenant: str, pubkey: str, signature: str) -> None:
    code = invite(stage, tenant)
    answer = ask(stage, Device().enrollment(code, pubkey=pubkey, signature=signature), tenant=tenant)
    assert (answer.status, answer.error["field"]) == (422, "signature")


def test_every_wrong_code_gets_the_same_answer(stage: Stage, tenant: str) -> None:
    used, revoked = invite(stage, tenant), ask(stage, {"action": "invite"}, tenant=tenant).output
    ask(stage, Device().enrollment(used), tenant=tenant)
    ask(stage, {"action": "revoke", "invitation_id": revoked["invitation_id"]}, tenant=tenant)
    codes = {
        "never made": ("x" * 43, tenant),
        "used": (used, tenant),
        "revoked": (revoked["code"], tenant),
        "for another app": (invite(stage, tenant, app_name="viewer"), tenant),
        "of another tenant": (invite(stage, tenant + "-b"), tenant),
        "not a code": ("code' OR true --", tenant),
        "an id": (revoked["invitation_id"], tenant),
        "longer": (invite(stage, tenant) + "A", tenant),
    }
    answers = {name: ask(stage, Device().enrollment(code), tenant=where) for name, (code, where) in codes.items()}
    errors = {name: (answer.status, answer.error) for name, answer in answers.items()}
    expected = {"code": "rejected", "message": NO_CODE, "field": "code"}
    assert errors == dict.fromkeys(codes, (422, expected))


def test_a_wrong_code_tells_nothing_of_a_key(stage: Stage, tenant: str) -> None:
    device = Device()
    enroll(stage, tenant, device)
    for machine in (device, Device("x", device.key)):
        assert ask(stage, machine.enrollment("x" * 43), tenant=tenant).error["message"] == NO_CODE


def test_a_used_code_serves_no_other_key_of_the_same_app(stage: Stage, tenant: str) -> None:
    code = invite(stage, tenant)
    app = ask(stage, Device().enrollment(code), tenant=tenant).output
    phone = Device("phone")
    ask(stage, phone.registration(app["app_id"]), tenant=tenant)
    assert ask(stage, phone.enrollment(code), tenant=tenant).error["message"] == NO_CODE


def test_a_used_code_with_its_key_and_another_fingerprint_is_refused(stage: Stage, tenant: str) -> None:
    device, code = Device(), invite(stage, tenant)
    ask(stage, device.enrollment(code), tenant=tenant)
    answer = ask(stage, Device("other", device.key).enrollment(code), tenant=tenant)
    assert answer.error["message"] == KEY_IN_USE


def test_tenants_do_not_meet(stage: Stage, tenant: str) -> None:
    app, there = enroll(stage, tenant), tenant + "-b"
    invited = ask(stage, {"action": "invite"}, tenant=tenant).output
    before = len(stage.spans(tenant_id=tenant))
    attempts: list[tuple[dict[str, Any], str]] = [
        ({"action": "revoke", "app_id": app["app_id"]}, NO_APP),
        ({"action": "revoke", "device_id": app["device_id"]}, NO_DEVICE),
        ({"action": "revoke", "invitation_id": invited["invitation_id"]}, "invitation_id: there is no such invitation"),
        ({"action": "get_manifest", "app_id": app["app_id"]}, NO_APP),
        (Device("phone").registration(app["app_id"]), NO_APP),
    ]
    # Not even by the name of the app's user, which in another tenant is another person; nor from `system`.
    for user, where in (("admin", there), (app["user_id"], there), ("edge:app_enrollment", there), ("admin", "system")):
        for given, message in attempts:
            assert ask(stage, given, user=user, tenant=where).error["message"] == message
        assert app["app_id"] not in {found["app_id"] for found in apps(stage, where, user=user)}
        for entity_type in ("app_registration", "device", "invitation"):
            event = {"action": "timeline", "limit": 1000, "entity_type": entity_type}
            page = stage.send({**event, "user_id": user, "tenant_id": where})
            assert {span["tenant_id"] for span in page.body["spans"]} <= {where}
    assert len(stage.spans(tenant_id=tenant)) == before


def test_an_id_of_something_else_is_no_app_device_or_invitation(stage: Stage, tenant: str) -> None:
    app = enroll(stage, tenant)
    note = stage.append(
        {"entity_type": "note", "did": "d", "this": "t", "status": "active"}, user="admin", tenant=tenant
    )
    invitation = str(stage.spans(entity_type="invitation", tenant_id=tenant)[0].id)
    ids = {"app_id": app["app_id"], "device_id": app["device_id"], "invitation_id": invitation}
    for field in ids:
        for other in {*ids.values(), note.body["spans"][0]["id"]} - {ids[field]}:
            answer = ask(stage, {"action": "revoke", field: other}, tenant=tenant)
            assert (answer.status, answer.error["field"]) == (422, field)
            assert "there is no such" in answer.error["message"]
    assert stage.spans(tenant_id=tenant, status="revoked") == []


def test_a_cursor_of_another_tenant_opens_nothing(stage: Stage, tenant: str) -> None:
    for _ in range(2):
        enroll(stage, tenant)
    page = ask(stage, {"action": "list", "limit": 1}, tenant=tenant).output
    again = ask(stage, {"action": "list", "cursor": page["cursor"]}, tenant=tenant + "-b").output
    assert again == {"apps": [], "cursor": None}


@pytest.mark.parametrize("entity_type", ["invitation", "app_registration", "device"])
def test_nobody_appends_what_enrollment_alone_writes(stage: Stage, tenant: str, entity_type: str) -> None:
    app = enroll(stage, tenant)
    forged = {"entity_type": entity_type, "did": "d", "this": "t", "status": "active"}
    later = [{**forged, "id": app[name], "seq": 1} for name in ("app_id", "device_id")]
    for span in (forged, *later):
        answer = stage.append(span, user=app["user_id"], tenant=tenant)
        assert (answer.status, answer.error["code"]) == (403, "not_permitted")


def test_the_code_stands_nowhere(debugging: Stage, tenant: str) -> None:
    stage, device = debugging, Device()
    invited = ask(stage, {"action": "invite"}, tenant=tenant, request_id=str(uuid4()))
    code = invited.output["code"]
    answers = [
        invited,
        ask(stage, device.enrollment(code), tenant=tenant, request_id=str(uuid4())),
        ask(stage, device.enrollment(code), tenant=tenant),
        ask(stage, Device().enrollment(code), tenant=tenant),
        ask(stage, device.enrollment(code, pubkey="x"), tenant=tenant),
        ask(stage, device.enrollment(code, app_version=7), tenant=tenant),
        ask(stage, device.enrollment(code, user_id="x"), tenant=tenant),
        ask(stage, {"action": "list", "code": code}, tenant=tenant),
    ]
    assert [answer.status for answer in answers] == [200] * 3 + [422] * 5
    assert stage.places_of(code) == []
    assert all(code not in answer.log for answer in answers)
    assert all(code not in answer.raw for answer in answers[1:])
    assert all(answer.log for answer in answers)


def test_a_repeat_of_a_request_runs_nothing_and_gives_no_code_away(stage: Stage, tenant: str) -> None:
    request = {"tenant": tenant, "request_id": str(uuid4())}
    first, again = (ask(stage, {"action": "invite"}, **request) for _ in range(2))
    assert (again.output["code"], again.body["replayed"]) == ("***", True)
    assert len(stage.spans(entity_type="invitation", tenant_id=tenant)) == 1
    given, request = Device().enrollment(first.output["code"]), {**request, "request_id": str(uuid4())}
    done, repeated = (ask(stage, given, **request) for _ in range(2))
    assert (repeated.output, repeated.body["replayed"]) == (done.output, True)
    other = ask(stage, Device().enrollment(first.output["code"]), **request)
    assert (other.status, other.error["code"]) == (409, "request_conflict")
