"""A stored span that somebody with a superuser's power has changed is detected, whichever column it was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from nacl.signing import SigningKey

from ledger.append import append
from ledger.database import Database, Identity
from ledger.errors import VerificationFailed
from ledger.ids import new_id
from ledger.proof import public_key_of, seal, verify
from ledger.read import versions
from ledger.span import ASSIGNED_COLUMNS, HASHED_COLUMNS, PROOF_COLUMNS, Span
from tests.conftest import LOADER_KEY, ROW_KEY, TestLedger
from tests.ledger.kit import ask, draft, following, someone

TRUSTED = frozenset({public_key_of(LOADER_KEY)})
OTHER = SigningKey(b"a key that nobody has ever trust")
# The least that can be changed of each column, as SQL.
TAMPERED = {
    "id": "gen_random_uuid()",
    "seq": "seq + 1",
    "entity_type": "'policy'",
    "who": "who || ' '",
    "did": "upper(did)",
    "this": "'other'",
    "at": "at + interval '1 microsecond'",
    "parent_id": "NULL",
    "related_to": "ARRAY[related_to[2], related_to[1]]",
    "owner_id": "'mallory'",
    "tenant_id": "NULL",
    "visibility": "'public'",
    "status": "''",
    "is_deleted": "true",
    "name": "NULL",
    "description": "'e' || U&'\\0301'",
    "code": "code || E'\\n'",
    "language": "'python '",
    "runtime": "NULL",
    "input": "'[1, 2.5]'",
    "output": "'null'",
    "error": "'\"1\"'",
    "metadata": "metadata || '{\"b\": null}'",
    "duration_ms": "duration_ms + 1",
    "trace_id": "'x'",
    "prev_hash": "NULL",
    "curr_hash": "repeat('0', 64)",
    "signature": "overlay(signature placing '00' from 1)",
    "public_key": "overlay(public_key placing '00' from 1)",
}
NESTED = "(repeat('[', 200) || repeat(']', 200))::jsonb"


@pytest.fixture(scope="module")
def open_ledger(shared: TestLedger) -> TestLedger:
    """Its guards against change are off, as only the owner or a superuser can."""
    for trigger in ("ur_append_only", "ur_append_only_row"):
        ask(shared, "rdsadmin", f"ALTER TABLE ledger.universal_registry DISABLE TRIGGER {trigger}")
    return shared


@pytest.fixture
def database(open_ledger: TestLedger) -> Iterator[Database]:
    database = open_ledger.database()
    yield database
    database.close()


def whole_span(owner: Identity) -> Span:
    """One with a value in every column."""
    return draft(
        owner, parent_id=new_id(), related_to=[new_id(), new_id()], status="active", name="name",
        description="\u00e9", code="print(1)", language="python", runtime="stage0", input=[1, 2], output={"a": True},
        error=1, metadata={"a": 1}, duration_ms=5, trace_id="t",
    )  # fmt: skip


@pytest.fixture
def victim(database: Database) -> tuple[Identity, Span]:
    """A signed second version, with something in every column."""
    owner = someone()
    first = whole_span(owner)
    (appended,) = append(database, owner, [first], LOADER_KEY)
    second = following(appended.span)
    (appended,) = append(database, owner, [second], LOADER_KEY)
    assert all(value is not None for value in appended.span.columns().values())
    return owner, appended.span


def tampered(ledger: TestLedger, span: Span, assignment: str) -> Span:
    """The row as it reads after the change."""
    rows = ask(
        ledger,
        "rdsadmin",
        f"UPDATE ledger.universal_registry SET {assignment} WHERE id = %s AND seq = %s RETURNING *",
        [span.id, span.seq],
    )
    return Span.model_construct(**rows[0])


def test_every_column_is_tampered_with() -> None:
    assert set(TAMPERED) == {*HASHED_COLUMNS, *PROOF_COLUMNS}


@pytest.mark.parametrize("column", TAMPERED)
def test_a_change_is_detected_in(open_ledger: TestLedger, victim: tuple[Identity, Span], column: str) -> None:
    _, span = victim
    changed = tampered(open_ledger, span, f"{column} = {TAMPERED[column]}")
    assert changed.columns()[column] != span.columns()[column] or column == "output"
    for trusted in (TRUSTED, None):
        with pytest.raises(VerificationFailed):
            verify(changed, trusted)


@pytest.mark.parametrize("column", ASSIGNED_COLUMNS)
def test_its_place_is_outside_the_hash(open_ledger: TestLedger, victim: tuple[Identity, Span], column: str) -> None:
    _, span = victim
    value = "'5'" if column == "xid" else "-5"
    assert verify(tampered(open_ledger, span, f"{column} = {value}"), TRUSTED)


@pytest.mark.parametrize("value", [NESTED, "'1e400'", "'[1e400]'", "'123456789012345678901234567890'"])
def test_a_value_that_no_append_could_have_stored_fails_verification(
    open_ledger: TestLedger, database: Database, victim: tuple[Identity, Span], value: str
) -> None:
    owner, span = victim
    ask(open_ledger,
        "rdsadmin", f"UPDATE ledger.universal_registry SET input = {value} WHERE id = %s AND seq = %s RETURNING 1",
        [span.id, span.seq],
    )  # fmt: skip
    with pytest.raises(VerificationFailed):
        verify(versions(database, owner, span.id)[-1], TRUSTED)


def test_a_rehashed_change_is_caught_by_the_signature(open_ledger: TestLedger, victim: tuple[Identity, Span]) -> None:
    _, span = victim
    forged = seal(span.with_values(code="evil()"), None).curr_hash
    changed = tampered(open_ledger, span, f"code = 'evil()', curr_hash = '{forged}'")
    with pytest.raises(VerificationFailed) as failure:
        verify(changed, TRUSTED)
    assert failure.value.reason == "its signature is wrong"


def test_a_span_signed_by_another_key_is_not_trusted(victim: tuple[Identity, Span]) -> None:
    _, span = victim
    forged = seal(span.with_values(code="evil()"), OTHER)
    assert verify(forged, None), "it is consistent in itself"
    with pytest.raises(VerificationFailed, match="Span verification failed") as failure:
        verify(forged, TRUSTED)
    assert "not a trusted one" in failure.value.reason
    # Naming a trusted key does not make it one's own.
    with pytest.raises(VerificationFailed):
        verify(forged.with_values(public_key=span.public_key), TRUSTED)
    with pytest.raises(VerificationFailed):
        verify(span, {public_key_of(ROW_KEY)})


def test_an_unsigned_span_passes_only_without_trusted_keys() -> None:
    span = seal(whole_span(someone()), None)
    assert verify(span, None) is False
    with pytest.raises(VerificationFailed, match="Span verification failed"):
        verify(span, frozenset())
    with pytest.raises(VerificationFailed) as failure:
        verify(span, TRUSTED)
    assert "not signed" in failure.value.reason


@pytest.mark.parametrize(
    "changes",
    [
        {"signature": None},
        {"public_key": None},
        {"signature": "ab" * 63},
        {"signature": ""},
        {"signature": "zz" * 64},
        {"public_key": "ab" * 31},
        {"public_key": "00" * 32},
        {"curr_hash": None},
        {"curr_hash": ""},
    ],
)
def test_a_mutilated_proof_fails(victim: tuple[Identity, Span], changes: dict[str, Any]) -> None:
    _, span = victim
    trusted = TRUSTED | {str(changes.get("public_key"))}
    with pytest.raises(VerificationFailed):
        verify(span.with_values(**changes), trusted)


@pytest.mark.parametrize("assignment", ["signature = left(signature, 126)", "public_key = NULL", "signature = NULL"])
def test_the_table_itself_takes_no_mutilated_proof(
    open_ledger: TestLedger, victim: tuple[Identity, Span], assignment: str
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        tampered(open_ledger, victim[1], assignment)
