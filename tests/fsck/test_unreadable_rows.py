"""A row that nobody can hash, or can even read, is a finding like any other: it ends neither fsck nor its report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ledger.ids import MANIFEST_ID, derived_id
from ledger.span import Span
from tests.fsck.kit import ORIGIN, Sealed, name

UNREADABLE = {
    "after Python's years": "at = '20000-01-01Z'",
    "before Christ": "at = '0044-03-15 BC'",
    "a number of 5,000 digits": "metadata = jsonb_build_object('n', repeat('9', 5000)::numeric)",
    "a fraction beyond all doubles": "metadata = jsonb_build_object('n', (repeat('9', 400) || '.5')::numeric)",
    "3,000 levels": "metadata = (repeat('[', 3000) || repeat(']', 3000))::jsonb",
    "ids of two dimensions": "related_to = ARRAY[ARRAY[id]]",
    "no id among ids": "related_to = ARRAY[NULL, id]",
}
UNCHECKED = {
    "no hash": "curr_hash = 'gone'",
    "without a hash": "curr_hash = NULL",
    "never": "at = 'infinity'",
    "before all versions": "seq = -1",
}


def victim(sealed: Sealed) -> Span:
    """A sealed note of ana's."""
    return next(span for span in sealed.rows() if span.name == "note 3")


def edit(sealed: Sealed, span: Span, change: str) -> None:
    sealed.tamper(f"UPDATE ledger.universal_registry SET {change} WHERE (id, seq) = (%s, %s)", span.id, span.seq)


@contextmanager
def without_checks(sealed: Sealed) -> Iterator[None]:
    """A table that refuses nothing any more."""
    with sealed.superuser() as connection:
        connection.execute("ALTER TABLE ledger.universal_registry DROP CONSTRAINT universal_registry_pkey")
        checks = connection.execute(
            "SELECT format('ALTER TABLE ledger.universal_registry DROP CONSTRAINT %I', conname) FROM pg_constraint"
            " WHERE conrelid = 'ledger.universal_registry'::regclass AND contype = 'c'"
        ).fetchall()
        for (statement,) in checks:
            connection.execute(statement.encode())
        for column in ("curr_hash", "era", "xid", "position"):
            connection.execute(f"ALTER TABLE ledger.universal_registry ALTER {column} DROP NOT NULL".encode())
    yield


@pytest.mark.parametrize("change", UNREADABLE.values(), ids=UNREADABLE)
def test_a_row_that_cannot_be_hashed_is_edited(sealed: Sealed, change: str) -> None:
    span = victim(sealed)
    edit(sealed, span, change)
    assert sealed.found() == [("edited", name(span)), ("root_differs", None)]
    assert "its columns do not match its hash: " in sealed.check().ordered()[0].message


def test_what_is_unreadable_is_said(sealed: Sealed) -> None:
    one, other = victim(sealed), sealed.rows()[-1]
    edit(sealed, one, UNREADABLE["before Christ"])
    edit(sealed, other, UNREADABLE["a number of 5,000 digits"])
    said = {finding.span: finding.message for finding in sealed.check().ordered() if finding.kind == "edited"}
    assert said[name(one)].endswith("at: an instant of the years 1 to 9999")
    assert said[name(other)].endswith(
        "metadata: JSON without numbers of thousands of digits or thousands of levels of nesting"
    )


@pytest.mark.parametrize("change", UNCHECKED.values(), ids=UNCHECKED)
def test_what_the_dropped_checks_refused_is_found(sealed: Sealed, change: str) -> None:
    span = victim(sealed)
    with without_checks(sealed):
        edit(sealed, span, change)
    found = sealed.found()
    edited = span.with_values(seq=-1) if "seq" in change else span
    assert ("edited", name(edited)) in found
    assert {told for _, told in found} <= {name(edited), None}


def test_a_key_without_a_signature(sealed: Sealed) -> None:
    span = victim(sealed)
    with without_checks(sealed):
        edit(sealed, span, "signature = NULL")
    assert ("signature_wrong", name(span)) in sealed.found()


def test_a_span_without_a_place(sealed: Sealed) -> None:
    span = sealed.write(1)[0]
    with without_checks(sealed):
        edit(sealed, span, "position = NULL")
    assert ("misplaced", name(span)) in sealed.found()


@pytest.mark.parametrize("span_id", [MANIFEST_ID, derived_id("checkpoint", ORIGIN)], ids=["manifest", "checkpoint"])
def test_what_fsck_itself_goes_by_may_be_unreadable(sealed: Sealed, span_id: object) -> None:
    span = next(span for span in sealed.rows() if span.id == span_id)
    edit(sealed, span, UNREADABLE["3,000 levels"])
    assert ("edited", name(span)) in sealed.found()
