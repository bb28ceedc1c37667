"""app_enrollment_kernel under concurrency and sudden death: real processes, one loader each."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from ledger.ids import derived_id
from tests.row.enrollment import ENROLLMENT, KEY_IN_USE, NO_CODE, Device, apps, ask, at_once, enroll, invite
from tests.stage0_loader.stage import Stage
from tests.stage0_loader.worker import invoke


def outputs(answers: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the successful boots answered."""
    return [json.loads(answer["body"])["output"] for answer in answers if answer["statusCode"] == 200]


def messages(answers: Sequence[dict[str, Any]]) -> list[str]:
    """What the others were told."""
    return [json.loads(answer["body"])["error"]["message"] for answer in answers if answer["statusCode"] != 200]


def test_of_twenty_devices_with_one_code_exactly_one_is_enrolled(stage: Stage, tenant: str) -> None:
    code = invite(stage, tenant)
    answers = at_once(stage, [Device().enrollment(code) for _ in range(20)], tenant)
    (winner,) = outputs(answers)
    assert messages(answers) == [NO_CODE] * 19
    assert [app["app_id"] for app in apps(stage, tenant)] == [winner["app_id"]]
    assert len(stage.spans(tenant_id=tenant, entity_type="device")) == 1


def test_eight_repeats_of_one_enrollment_answer_the_same_app(stage: Stage, tenant: str) -> None:
    given = Device().enrollment(invite(stage, tenant))
    done = outputs(at_once(stage, [given] * 8, tenant))
    assert done == [done[0]] * 8
    assert len(apps(stage, tenant)) == 1


def test_eight_codes_for_one_key_answer_the_same_app(stage: Stage, tenant: str) -> None:
    device = Device()
    done = outputs(at_once(stage, [device.enrollment(invite(stage, tenant)) for _ in range(8)], tenant))
    assert done == [done[0]] * 8
    assert len(apps(stage, tenant)) == 1
    assert {span.status for span in stage.spans(tenant_id=tenant, entity_type="invitation", seq=1)} == {"used"}


def test_a_key_that_eight_tenants_want_is_one_tenants(stage: Stage, tenant: str) -> None:
    device, tenants = Device(), [f"{tenant}-{number}" for number in range(8)]
    answers = at_once(stage, [device.enrollment(invite(stage, where)) for where in tenants], "system")
    (winner,) = outputs(answers)
    assert messages(answers) == [KEY_IN_USE] * 7
    assert {where: len(apps(stage, where)) for where in tenants} == {
        where: int(where == winner["tenant_id"]) for where in tenants
    }


def test_whoever_revokes_or_registers_at_once_leaves_no_device_alive(stage: Stage, tenant: str) -> None:
    app = enroll(stage, tenant)
    revoke = {"action": "revoke", "app_id": app["app_id"]}
    one = {"action": "revoke", "device_id": app["device_id"]}
    answers = at_once(
        stage, [revoke, Device("a").registration(app["app_id"]), one, revoke, Device("b").registration(app["app_id"])],
        tenant,
    )  # fmt: skip
    assert set(messages(answers)) <= {"app_id: this app was revoked: enroll a new one"}
    (listed,) = apps(stage, tenant)
    assert {listed["status"], *(device["status"] for device in listed["devices"])} == {"revoked"}
    for device in listed["devices"]:
        (row,) = stage.superuser.execute(
            "SELECT status, app_status FROM ledger.device_for_token(%s)", [device["device_id"]]
        )
        assert (row["status"], row["app_status"]) != ("active", "active")
    assert [span.seq for span in stage.spans(id=UUID(app["app_id"]))] == [0, 1]


def test_a_loader_that_dies_in_the_middle_leaves_nothing(stage: Stage, tenant: str) -> None:
    device, code = Device(), invite(stage, tenant)
    given = device.enrollment(code)
    processes = multiprocessing.get_context("forkserver")
    event = {"action": "boot", "boot_function_id": str(ENROLLMENT), "tenant_id": tenant, "input": given}
    arguments = (stage.environment, event, processes.Barrier(1), processes.Queue())
    worker = processes.Process(target=invoke, args=arguments)
    with stage.ledger.connect("rdsadmin") as holder, holder.transaction():
        # It has written that the code is used, and waits to write the device, whose id is locked.
        lock = "SELECT pg_advisory_xact_lock(hashtextextended(%s::uuid::text, 0))"
        holder.execute(lock.encode(), [derived_id("device", device.pubkey)])
        worker.start()
        waiting = (
            "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        until = time.monotonic() + 30
        while not stage.superuser.execute(waiting.encode()).fetchall():
            assert time.monotonic() < until, "it never came to the lock"
            time.sleep(0.02)
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        worker.join(10)
    until = time.monotonic() + 30
    while stage.superuser.execute(waiting.encode()).fetchall():
        assert time.monotonic() < until, "the dead loader's statement goes on"
        time.sleep(0.02)
    assert apps(stage, tenant) == []
    assert stage.spans(tenant_id=tenant, entity_type="device") == []
    assert [span.status for span in stage.spans(tenant_id=tenant, entity_type="invitation")] == ["active"]
    assert ask(stage, given, tenant=tenant).output["status"] == "active"
