"""A ledger that is in use while fsck reads it, and whose life was not always the same, is sound."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ledger.connection import Connection
from loglineos.fsck import run
from loglineos.fsck.reading import Horizon, horizon_of
from tests.fsck.kit import Sealed
from tests.ledger.kit import copied_database


def meanwhile(monkeypatch: pytest.MonkeyPatch, sealed: Sealed, statement: str = "") -> None:
    """Somebody appends between the moment that fsck takes for the end of the ledger, and its walk."""

    def horizon_then_appends(connection: Connection) -> Horizon:
        horizon = horizon_of(connection)
        if statement:
            sealed.ledger.execute("admin", statement)
        sealed.write(2)
        return horizon

    monkeypatch.setattr(run, "horizon_of", horizon_then_appends)


def test_what_is_appended_meanwhile_is_not_misplaced(sealed: Sealed, monkeypatch: pytest.MonkeyPatch) -> None:
    spans = len(sealed.rows())
    meanwhile(monkeypatch, sealed)
    report = sealed.check()
    assert (report.ordered(), report.spans) == ([], spans)


def test_nor_is_what_a_new_era_begins_with(sealed: Sealed, monkeypatch: pytest.MonkeyPatch) -> None:
    meanwhile(monkeypatch, sealed, "INSERT INTO ledger_idx.era (era, reason) VALUES (2, 'restored')")
    assert sealed.found() == []


@contextmanager
def restored(sealed: Sealed, *, lost: int) -> Iterator[Sealed]:
    """The ledger at the point in time before `lost` spans, which the log has: recovery passed over 32 positions."""
    with copied_database(sealed.ledger.server, sealed.ledger.name) as ledger:
        ledger.execute("rdsadmin", "SELECT setval('ledger.position', nextval('ledger.position') + 31)")
        sealed.write(lost)
        sealed.seal()
        yield Sealed(ledger, sealed.log, sealed.outside, sealed.size)


def begin_era(sealed: Sealed) -> None:
    sealed.ledger.execute("admin", "INSERT INTO ledger_idx.era (era, reason) VALUES (2, 'restored')")


def test_a_point_in_time_that_was_restored_is_no_cut(sealed: Sealed) -> None:
    with restored(sealed, lost=2) as ledger:
        begin_era(ledger)
        assert ledger.found()[0] == ("old_backup", None), "before anybody has appended"
        ledger.write(3)
        assert ledger.found()[0] == ("old_backup", None)


def test_without_its_era_it_cannot_be_told_from_a_cut(sealed: Sealed) -> None:
    with restored(sealed, lost=2) as ledger:
        assert ledger.found()[0] == ("tail_missing", None)


def test_an_era_that_was_begun_does_not_hide_a_cut(sealed: Sealed) -> None:
    """The checkpoint over the spans that are missing is still there: this database had them."""
    begin_era(sealed)
    first, last = sealed.rows()[sealed.size - 2 : sealed.size]
    sealed.tamper("DELETE FROM ledger.universal_registry WHERE id = ANY(%s)", [first.id, last.id])
    assert sealed.found()[0] == ("tail_missing", None)
