"""What the loader may learn of a device or an invitation before anybody has an identity: this, and by id alone."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
import pytest

from ledger.database import Identity
from ledger.ids import new_id
from ledger.span import Span
from tests.conftest import TestLedger
from tests.ledger.kit import acting, ask, following, put, sealed, someone

DEVICE = "SELECT * FROM ledger.device_for_token(%s)"
INVITATION = "SELECT * FROM ledger.invitation_owner(%s)"
KEY = "ab" * 32


def enrolled(ledger: TestLedger, owner: Identity, **changes: Any) -> tuple[Span, Span]:
    """An app and its device, as the kernel writes them; `changes` are of the device."""
    app = sealed(owner, entity_type="app_registration", status="active", visibility="tenant")
    about = {"pubkey": KEY, "scopes": ["memory_store_kernel"]}
    given = {"entity_type": "device", "status": "active", "parent_id": app.id, "metadata": about}
    device = sealed(owner, **{**given, **changes})
    put(ledger, app, device)
    return app, device


def asked(ledger: TestLedger, statement: str, span_id: UUID, identity: Identity | None = None) -> list[Any]:
    return ask(ledger, "lambda_exec", statement, [span_id], identity)


@pytest.mark.parametrize("known", [True, False])
def test_a_device_is_known_without_any_identity_and_with_any(shared: TestLedger, known: bool) -> None:
    owner = someone()
    app, device = enrolled(shared, owner)
    assert asked(shared, DEVICE, device.id, someone() if known else None) == [
        {
            "pubkey": KEY,
            "status": "active",
            "app_id": app.id,
            "app_status": "active",
            "tenant_id": owner.tenant_id,
            "user_id": owner.user_id,
            "scopes": ["memory_store_kernel"],
        }
    ]


def test_the_latest_versions_count(shared: TestLedger) -> None:
    owner = someone()
    app, device = enrolled(shared, owner)
    put(shared, following(device, status="revoked"))
    assert [(r["status"], r["app_status"]) for r in asked(shared, DEVICE, device.id)] == [("revoked", "active")]
    put(shared, following(app, status="revoked"))
    assert [(r["status"], r["app_status"]) for r in asked(shared, DEVICE, device.id)] == [("revoked", "revoked")]


@pytest.mark.parametrize("which", ["app", "device"])
def test_a_deleted_one_is_no_more(shared: TestLedger, which: str) -> None:
    app, device = enrolled(shared, someone())
    put(shared, following({"app": app, "device": device}[which], is_deleted=True))
    assert asked(shared, DEVICE, device.id) == []


def test_a_device_without_an_app_of_its_owner_is_none(shared: TestLedger) -> None:
    owner, other = someone(), someone()
    app, _ = enrolled(shared, owner)
    elsewhere = Identity(owner.user_id, other.tenant_id)
    for stranger, changes in (
        (other, {"parent_id": app.id}),
        (elsewhere, {"parent_id": app.id}),
        (Identity("colleague", owner.tenant_id), {"parent_id": app.id}),
        (owner, {"parent_id": None}),
        (owner, {"parent_id": new_id()}),
    ):
        _, device = enrolled(shared, stranger, **changes)
        assert asked(shared, DEVICE, device.id) == []
    note = sealed(owner)
    put(shared, note)
    _, device = enrolled(shared, owner, parent_id=note.id)
    assert asked(shared, DEVICE, device.id) == []


def test_nothing_but_a_device_is_one(shared: TestLedger) -> None:
    owner = someone()
    app, _ = enrolled(shared, owner)
    _, other = enrolled(shared, owner, entity_type="note")
    for span_id in (app.id, other.id, new_id()):
        assert asked(shared, DEVICE, span_id) == []


def test_an_invitation_tells_where_it_is_kept_and_no_more(shared: TestLedger) -> None:
    owner = someone()
    span, other = sealed(owner, entity_type="invitation", metadata={"a": 1}), sealed(owner)
    put(shared, span, other, following(span, status="used"))
    assert asked(shared, INVITATION, span.id) == [{"tenant_id": owner.tenant_id, "owner_id": owner.user_id}]
    for span_id in (other.id, new_id()):
        assert asked(shared, INVITATION, span_id) == []


@pytest.mark.parametrize("statement", [DEVICE, INVITATION])
def test_readonly_may_not_ask(shared: TestLedger, statement: str) -> None:
    with acting(shared, "readonly") as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement.encode(), [new_id()])


@pytest.mark.parametrize("statement", [DEVICE, INVITATION])
def test_the_answer_reads_a_few_pages_of_the_primary_key(shared: TestLedger, statement: str) -> None:
    owner = someone()
    app, device = enrolled(shared, owner)
    invitation = sealed(owner, entity_type="invitation")
    put(shared, invitation, *many(owner, app))
    span_id = device.id if statement == DEVICE else invitation.id
    # auto_explain is not at hand, so the body of the function is explained, as its owner runs it.
    (row,) = ask(
        shared,
        "postgres",
        "SELECT prosrc FROM pg_proc WHERE proname = %s",
        [statement.partition(".")[2].partition("(")[0]],
    )
    body = row["prosrc"].replace("p_device", "$1").replace("p_invitation", "$1")
    with acting(shared, "admin") as connection:
        connection.execute(f"PREPARE asked (uuid) AS {body}".encode())
        plan = connection.execute(f"EXPLAIN (ANALYZE, BUFFERS) EXECUTE asked ('{span_id}')".encode()).fetchall()
        connection.execute("DEALLOCATE asked")
    lines = [line["QUERY PLAN"] for line in plan]
    assert not any("Seq Scan" in line or "Bitmap" in line for line in lines), lines
    assert all("universal_registry_pkey" in line for line in lines if "Index" in line and "Scan" in line), lines


def many(owner: Identity, app: Span) -> list[Span]:
    """Enough rows that walking them all would not be the cheapest plan."""
    return [sealed(owner, parent_id=app.id) for _ in range(300)]
