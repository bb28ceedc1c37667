"""A log that is not there proves nothing, and fsck does not say that it does."""

from __future__ import annotations

import json
from pathlib import Path

from ledger.storage import Folder
from tests.cli.conftest import Shell
from tests.conftest import TestLedger
from tests.fsck.kit import KEY, Sealed


def fsck(ledger: TestLedger, folder: Path, *arguments: str) -> tuple[int, str, str]:
    done = Shell(ledger, folder).run("fsck", "--key", str(KEY), *arguments)
    return done.returncode, done.stdout, done.stderr


def test_a_log_that_is_gone_though_the_ledger_was_sealed(sealed: Sealed, tmp_path: Path) -> None:
    sealed.log = Folder(tmp_path / "nowhere")
    report = sealed.check(outside=False)
    assert [(one.kind, one.message) for one in report.found] == [
        ("log_missing", f"{sealed.log} has no checkpoint, but the ledger tells of 2")
    ]


def test_a_log_that_is_gone_though_a_checkpoint_is_at_hand(sealed: Sealed, tmp_path: Path) -> None:
    """Also where somebody took the checkpoints' spans out of the ledger."""
    sealed.log = Folder(tmp_path / "nowhere")
    sealed.tamper("DELETE FROM ledger.universal_registry WHERE entity_type = 'checkpoint'")
    assert sealed.check().ordered()[0].message == f"{sealed.log} has no checkpoint, but outside/{sealed.size} was given"


def test_the_command_names_it(lived: Sealed, tmp_path: Path) -> None:
    code, said, _ = fsck(lived.ledger, tmp_path, "--log", str(tmp_path / "nowhere"))
    assert (code, "Nothing is wrong" in said) == (1, False)
    assert "log_missing (1): there is no log at this place" in said


def test_the_command_does_not_guess_where_the_log_is(lived: Sealed, tmp_path: Path) -> None:
    code, said, error = fsck(lived.ledger, tmp_path)
    assert (code, said) == (2, "")
    assert "DATABASE_URL does not say where the ledger's log is: give it by --log" in error
    assert fsck(lived.ledger, tmp_path, "--log", str(lived.log))[0] == 0


def test_a_ledger_that_nobody_has_sealed_yet(ledger: TestLedger, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    code, said, _ = fsck(ledger, tmp_path, "--log", nowhere)
    assert (code, said.splitlines()[1:]) == (
        0, [f"Compared with nothing outside of it: no checkpoint counts in {nowhere}", "Nothing is wrong."]
    )  # fmt: skip
    told = json.loads(fsck(ledger, tmp_path, "--log", nowhere, "--json")[1])
    assert (told["ok"], told["sealed"], told["checkpoints"], told["log"]) == (True, 0, 0, nowhere)
