"""A span is never changed or removed, by whatever statement of whatever role."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from ledger.connection import Connection
from ledger.span import Span
from tests.conftest import ALICE, TestLedger
from tests.ledger.kit import acting, ask, insert, put, sealed, session, set_context

REGISTRY = "ledger.universal_registry"
CHANGES = {
    "UPDATE": f"UPDATE {REGISTRY} SET name = 'other' WHERE id = %(id)s",
    "UPDATE of no row": f"UPDATE {REGISTRY} SET name = 'other' WHERE false",
    "UPDATE of a view": "UPDATE ledger.visible_timeline SET name = 'other' WHERE id = %(id)s",
    "UPDATE of the view of a view": "UPDATE ledger.current_span SET is_deleted = true WHERE id = %(id)s",
    "UPDATE inside a query": f"WITH changed AS (UPDATE {REGISTRY} SET name = 'other' RETURNING id) TABLE changed",
    "DELETE": f"DELETE FROM {REGISTRY} WHERE id = %(id)s",
    "DELETE of no row": f"DELETE FROM {REGISTRY} WHERE false",
    "DELETE from a view": "DELETE FROM ledger.current_span WHERE id = %(id)s",
    "DELETE inside a query": f"WITH gone AS (DELETE FROM {REGISTRY} RETURNING id) TABLE gone",
    "TRUNCATE": f"TRUNCATE {REGISTRY}",
    "TRUNCATE CASCADE": f"TRUNCATE {REGISTRY} RESTART IDENTITY CASCADE",
    "ON CONFLICT DO UPDATE": f"""
        INSERT INTO {REGISTRY} (id, seq, entity_type, who, did, this, at, owner_id, tenant_id, curr_hash)
        VALUES (%(id)s, 0, 'note', 'w', 'd', 't', now(), 'alice', 'acme', %(hash)s)
        ON CONFLICT (id, seq) DO UPDATE SET name = 'other'""",
    "MERGE that updates": f"""
        MERGE INTO {REGISTRY} r USING (SELECT %(id)s::uuid AS id) s ON r.id = s.id
        WHEN MATCHED THEN UPDATE SET name = 'other'""",
    "MERGE that deletes": f"""
        MERGE INTO {REGISTRY} r USING (SELECT %(id)s::uuid AS id) s ON r.id = s.id WHEN MATCHED THEN DELETE""",
    "MERGE that matches nothing": f"""
        MERGE INTO {REGISTRY} r USING (SELECT 1 AS one) s ON false WHEN MATCHED THEN UPDATE SET name = 'other'""",
}


@pytest.fixture
def span(shared: TestLedger) -> Span:
    made = sealed(ALICE, name="as it was", visibility="tenant")
    put(shared, made)
    return made


@pytest.fixture
def unchanged(shared: TestLedger, span: Span) -> Iterator[None]:
    """Afterwards the table is what it was before."""
    digest = f"SELECT count(*), md5(string_agg(r::text, '|' ORDER BY id, seq)) FROM {REGISTRY} r"
    before = ask(shared, "readonly", digest)
    yield
    assert ask(shared, "readonly", digest) == before


def attempt(connection: Connection, change: str, span: Span) -> psycopg.Error:
    """The refusal of the change, made under its owner's own context."""
    with pytest.raises(psycopg.Error) as refusal, connection.transaction():  # noqa: PT012 - one transaction
        set_context(connection, ALICE)
        connection.execute(CHANGES[change].encode(), {"id": span.id, "hash": span.curr_hash})
    return refusal.value


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("role", ["admin", "postgres", "rdsadmin"])
def test_the_owner_and_its_members_meet_the_guard(shared: TestLedger, span: Span, role: str, change: str) -> None:
    with session(shared, role) as connection:
        error = attempt(connection, change, span)
    assert (error.sqlstate, error.diag.message_hint) == (
        "LL003",
        "Append the next version of the span instead (same id, higher seq).",
    )


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("role", ["lambda_exec", "readonly"])
def test_the_runtime_roles_have_no_right_to_try(shared: TestLedger, span: Span, role: str, change: str) -> None:
    with shared.connect(role) as connection:
        connection.execute("SET default_transaction_read_only = off")
        assert attempt(connection, change, span).sqlstate == "42501"


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("change", ["UPDATE", "DELETE", "TRUNCATE"])
def test_a_session_in_replica_mode_meets_the_guard_too(shared: TestLedger, span: Span, change: str) -> None:
    with shared.connect("rdsadmin") as connection:
        connection.execute("SET session_replication_role = replica")
        assert attempt(connection, change, span).sqlstate == "LL003"


def test_replica_mode_does_not_let_an_insert_choose_its_place(shared: TestLedger) -> None:
    with shared.connect("rdsadmin") as connection:
        connection.execute("SET session_replication_role = replica")
        rows = insert(connection, sealed(ALICE), ending="RETURNING era, position", era=77, xid="1", position=-5)
    assert rows[0]["era"] == 1
    assert rows[0]["position"] > 0


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("lock", ["FOR UPDATE", "FOR NO KEY UPDATE", "FOR SHARE", "FOR KEY SHARE"])
@pytest.mark.parametrize("role", ["lambda_exec", "readonly"])
def test_nobody_at_runtime_locks_a_span(shared: TestLedger, span: Span, role: str, lock: str) -> None:
    with shared.connect(role) as connection:
        connection.execute("SET default_transaction_read_only = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(f"SELECT * FROM {REGISTRY} {lock}".encode())


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("role", ["lambda_exec", "admin"])
def test_copy_is_no_way_in(shared: TestLedger, role: str) -> None:
    with pytest.raises(psycopg.errors.FeatureNotSupported), acting(shared, role, ALICE) as connection:
        connection.execute(f"COPY {REGISTRY} FROM STDIN".encode())
