"""A ledger that is in use while fsck reads it, and whose life was not always the same, is sound."""

from __future__ import annotations

import pytest

from ledger.connection import Connection
from loglineos.fsck import run
from loglineos.fsck.reading import Horizon, horizon_of
from tests.fsck.kit import Sealed


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
