"""What a report keeps of many findings."""

from __future__ import annotations

import pytest
from nacl.signing import SigningKey

from ledger.proof import public_key_of
from loglineos.fsck import Finding, Report
from loglineos.fsck import findings as findings_module
from tests.conftest import LOADER_KEY
from tests.fsck.kit import ROOTS, Sealed, changed, name


def test_a_flood_of_one_kind_is_counted_and_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings_module, "MAX_KEPT", 10)
    report = Report()
    report.add(*(Finding("key_unknown", "not the one that was given", f"span {n}") for n in range(1000)))
    report.add(Finding("replaced", "that is what matters", "span 7", 7))
    assert (report.count, report.counts) == (1001, {"key_unknown": 1000, "replaced": 1})
    assert [finding.kind for finding in report.ordered()] == ["replaced", *["key_unknown"] * 10]


def test_a_wrong_loader_key_hides_no_replaced_span(sealed: Sealed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings_module, "MAX_KEPT", 5)
    victim = next(span for span in sealed.rows() if span.name == "note 3")
    sealed.store(changed(victim, LOADER_KEY, name="another"))
    wrong = frozenset({public_key_of(SigningKey(b"a key that nobody has announced!"))})
    report = sealed.check(roots={**ROOTS, "loader": wrong})
    assert (report.ordered()[0].kind, report.ordered()[0].span) == ("replaced", name(victim))
    assert report.counts["key_unknown"] > 5
