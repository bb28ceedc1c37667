"""POST /api/enroll: the one call that changes something without a token."""

from __future__ import annotations

from nacl.signing import SigningKey

from stage0_loader.edge.operations import CALLS_IN_ALL, CALLS_OF_SOURCE
from tests.edge.kit import Device, early_in_a_minute, enrolled, enrollment, invitation, send
from tests.stage0_loader.stage import Stage


def test_a_device_enrols_and_calls(stage: Stage, tenant: str) -> None:
    key = SigningKey.generate()
    given = enrollment(invitation(stage, tenant), key)
    found = send(stage, "POST", "/api/enroll", given=given, source="198.51.100.1").output
    assert found["tenant_id"] == tenant
    assert found["user_id"].startswith("user:")
    device = Device(stage, found["device_id"], found["user_id"], tenant, found["app_id"], key)
    assert device.get("/api/spans").status == 200
    again = send(stage, "POST", "/api/enroll", given=given, source="198.51.100.1")
    assert again.output == found


def test_a_code_serves_once_and_stands_nowhere(stage: Stage, tenant: str) -> None:
    code = invitation(stage, tenant)
    assert send(
        stage, "POST", "/api/enroll", given=enrollment(code, SigningKey.generate()), source="198.51.100.2"
    ).output
    answer = send(stage, "POST", "/api/enroll", given=enrollment(code, SigningKey.generate()), source="198.51.100.2")
    assert (answer.status, answer.error["field"]) == (422, "code")
    assert stage.places_of(code) == []


def test_what_it_leaves_is_the_loaders_own(stage: Stage, tenant: str) -> None:
    answer = send(
        stage, "POST", "/api/enroll", given=enrollment("guessed", SigningKey.generate()), source="198.51.100.3"
    )
    assert answer.status == 422
    event = stage.spans(entity_type="boot_event", owner_id="edge:enroll")[-1]
    assert (event.tenant_id, event.visibility) == ("system", "private")
    assert (event.input or {})["code"] == "***"


def test_a_token_is_no_help(stage: Stage, device: Device) -> None:
    body = enrollment(invitation(stage, "elsewhere"), SigningKey.generate())
    assert device.post("/api/enroll", body).output["tenant_id"] == "elsewhere"


def test_each_address_may_try_so_often_a_minute(own: Stage) -> None:
    early_in_a_minute()

    def attempt(source: str) -> tuple[int, str | None]:
        answer = send(own, "POST", "/api/enroll", given=enrollment("guessed", SigningKey.generate()), source=source)
        return answer.status, answer.headers.get("retry-after")

    assert [attempt("198.51.100.4")[0] for _ in range(CALLS_OF_SOURCE)] == [422] * CALLS_OF_SOURCE
    status, retry_after = attempt("198.51.100.4")
    assert status == 429
    assert 1 <= int(retry_after or 0) <= 60
    assert attempt("198.51.100.5")[0] == 422
    # A subscriber of IPv6 has a network of addresses.
    assert [attempt(f"2001:db8::{n:x}")[0] for n in range(CALLS_OF_SOURCE + 1)] == [422] * CALLS_OF_SOURCE + [429]
    assert attempt("2001:db8:0:1::1")[0] == 422
    before = len(own.spans(owner_id="edge:enroll"))
    assert attempt("198.51.100.4")[0] == 429
    assert len(own.spans(owner_id="edge:enroll")) == before


def test_all_addresses_together_may_try_so_often_a_minute(own: Stage) -> None:
    early_in_a_minute()
    with own.ledger.connect("lambda_exec") as connection:
        count = "SELECT ledger.count_open_call(%s, 10, %s) AS wait_s"
        waits = [
            connection.execute(count, [f"10.0.{n // 256}.{n % 256}", CALLS_IN_ALL]).fetchall()[0]["wait_s"]
            for n in range(CALLS_IN_ALL)
        ]
    assert waits == [0] * CALLS_IN_ALL
    given = enrollment("guessed", SigningKey.generate())
    assert send(own, "POST", "/api/enroll", given=given, source="198.51.100.6").status == 429


def test_minutes_that_are_over_are_forgotten(own: Stage) -> None:
    with own.ledger.connect("lambda_exec") as connection:
        for n in range(6):
            connection.execute("SELECT ledger.count_open_call(%s, 10, 200)", [f"10.0.0.{n}"])
    own.superuser.execute("UPDATE ledger_idx.open_call SET minute = minute - interval '2 minutes'")
    for _ in range(2):
        enrolled(own, "fresh")
    assert own.superuser.execute("SELECT FROM ledger_idx.open_call").rowcount <= 3 + 3


def test_a_revoked_invitation_and_another_tenants_app_change_nothing(stage: Stage, tenant: str) -> None:
    device = enrolled(stage, tenant)
    other = enrolled(stage, "another")
    answer = other.boot("00000000-0000-4000-8000-000000000008", {"action": "revoke", "device_id": device.device_id})
    assert answer.status == 422
    assert device.get("/api/spans").status == 200
