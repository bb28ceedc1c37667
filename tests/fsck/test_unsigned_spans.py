"""What the loader writes is signed from its first signature on; what is not came past it, or lost its signature."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.append import append
from ledger.span import Span
from tests.fsck.kit import ANA, ROOTS, Sealed, name
from tests.ledger.kit import draft


def unsigned(sealed: Sealed, **values: Any) -> Span:
    """Appended by whoever has the loader's sign-in, and not its key."""
    database = sealed.ledger.database()
    try:
        return append(database, ANA, [draft(ANA, **values)], None)[0].span
    finally:
        database.close()


def strip(sealed: Sealed, *spans: Span) -> None:
    for span in spans:
        sealed.store(span.with_values(signature=None, public_key=None))


def anas(sealed: Sealed) -> list[Span]:
    return [span for span in sealed.rows() if span.owner_id == ANA.user_id]


@pytest.mark.parametrize("entity_type", ["note", "memory", "function", "request", "execution", "boot_event"])
def test_a_span_that_was_appended_past_the_loader(sealed: Sealed, entity_type: str) -> None:
    forged = unsigned(sealed, entity_type=entity_type)
    assert sealed.found() == [("signature_missing", name(forged))]
    assert sealed.found(roots={}) == [("signature_missing", name(forged))], "whoever's the key is"


@pytest.mark.parametrize("jobs", [1, 2])
def test_signatures_that_were_taken_away(sealed: Sealed, jobs: int) -> None:
    stripped = [anas(sealed)[3], anas(sealed)[-1]]
    strip(sealed, *stripped)
    assert sealed.found(jobs=jobs) == [("signature_missing", name(span)) for span in stripped]


def test_the_first_signatures_that_were_taken_away(sealed: Sealed) -> None:
    """Nothing in the ledger says that they were there; whoever knows from where on it was signed does."""
    first = anas(sealed)[:2]
    number = [name(span) for span in sealed.rows()].index(name(first[0]))
    strip(sealed, *first)
    assert sealed.found() == []
    assert sealed.found(signed_from=number + 1) == [("signature_missing", name(first[1]))]
    assert sealed.found(signed_from=0) == [("signature_missing", name(span)) for span in first]


def test_all_signatures_that_were_taken_away(sealed: Sealed) -> None:
    strip(sealed, *anas(sealed))
    assert sealed.found() == []
    assert sealed.found(signed_from=0) == [("signature_missing", name(span)) for span in anas(sealed)]


def test_what_was_there_before_the_loader_had_a_key(sealed: Sealed) -> None:
    """A loader that signs nothing, and one that begins to."""
    strip(sealed, *anas(sealed))
    with sealed.superuser() as connection:
        connection.execute("ALTER TABLE ledger.universal_registry ENABLE TRIGGER ALL")
    unsigned(sealed)
    assert sealed.found() == []
    sealed.write(2)
    assert sealed.found() == []
    forged = unsigned(sealed)
    assert sealed.found() == [("signature_missing", name(forged))]


def test_unsigned_rows_of_a_release_and_the_notarys_spans_begin_nothing(sealed: Sealed) -> None:
    """Whoever checks without row keys has the hashes of unsigned rows, as the local stack has them."""
    strip(sealed, *(span for span in sealed.rows() if span.owner_id == "system"))
    assert sealed.found(roots={**ROOTS, "row": frozenset()}) == []
