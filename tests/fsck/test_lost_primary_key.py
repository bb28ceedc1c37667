"""Without its primary key the table takes one version twice: readers of the span see the one or the other."""

from __future__ import annotations

import pytest

from ledger.span import WRITTEN_COLUMNS, Span
from tests.conftest import LOADER_KEY
from tests.fsck.kit import Sealed, changed, name

DROP = "ALTER TABLE ledger.universal_registry DROP CONSTRAINT universal_registry_pkey"
INSTEAD = {
    "none": DROP,
    "of more columns": f"{DROP}; ALTER TABLE ledger.universal_registry ADD PRIMARY KEY (id, seq, position)",
    "of some rows": f"{DROP}; CREATE UNIQUE INDEX ON ledger.universal_registry (id, seq) WHERE position < 0",
    "not unique": f"{DROP}; CREATE INDEX ON ledger.universal_registry (id, seq)",
}


def twin_of(sealed: Sealed, span: Span) -> Span:
    """Another content for the same version, appended behind all others."""
    twin = changed(span, LOADER_KEY, name="the other one")
    copied = ", ".join(sorted(set(WRITTEN_COLUMNS) - {"name", "curr_hash", "signature"}))
    sealed.tamper(
        f"INSERT INTO ledger.universal_registry ({copied}, name, curr_hash, signature, era, xid, position)"
        f" SELECT {copied}, %s, %s, %s, era, pg_current_xact_id(), nextval('ledger.position')"
        " FROM ledger.universal_registry WHERE (id, seq) = (%s, %s)",
        twin.name, twin.curr_hash, twin.signature, span.id, span.seq,
    )  # fmt: skip
    return twin


@pytest.mark.parametrize("statement", INSTEAD.values(), ids=INSTEAD)
def test_one_version_twice(sealed: Sealed, statement: str) -> None:
    span = next(span for span in sealed.rows() if span.name == "version 1")
    with sealed.superuser() as connection:
        connection.execute(statement.encode())
    twin_of(sealed, span)
    assert sealed.found() == [("unguarded", None), ("fork", name(span))]


def test_a_key_that_is_not_valid(sealed: Sealed) -> None:
    sealed.tamper(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ledger.universal_registry_pkey'::regclass"
    )
    assert sealed.found(jobs=2) == [("unguarded", None)]
