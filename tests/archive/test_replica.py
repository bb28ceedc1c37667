"""The archive reads the replica: after a restore, or far behind, that is no tampering, and is said by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from db_migration.handler import answer
from tests.archive.kit import FEBRUARY, JANUARY, Archived
from tests.conftest import TestLedger
from tests.ledger.kit import copied_database, draft, someone


@dataclass
class Restored(Archived):
    """A ledger whose replica follows another one."""

    followed: TestLedger

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "READONLY_DATABASE_URL": self.followed.url("readonly")}

    def refusal(self) -> str:
        """What the archive says, where it refuses."""
        said: dict[str, Any] = self.run()
        assert said["error"]["code"] == "archive_refused", said
        assert "make it anew (docs/runbooks/restore.md)" in said["error"]["message"]
        assert self.files() == []
        assert self.spans() == []
        return str(said["error"]["message"])


@pytest.fixture
def restored(ledger: TestLedger, tmp_path: Path) -> Iterator[Restored]:
    """One that has the lost ledger's first checkpoint."""
    Archived(ledger, tmp_path).seal(JANUARY)
    with copied_database(ledger.server, ledger.name) as made:
        yield Restored(made, tmp_path, ledger)


def test_a_replica_of_an_era_before_is_named(restored: Restored) -> None:
    assert answer({"action": "era", "reason": "PITR"}, restored.environment)["ok"]
    assert "it is in era 1, the ledger in era 2" in restored.refusal()


def test_so_is_one_that_lacks_a_checkpoint(restored: Restored) -> None:
    restored.append(draft(someone()))
    size = restored.seal(JANUARY).size
    assert f"it lacks the checkpoint of {size} spans" in restored.refusal()


def test_so_is_one_that_has_another_in_its_place(restored: Restored, tmp_path: Path) -> None:
    restored.append(draft(someone()))
    size = restored.seal(JANUARY).size
    lost = Archived(restored.followed, tmp_path / "lost")
    lost.append(draft(someone()))
    elsewhere = answer({"action": "checkpoint", "rebuild": True}, lost.environment)
    assert elsewhere["ok"], elsewhere
    lost.seal(FEBRUARY)
    assert f"another checkpoint in the place of that of {size} spans" in restored.refusal()


def test_a_replica_that_is_made_anew_is_read_again(restored: Restored) -> None:
    assert answer({"action": "era", "reason": "PITR"}, restored.environment)["ok"]
    restored.append(draft(someone()))
    size = restored.seal(JANUARY).size
    restored.refusal()
    restored.followed = restored.ledger
    said = restored.run()
    assert (said["ok"], said["archived"]) == (True, size), said
