"""Tokens that must not get in, and what each leaves behind."""

from __future__ import annotations

import json
import multiprocessing
import time
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

import pytest

from ledger.ids import derived_id
from ledger.proof import verify
from tests.conftest import LOADER_KEY
from tests.edge.forged import ATTACKS, Forge, claims, head, other_key, signed
from tests.edge.kit import ENROLLMENT, Device, early_in_a_minute, enrolled, http_event, send
from tests.stage0_loader.stage import Stage
from tests.stage0_loader.worker import invoke

MESSAGE: Final = "No valid token: sign one with the key of an enrolled device"


def require_refused(stage: Stage, answer: Any, reason: str, device: Device | None) -> None:
    """401 that tells nothing; the reason in the log, and in an auth.decision of the system."""
    assert answer.status == 401, answer
    assert answer.error == {"code": "unauthenticated", "message": MESSAGE}
    assert answer.headers["www-authenticate"].startswith('Bearer realm="loglineos"')
    (line,) = [line for line in map(json.loads, answer.log.splitlines()) if line["message"] == "refused"]
    assert (line["reason"], line["device_id"]) == (reason, device.device_id if device else "")
    decisions = [s for s in stage.spans(entity_type="auth.decision") if (s.metadata or {})["reason"] == reason]
    of_device = [s for s in decisions if (s.metadata or {}).get("device_id") == (device.device_id if device else None)]
    assert of_device
    assert {(s.owner_id, s.tenant_id, s.visibility, s.status) for s in of_device} == {
        ("system", "system", "private", "denied")
    }


@pytest.mark.parametrize(("forge", "reason", "known"), ATTACKS.values(), ids=ATTACKS)
def test_a_bad_token_is_refused(stage: Stage, device: Device, forge: Forge, reason: str, known: bool) -> None:
    token = forge(device)
    answer = device.send("GET", "/api/spans", token=token)
    require_refused(stage, answer, reason, device if known else None)
    assert answer.headers["www-authenticate"].endswith('error="invalid_token"')
    assert token not in answer.log


@pytest.mark.parametrize("value", [None, "", "Bearer", "Bearer ", "Basic YTpi", "bearer", "Token x", "Bearer  x"])
def test_no_token_is_refused(stage: Stage, value: str | None) -> None:
    answer = send(stage, "GET", "/api/spans", headers={} if value is None else {"authorization": value})
    require_refused(stage, answer, "malformed" if value else "missing", None)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/boot"),
        ("POST", "/api/spans"),
        ("GET", "/api/spans"),
        ("GET", f"/api/spans/{ENROLLMENT}"),
        ("HEAD", "/api/spans"),
        ("GET", "/api/timeline"),
        ("POST", f"/api/functions/{ENROLLMENT}/run"),
        ("GET", "/api/metrics"),
        ("GET", "/api/manifest"),
    ],
)
def test_every_path_but_the_open_ones_needs_a_token(stage: Stage, method: str, path: str) -> None:
    answer = send(stage, method, path, given={} if method == "POST" else None)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="loglineos"'


@pytest.mark.parametrize(
    "change",
    [{}, {"iss": "editor", "sub": "me"}, {"aud": ["loglineos", "other"]}, {"iat": int(time.time()) + 10}, {"nbf": 0}],
    ids=["plain", "iss and sub", "several aud", "a clock that is fast", "nbf"],
)
def test_a_good_token_gets_in(device: Device, change: dict[str, Any]) -> None:
    assert device.send("GET", "/api/spans", token=device.token(**change)).status == 200


def test_claims_do_not_say_who_calls(device: Device) -> None:
    token = device.token(sub="admin", user_id="admin", tenant_id="acme", scopes=["policy_agent_kernel"])
    answer = device.send(
        "POST", "/api/spans", token=token, given={"span": {"entity_type": "note", "did": "noted", "this": "x"}}
    )
    span = answer.body["spans"][0]
    assert (span["owner_id"], span["tenant_id"]) == (device.user_id, device.tenant_id)


def test_the_scheme_is_taken_in_any_case(stage: Stage, device: Device) -> None:
    headers = {"Authorization": f"bEARER {device.token()}"}
    assert send(stage, "GET", "/api/spans", headers=headers).status == 200


@pytest.mark.parametrize("what", ["device_id", "app_id"])
def test_a_revoked_device_is_refused_at_once(stage: Stage, device: Device, what: str) -> None:
    other = enrolled(stage, device.tenant_id)
    token = device.token()
    assert device.send("GET", "/api/spans", token=token).status == 200
    revoked = stage.boot(
        ENROLLMENT, {"action": "revoke", what: getattr(device, what)}, user="admin", tenant=device.tenant_id
    )
    assert revoked.status == 200
    require_refused(stage, device.send("GET", "/api/spans", token=token), "revoked", device)
    assert other.get("/api/spans").status == 200


def test_a_revoked_devices_forged_token_is_told_apart_by_nobody(stage: Stage, device: Device) -> None:
    stage.boot(ENROLLMENT, {"action": "revoke", "device_id": device.device_id}, user="admin", tenant=device.tenant_id)
    require_refused(stage, device.send("GET", "/api/spans", token=other_key(device)), "wrong signature", device)


