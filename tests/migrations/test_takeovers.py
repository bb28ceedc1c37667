"""What somebody else's trust rests on cannot be published by a tenant: tried as `lambda_exec`, in plain SQL."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
import pytest

from db_migration.handler import answer
from ledger.database import Identity
from ledger.ids import MANIFEST_ID
from ledger.read import span_of
from tests.conftest import TestLedger
from tests.ledger.kit import acting, ask, assigned, following, insert, sealed, someone

KERNEL_ID = UUID("00000000-0000-4000-8000-000000000007")
PROMPT_ID = UUID("00000000-0000-4000-8000-000000000101")
MALLORY = Identity("mallory", "evil")
IN_SYSTEM = Identity("mallory", "system")
AS_SYSTEM = Identity("system", "system")

# Who, with which columns of a new span.
FORBIDDEN: dict[str, tuple[Identity, dict[str, Any]]] = {
    "a manifest": (MALLORY, {"entity_type": "manifest"}),
    "a manifest in tenant system": (IN_SYSTEM, {"entity_type": "manifest"}),
    "a manifest as user system": (AS_SYSTEM, {"entity_type": "manifest"}),
    "a provider": (MALLORY, {"entity_type": "provider"}),
    "a prompt": (MALLORY, {"entity_type": "prompt"}),
    "a public prompt": (MALLORY, {"entity_type": "prompt", "visibility": "public"}),
    "a public span": (MALLORY, {"visibility": "public"}),
    "a public function": (MALLORY, {"entity_type": "function", "visibility": "public"}),
    "a function in tenant system": (IN_SYSTEM, {"entity_type": "function"}),
    "a policy in tenant system": (IN_SYSTEM, {"entity_type": "policy"}),
    "a function of no tenant": (Identity("mallory", None), {"entity_type": "function"}),
    "a function of no tenant, out of a tenant": (MALLORY, {"entity_type": "function", "tenant_id": None}),
    "a policy of no tenant": (Identity("mallory", None), {"entity_type": "policy"}),
    "a function into another's tenant": (MALLORY, {"entity_type": "function", "tenant_id": "acme"}),
    "a span of the owner system": (MALLORY, {"owner_id": "system"}),
    "a span as user system": (AS_SYSTEM, {}),
    "a function as user system": (AS_SYSTEM, {"entity_type": "function"}),
    "a span of another owner": (MALLORY, {"owner_id": "alice"}),
    "a span into another tenant": (MALLORY, {"tenant_id": "acme"}),
    "a span of an owner in capitals": (MALLORY, {"owner_id": "MALLORY"}),
    "a span without any context": (Identity("", None), {"owner_id": "mallory", "tenant_id": None}),
}
ALLOWED: dict[str, tuple[Identity, dict[str, Any]]] = {
    "a function in one's own tenant": (MALLORY, {"entity_type": "function"}),
    "a policy for one's own tenant": (MALLORY, {"entity_type": "policy", "visibility": "tenant"}),
    "a memory in tenant system": (IN_SYSTEM, {"entity_type": "memory"}),
    "a span of no tenant (manual 7.3)": (MALLORY, {"tenant_id": None}),
    "an alert of the loader": (AS_SYSTEM, {"entity_type": "security_alert"}),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_a_tenant_cannot_publish(shared: TestLedger, what: str) -> None:
    caller, columns = FORBIDDEN[what]
    span = sealed(Identity(caller.user_id or "x", caller.tenant_id), **columns)
    with pytest.raises(psycopg.errors.InsufficientPrivilege), acting(shared, "lambda_exec", caller) as connection:
        insert(connection, span)


@pytest.mark.parametrize("what", ALLOWED)
def test_but_everybody_may_publish(shared: TestLedger, what: str) -> None:
    caller, columns = ALLOWED[what]
    span = sealed(caller, **columns)
    with acting(shared, "lambda_exec", caller) as connection:
        insert(connection, span)
    assert assigned(shared, span)["position"] > 0


@pytest.mark.parametrize("target", [MANIFEST_ID, KERNEL_ID, PROMPT_ID], ids=["manifest", "kernel", "prompt"])
@pytest.mark.parametrize("caller", [MALLORY, IN_SYSTEM, Identity("system", "evil"), Identity("system", None)])
def test_nobody_continues_a_seeded_span_though_its_hash_is_public(
    shared: TestLedger, caller: Identity, target: UUID
) -> None:
    statement = "SELECT * FROM ledger.current_span WHERE id = %s"
    head = span_of(ask(shared, "lambda_exec", statement, [target], caller)[0])
    for changes in ({"seq": 999}, {"seq": 999, "owner_id": caller.user_id, "tenant_id": caller.tenant_id}):
        with pytest.raises(psycopg.Error) as refusal, acting(shared, "lambda_exec", caller) as connection:
            insert(connection, following(head, code="raise SystemExit", **changes))
        assert refusal.value.sqlstate == "LL002"


@pytest.mark.parametrize("target", [MANIFEST_ID, KERNEL_ID])
def test_even_the_context_of_the_owner_system_continues_no_seeded_span(shared: TestLedger, target: UUID) -> None:
    head = span_of(ask(shared, "lambda_exec", "SELECT * FROM ledger.current_span WHERE id = %s", [target])[0])
    with pytest.raises(psycopg.errors.InsufficientPrivilege), acting(shared, "lambda_exec", AS_SYSTEM) as connection:
        insert(connection, following(head, seq=999))


def test_nobody_squats_on_an_id_before_it_is_seeded(empty: TestLedger) -> None:
    assert answer({"action": "migrate"}, empty.environment)["ok"]
    reserved = [MANIFEST_ID, KERNEL_ID, *(UUID(f"00000000-0000-4000-8000-{end}") for end in ("0" * 12, "f" * 12))]
    for caller in (MALLORY, IN_SYSTEM, AS_SYSTEM):
        for span_id in reserved:
            span = sealed(caller, id=span_id, entity_type="function" if caller is MALLORY else "memory")
            with (
                pytest.raises(psycopg.errors.InsufficientPrivilege),
                acting(empty, "lambda_exec", caller) as connection,
            ):
                insert(connection, span)
    for beside in ("00000000-0000-4000-7fff-ffffffffffff", "00000000-0000-4000-8001-000000000000"):
        with acting(empty, "lambda_exec", MALLORY) as connection:
            insert(connection, sealed(MALLORY, id=beside))
    seeded = answer({"action": "seed"}, empty.environment)
    assert seeded["ok"]
    assert str(MANIFEST_ID) in {row["id"] for row in seeded["inserted"]}


@pytest.mark.parametrize("clause", ["", "OVERRIDING SYSTEM VALUE", "OVERRIDING USER VALUE"])
@pytest.mark.parametrize("role", ["lambda_exec", "postgres", "admin"])
def test_nobody_forges_the_place_of_a_span(shared: TestLedger, role: str, clause: str) -> None:
    owner = someone()
    before, span = sealed(owner), sealed(owner)
    with acting(shared, role, owner) as connection:
        insert(connection, before)
        insert(connection, span, clause, era=99, xid="1", position=-1)
        xid = connection.execute("SELECT pg_current_xact_id()::text::bigint AS xid").fetchall()[0]["xid"]
    assert assigned(shared, span) == {"era": 1, "xid": xid, "position": assigned(shared, before)["position"] + 1}


@pytest.mark.parametrize("context", ["after a transaction", "unset"])
@pytest.mark.parametrize("column", ["owner_id", "tenant_id"])
def test_an_empty_owner_or_tenant_is_never_stored(shared: TestLedger, column: str, context: str) -> None:
    span = sealed(MALLORY)
    with shared.connect("lambda_exec") as connection:
        if context == "after a transaction":
            with connection.transaction():
                connection.execute(
                    "SELECT set_config('app.user_id', 'x', true), set_config('app.tenant_id', 'x', true)"
                )
        values = {"owner_id": "", "tenant_id": None} if column == "owner_id" else {"owner_id": "", "tenant_id": ""}
        with pytest.raises(psycopg.Error) as refusal:
            insert(connection, span, **values)
    assert refusal.value.sqlstate == ("23514" if context == "after a transaction" else "42501")
    with pytest.raises(psycopg.errors.CheckViolation), acting(shared, "postgres") as connection:
        insert(connection, span, **{column: ""})


def test_two_people_of_one_name_keep_apart(shared: TestLedger) -> None:
    here = someone()
    there = Identity(here.user_id, f"{here.tenant_id} too")
    mine, theirs = sealed(here, visibility="tenant"), sealed(there, visibility="tenant")
    for owner, span in ((here, mine), (there, theirs)):
        with acting(shared, "lambda_exec", owner) as connection:
            insert(connection, span)
    for owner, span in ((here, mine), (there, theirs)):
        rows = ask(shared,
            "lambda_exec", "SELECT id FROM ledger.current_span WHERE entity_type = 'note' AND owner_id = %s",
            [here.user_id], owner,
        )  # fmt: skip
        assert rows == [{"id": span.id}]


@pytest.mark.parametrize("column", ["id", "entity_type", "who", "did", "this", "at", "owner_id", "curr_hash"])
def test_what_a_span_must_have_is_required(shared: TestLedger, column: str) -> None:
    with pytest.raises(psycopg.Error) as refusal, acting(shared, "postgres") as connection:
        insert(connection, sealed(MALLORY), "", "", **{column: None})
    assert refusal.value.sqlstate == "23502"
