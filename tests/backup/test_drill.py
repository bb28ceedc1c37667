"""The recovery drill: real boots, backups while writers append, a fresh cluster, all of it proved, and work goes on."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from ledger.storage import Folder
from loglineos.backup.drill import Log, Report, run_drill
from loglineos.backup.errors import BackupDamaged, BackupFailed
from loglineos.backup.manifest import read_chain
from loglineos.backup.verify import verify_backup
from loglineos.local.postgres import LocalPostgres
from tests.backup.kit import fill, proved, quiet, restore, rows_of, seeded, take
from tests.backup.test_incremental import writers
from tests.backup.test_tampered import change_a_byte
from tests.cli.conftest import Shell
from tests.conftest import LOADER_KEY, TestLedger, environment_of
from tests.fsck.kit import KEY, Sealed
from tests.stage0_loader.stage import PROMPT_KERNEL, Stage
from tlog.checkpoint import open_checkpoint

WELCOME = {"name": "welcome_message", "variables": {"user_name": "Ana"}}


@dataclass(frozen=True)
class LivedIn:
    """The backup of a ledger that was used, and the log over it."""

    ledger: TestLedger
    folder: Path
    log: Folder
    outside: list[tuple[str, str]]

    def sealed(self, ledger: TestLedger, copy: Path) -> Sealed:
        """What the log has sealed, held against another ledger; it may go on, in a copy."""
        shutil.copytree(self.log.path, copy)
        return Sealed(ledger, Folder(copy), list(self.outside))


@pytest.fixture(scope="module")
def lived_in(shared: TestLedger, tmp_path_factory: pytest.TempPathFactory) -> LivedIn:
    """Boots, memories, checkpoints, and writers that went on all the time."""
    place, stage = tmp_path_factory.mktemp("drill"), Stage(shared)
    folder, sealed = place / "backup", Sealed(shared, Folder(place / "archive/log"))
    stage.store("o que era antes")
    for _ in range(3):
        assert stage.boot(PROMPT_KERNEL, WELCOME).status == 200
    fill(shared, LOADER_KEY)
    with writers(shared, 2, LOADER_KEY):
        take(shared, folder)
        stage.store("o que veio depois")
        sealed.seal()
        take(shared, folder, incremental=True)
    sealed.seal()
    take(shared, folder, incremental=True)
    stage.close()
    return LivedIn(shared, folder, sealed.log, sealed.outside)


def test_a_fresh_cluster_takes_over(lived_in: LivedIn, other_cluster: LocalPostgres, tmp_path: Path) -> None:
    server = other_cluster.start()
    ledger = TestLedger(server, "loglineos", environment_of(server, "loglineos"))
    checked = verify_backup(lived_in.folder, quiet)
    assert checked.findings == []
    assert checked.checkpoint_size == open_checkpoint(lived_in.outside[-1][1], [KEY]).size
    restored = restore(lived_in.folder, ledger)
    with ledger.connect("postgres") as connection:
        assert proved(connection) == restored.spans
    assert rows_of(ledger) == rows_of(lived_in.ledger)
    assert seeded(ledger) == []
    other_cluster.ensure_login("readonly")  # passwords are the deployment's, not the backup's
    again = lived_in.sealed(ledger, tmp_path / "archive/log")
    assert again.found() == []  # by fsck, against the log and a checkpoint outside
    other_cluster.ensure_login("lambda_exec")
    stage = Stage(ledger)
    newest = restored.manifest.newest
    assert newest is not None
    booted = stage.boot(PROMPT_KERNEL, WELCOME)
    assert booted.status == 200, booted.raw
    event = {"action": "timeline", "after": str(newest.place.cursor), "user_id": "alice", "tenant_id": "acme"}
    spans = stage.send(event).body["spans"]
    assert {span["era"] for span in spans} == {2}
    assert booted.body["execution_id"] in [span["id"] for span in spans]
    found = stage.memory({"action": "search", "search_query": "depois"}).output["memories"]
    assert [memory["content"] for memory in found] == ["o que veio depois"]
    stage.close()
    again.seal()  # the log goes on over both eras
    assert again.size > restored.spans
    assert again.found() == []


def test_the_command(lived_in: LivedIn, tmp_path: Path) -> None:
    shell = Shell(lived_in.ledger, tmp_path)
    done = shell.run(
        "drill", str(lived_in.folder), "--report", "reports", "--key", str(KEY), "--log", str(lived_in.log)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
    (kept,) = (tmp_path / "reports").glob("*.json")
    report = json.loads(kept.read_text())
    assert report["ok"]
    assert report["spans"] == read_chain(lived_in.folder)[-1].manifest.total
    assert report["sha256"] == read_chain(lived_in.folder)[-1].sha256
    assert (report["era"], report["seeded"]) == (2, 0)
    assert list(report["steps"]) == ["start PostgreSQL", "restore", "prove", "fsck", "seed", "boot"]
    assert report["recovery_s"] <= sum(report["steps"].values()) + 0.1
    assert (tmp_path / "reports" / f"{kept.stem}.txt").read_text().strip() in done.stdout
    assert not (tmp_path / "local/drill").exists()


def test_a_drill_of_a_bad_backup_fails_and_leaves_nothing(lived_in: LivedIn, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(lived_in.folder, tmp_path / "copy"))
    change_a_byte(folder)
    report = Report(began="now")
    with pytest.raises(BackupDamaged, match="it was changed"):
        run_drill(folder, None, tmp_path / "place", lambda text: nullcontext(quiet), report)
    assert not report.ok
    assert not (tmp_path / "place").exists()


def test_a_drill_notices_what_the_log_has_sealed_and_the_backup_has_not(lived_in: LivedIn, tmp_path: Path) -> None:
    folder = tmp_path / "older"
    folder.mkdir()
    for path in lived_in.folder.glob("0000-*"):
        shutil.copy(path, folder)
    place, report, log = tmp_path / "place", Report(began="now"), Log(lived_in.log, [KEY])
    with pytest.raises(BackupFailed, match=r"fsck has \d+ findings, the first of them: old_backup"):
        run_drill(folder, None, place, lambda text: nullcontext(quiet), report, log)