def test_a_token_changes_something_once_and_reads_many_times(stage: Stage, device: Device) -> None:
    token = device.token()
    note = {"span": {"entity_type": "note", "did": "noted", "this": "x"}}
    assert device.send("POST", "/api/spans", token=token, given=note).status == 200
    require_refused(stage, device.send("POST", "/api/spans", token=token, given=note), "replayed", device)
    require_refused(stage, device.send("POST", "/api/boot", token=token, given={}), "replayed", device)
    assert len(stage.spans(entity_type="note", owner_id=device.user_id)) == 1
    assert [device.send("GET", "/api/spans", token=token).status for _ in range(2)] == [200, 200]


def test_a_jti_is_the_devices_own(stage: Stage, device: Device) -> None:
    other = enrolled(stage, device.tenant_id)
    note = {"span": {"entity_type": "note", "did": "noted", "this": "x"}}
    answers = [d.send("POST", "/api/spans", token=d.token(jti="same"), given=note) for d in (device, other)]
    assert [answer.status for answer in answers] == [200, 200]


def test_of_many_who_replay_a_token_at_once_one_gets_in(stage: Stage, device: Device) -> None:
    body = json.dumps({"span": {"entity_type": "note", "did": "noted", "this": "race"}})
    headers = {"authorization": f"Bearer {device.token()}", "content-type": "application/json"}
    event = http_event("POST", "/api/spans", headers=headers, body=body)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.stage0_loader.worker"])
    start, answers = processes.Barrier(4), processes.Queue()
    workers = [processes.Process(target=invoke, args=(stage.environment, event, start, answers)) for _ in range(4)]
    for worker in workers:
        worker.start()
    statuses = sorted(answers.get(timeout=60)["statusCode"] for _ in workers)
    for worker in workers:
        worker.join(10)
    assert statuses == [200, 401, 401, 401]
    assert len(stage.spans(this="race", owner_id=device.user_id)) == 1


def test_used_tokens_are_forgotten_once_they_cannot_come_again(stage: Stage, device: Device) -> None:
    with stage.ledger.connect("lambda_exec") as connection:
        for n in range(5):
            connection.execute(
                "SELECT ledger.use_token(%s, %s, now() - interval '1 second')", [device.device_id, f"old-{n}"]
            )
    for n in range(4):
        device.append(str(n))
    rows = stage.superuser.execute(
        "SELECT jti FROM ledger_idx.token_use WHERE device_id = %s AND expires_at < now()", [device.device_id]
    ).fetchall()
    assert rows == []


def pass_a_minute(stage: Stage) -> None:
    """Let the refused tokens, and the spans that tell of them, be of the minute before."""
    rows = stage.superuser.execute(
        "UPDATE ledger_idx.refusal SET minute = minute - interval '1 minute' WHERE user_id = 'system' RETURNING *"
    ).fetchall()
    for found in rows:
        now, before = (found["minute"] + timedelta(minutes=1)).isoformat(), found["minute"].isoformat()
        ids = [derived_id("auth.decision", found["kind"], minute) for minute in (now, before)]
        stage.tamper("id = %s", ids[0], [ids[1]])


def test_refusals_cannot_flood_the_ledger(own: Stage) -> None:
    device = enrolled(own, "flooded")
    early_in_a_minute()
    for _ in range(10):
        device.send("GET", "/api/spans", token=other_key(device))
        send(own, "GET", "/api/spans")
        device.send("GET", "/api/spans", token=signed(device, head(device, kid=str(uuid4())), claims()))
    assert len(own.spans(entity_type="auth.decision")) == 3
    pass_a_minute(own)
    send(own, "GET", "/api/spans")
    totals = own.spans(entity_type="auth.decision", seq=1)
    assert [(span.metadata or {})["count"] for span in totals] == [10, 10, 10]
    assert all(verify(span, [bytes(LOADER_KEY.verify_key).hex()]) for span in totals)
    assert len(own.spans(entity_type="auth.decision")) == 3 + 3 + 1


def test_who_is_refused_is_refused_even_where_it_cannot_be_recorded(own: Stage) -> None:
    early_in_a_minute()
    assert send(own, "GET", "/api/spans").status == 401
    own.superuser.execute("DELETE FROM ledger_idx.refusal")
    answer = send(own, "GET", "/api/spans")
    assert answer.status == 401
    assert "could not be recorded" in answer.log


def test_without_a_ledger_nobody_gets_in(stage: Stage, device: Device) -> None:
    nowhere = stage.new_loader(DATABASE_URL="postgresql://lambda_exec:x@127.0.0.1:1/nowhere")
    event = http_event("GET", "/api/spans", headers={"authorization": f"Bearer {device.token()}"})
    raw, _ = stage.invoke(event, remaining_ms=2500, loader=nowhere)
    assert raw["statusCode"] == 503
    assert "127.0.0.1" not in raw["body"]


def test_a_token_of_another_deployment_is_refused(stage: Stage, device: Device) -> None:
    other = stage.new_loader(TOKEN_AUDIENCE="staging")
    headers = {"authorization": f"Bearer {device.token()}"}
    require_refused(stage, send(stage, "GET", "/api/spans", headers=headers, loader=other), "wrong audience", device)
    headers = {"authorization": f"Bearer {device.token(aud='staging')}"}
    assert send(stage, "GET", "/api/spans", headers=headers, loader=other).status == 200
