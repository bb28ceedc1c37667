"""Killed in the middle, neither a backup nor a restore leaves anything that passes for one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from loglineos.backup.errors import BackupFailed
from loglineos.backup.manifest import manifests_in, read_chain
from tests.backup.kit import fill, findings, restore, rows_of, take
from tests.conftest import TestLedger

# The command, which says when it is in the middle of its spans, and stays there.
IN_THE_MIDDLE = """
import sys, time
from loglineos.cli import main
from loglineos.backup import check, take

def stop(*_):
    print("in the middle", flush=True)
    time.sleep(600)

if sys.argv[1] == "backup":
    see = take._Passing.see
    take._Passing.see = lambda passing, line: see(passing, line) if passing.count < 10 else stop()
else:
    check.Checker.finish = stop
main()
"""


def kill_in_the_middle(ledger: TestLedger, *arguments: str) -> None:
    """Start the command and kill it there."""
    environment = {**os.environ, "DATABASE_URL": ledger.url("postgres")}
    with subprocess.Popen(
        [sys.executable, "-c", IN_THE_MIDDLE, *arguments], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in the middle\n"
        process.send_signal(signal.SIGKILL)
        process.wait(10)


def test_a_killed_backup_is_none(filled: TestLedger, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    kill_in_the_middle(filled, "backup", str(folder))
    assert [path.name for path in folder.iterdir() if path.suffix == ".half"]
    with pytest.raises(BackupFailed, match="there is no backup in"):
        read_chain(folder)
    take(filled, folder)
    assert findings(folder) == []
    assert not list(folder.glob("*.half"))


def test_a_killed_incremental_backup_leaves_those_before(filled: TestLedger, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    take(filled, folder)
    fill(filled)
    fill(filled)
    kill_in_the_middle(filled, "backup", str(folder), "--incremental")
    assert manifests_in(folder) == ["0000-full.json"]
    assert findings(folder) == []
    take(filled, folder, incremental=True)
    assert findings(folder) == []
    assert read_chain(folder)[-1].manifest.total == len(rows_of(filled))


def test_a_killed_restore_leaves_nothing_and_is_done_again(backed_up: Path, empty: TestLedger) -> None:
    kill_in_the_middle(empty, "restore", str(backed_up))
    total = read_chain(backed_up)[-1].manifest.total
    restored = restore(backed_up, empty)  # it waits for the lock of the session that died
    assert restored.spans == total == len(rows_of(empty))
    assert restored.era == 2
