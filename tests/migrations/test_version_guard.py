"""Versions of one id form one chain, which only its owner continues; and a refusal tells a stranger nothing."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from ledger.database import Identity
from ledger.ids import new_id
from ledger.span import Span
from tests.conftest import TestLedger
from tests.ledger.kit import acting, ask, following, insert, put, sealed, someone

WRONG_HASH = "ab" * 32
# What is wrong with a version that should follow seq 3, and the guard's code for it.
BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "a lower seq": ({"seq": 2}, "LL006"),
    "the lowest seq": ({"seq": 0}, "LL006"),
    "a lower seq that links to nothing": ({"seq": 2, "prev_hash": None}, "LL006"),
    "the same seq with other content": ({"seq": 3}, "LL005"),
    "no link to the latest version": ({"prev_hash": None}, "LL006"),
    "a link to something else": ({"prev_hash": WRONG_HASH}, "LL006"),
    "another owner": ({"owner_id": "somebody else"}, "LL006"),
    "another tenant": ({"tenant_id": "elsewhere"}, "LL006"),
    "no tenant": ({"tenant_id": None}, "LL006"),
    "another type": ({"entity_type": "function"}, "LL006"),
}


@pytest.mark.parametrize("fault", BROKEN)
@pytest.mark.parametrize("role", ["lambda_exec", "postgres", "admin"])
def test_no_role_appends_a_version_with(shared: TestLedger, role: str, fault: str) -> None:
    changes, code = BROKEN[fault]
    owner = someone()
    first = sealed(owner, seq=3)
    put(shared, first)
    with pytest.raises(psycopg.Error) as refusal, acting(shared, role, owner) as connection:
        insert(connection, following(first, **changes))
    assert refusal.value.sqlstate == code


@pytest.mark.parametrize("seqs", [(0, 1, 2), (3, 5), (5, 6), (0, 2**31 - 1)])
def test_gaps_and_any_first_seq_are_allowed(shared: TestLedger, seqs: tuple[int, ...]) -> None:
    owner = someone()
    version = sealed(owner, seq=seqs[0])
    with acting(shared, "lambda_exec", owner) as connection:
        insert(connection, version)
        for seq in seqs[1:]:
            version = following(version, seq=seq)
            insert(connection, version)
    stored = ask(shared, "readonly", "SELECT seq FROM ledger.visible_timeline WHERE id = %s ORDER BY 1", [version.id])
    assert tuple(row["seq"] for row in stored) == seqs


@pytest.mark.parametrize(
    ("column", "value"),
    [("seq", -1), ("prev_hash", "AB" * 32), ("curr_hash", "ab" * 31), ("curr_hash", "AB" * 32), ("curr_hash", None)],
)
def test_a_malformed_seq_or_hash_is_refused(shared: TestLedger, column: str, value: Any) -> None:
    owner = someone()
    first = sealed(owner)
    put(shared, first)
    version = following(first, id=new_id(), prev_hash=None) if column != "prev_hash" else following(first)
    with pytest.raises(psycopg.Error) as refusal, acting(shared, "lambda_exec", owner) as connection:
        insert(connection, version, **{column: value})
    assert refusal.value.sqlstate in ("23514", "23502", "LL006")


@pytest.mark.parametrize("role", ["lambda_exec", "postgres"])
@pytest.mark.parametrize(
    ("level", "allowed"),
    [("READ UNCOMMITTED", True), ("READ COMMITTED", True), ("REPEATABLE READ", False), ("SERIALIZABLE", False)],
)
def test_spans_are_appended_at_read_committed_only(shared: TestLedger, role: str, level: str, allowed: bool) -> None:
    owner = someone()
    statement = f"SET TRANSACTION ISOLATION LEVEL {level}"
    with shared.connect(role) as connection, connection.transaction():
        connection.execute(statement.encode())
        connection.execute("SELECT set_config('app.user_id', %s, true)", [owner.user_id])
        connection.execute("SELECT set_config('app.tenant_id', %s, true)", [owner.tenant_id])
        if allowed:
            insert(connection, sealed(owner))
        else:
            with pytest.raises(psycopg.Error) as refusal, connection.transaction():
                insert(connection, sealed(owner))
            assert refusal.value.sqlstate == "LL001"


def test_an_identical_span_passes_to_on_conflict(shared: TestLedger) -> None:
    owner = someone()
    span = sealed(owner)
    newer = following(span)
    with acting(shared, "lambda_exec", owner) as connection:
        for version in (span, newer):
            insert(connection, version)
        again = insert(connection, span, ending="ON CONFLICT (id, seq) DO NOTHING RETURNING id")
    assert again == []
    with pytest.raises(psycopg.errors.UniqueViolation), acting(shared, "lambda_exec", owner) as connection:
        insert(connection, span)


def attempts(victim: Span, newest: Span) -> dict[str, Span]:
    """What a stranger may try with a victim's id, knowing more or less of its hashes."""
    return {
        "a right next version": following(newest),
        "a next version with a wrong hash": following(newest, prev_hash=WRONG_HASH),
        "a next version with an older hash": following(newest, prev_hash=victim.curr_hash),
        "a next version with no hash": following(newest, prev_hash=None),
        "the very same version": newest,
        "the same seq with other content": following(newest, seq=newest.seq),
        "a lower seq": following(newest, seq=1),
        "version 999": following(newest, seq=999),
        "another type": following(newest, entity_type="function"),
    }


