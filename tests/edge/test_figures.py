"""A caller's figures: bounded in what they read, and right about what they leave out."""

from __future__ import annotations

import pytest

from stage0_loader.edge import figures
from tests.conftest import TestLedger
from tests.edge.kit import Device
from tests.migrations.test_page_plans import BUFFERS, CALLERS, buffers, crowded

__all__ = ["crowded"]


@pytest.mark.parametrize("caller", CALLERS)
def test_counting_reads_what_it_counts_and_not_the_table(crowded: TestLedger, caller: str) -> None:
    with crowded.connect("lambda_exec") as connection:
        read, _ = buffers(connection, CALLERS[caller], "ledger.recent_counts(now() - interval '1 day', 50)")
    assert read < BUFFERS


def test_what_is_older_than_a_day_is_not_counted(device: Device) -> None:
    device.append("new")
    device.append("old", at="2025-01-01T00:00:00Z")
    assert device.get("/api/metrics").body["spans"]["note"] == 1


def test_more_than_is_counted_is_said(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "COUNTED", 3)
    before = device.get("/api/metrics").body
    assert before["complete"] is True
    for n in range(5):
        device.append(str(n))
    after = device.get("/api/metrics").body
    assert (after["complete"], after["spans"]["note"]) == (False, 3)