@pytest.mark.parametrize("relation", ["stranger", "namesake", "colleague", "unset"])
@pytest.mark.parametrize("visibility", ["private", "tenant"])
def test_every_refusal_of_a_foreign_id_is_the_same(shared: TestLedger, relation: str, visibility: str) -> None:
    owner, stranger = someone(), someone("mallory")
    caller = {
        "stranger": stranger,
        "namesake": Identity(owner.user_id, stranger.tenant_id),
        "colleague": Identity(stranger.user_id, owner.tenant_id),
        "unset": Identity("", None),
    }[relation]
    victim = sealed(owner, seq=2, visibility=visibility)
    newest = following(victim, seq=5)
    put(shared, victim, newest)
    seen = set()
    tries = attempts(victim, newest)
    for span in [*tries.values(), *(s.with_values(owner_id=caller.user_id or "x") for s in tries.values())]:
        with pytest.raises(psycopg.Error) as refusal, acting(shared, "lambda_exec", caller) as connection:
            insert(connection, span, ending="ON CONFLICT (id, seq) DO NOTHING")
        diag = refusal.value.diag
        seen.add((refusal.value.sqlstate, diag.message_primary, diag.message_detail, diag.message_hint, diag.context))
    assert len(seen) == 1, "two refusals differ, and the difference tells something"
    state, message, detail, hint, _ = seen.pop()
    assert (state, message, detail, hint) == ("LL002", f"span {victim.id} is not yours to append to", None, None)


def test_the_refusal_is_that_of_an_id_which_does_not_exist(shared: TestLedger) -> None:
    missing = new_id()
    caller = someone("mallory")
    with pytest.raises(psycopg.Error) as refusal, acting(shared, "lambda_exec", caller) as connection:
        insert(connection, sealed(caller, id=missing, seq=1, prev_hash=WRONG_HASH))
    diag = refusal.value.diag
    assert (refusal.value.sqlstate, diag.message_primary, diag.message_detail, diag.message_hint) == (
        "LL002",
        f"span {missing} is not yours to append to",
        None,
        None,
    )


def test_a_tenantless_span_goes_on_without_a_tenant_only(shared: TestLedger) -> None:
    owner = Identity(someone().user_id, None)
    first = sealed(owner)
    second, third = following(first), following(following(first))
    with acting(shared, "lambda_exec", owner) as connection:
        insert(connection, first)
        insert(connection, second)
    for tenant in ("acme", "system"):
        namesake = Identity(owner.user_id, tenant)
        with pytest.raises(psycopg.Error) as refusal, acting(shared, "lambda_exec", namesake) as connection:
            insert(connection, third)
        assert refusal.value.sqlstate == "LL002"
    with acting(shared, "lambda_exec", owner) as connection:
        insert(connection, third)
