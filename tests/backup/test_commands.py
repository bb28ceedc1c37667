"""The command line: what it prints, its exit codes, and the commands beside backup and restore."""

from __future__ import annotations

import json
import re
import shutil
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid5

import pytest

from db_migration.era import begin_era
from ledger.settings import asset_directory
from loglineos.cli import main
from loglineos.tenant_commands import TENANTS
from tests.backup.kit import fill, rows_of
from tests.cli.conftest import Shell
from tests.conftest import TestLedger
from tests.ledger.kit import assigned, insert, put, sealed, set_context, someone

PAGE = (asset_directory("migrations").parent / "docs/backup.md").read_text()


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


class Here:
    """The command line in this process, which takes a tenth of the time; for what has no Lambda's code in it."""

    def __init__(
        self, ledger: TestLedger, folder: Path, patch: pytest.MonkeyPatch, captured: pytest.CaptureFixture[str]
    ):
        self.folder, self._patch, self._captured = folder, patch, captured
        patch.chdir(folder)
        patch.setenv("DATABASE_URL", ledger.url("postgres"))
        patch.setenv("LOGLINEOS_DIRECTORY", str(folder / "local"))

    def run(self, *arguments: str, **environment: str) -> Done:
        """Its end."""
        code = 0
        with self._patch.context() as patch:
            patch.setattr(sys, "argv", ["loglineos", *arguments])
            for name, value in environment.items():
                patch.setenv(name, value)
            try:
                main()
            except SystemExit as end:
                code = int(end.code or 0)
        out, err = self._captured.readouterr()
        return Done(code, out, err)


@pytest.fixture
def here(
    ledger: TestLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Here:
    return Here(ledger, tmp_path, monkeypatch, capsys)


@pytest.fixture
def shell(ledger: TestLedger, tmp_path: Path) -> Shell:
    return Shell(ledger, tmp_path)


def test_backup_verify_and_restore(ledger: TestLedger, empty: TestLedger, here: Here) -> None:
    fill(ledger)
    made = here.run("backup", "mine")
    assert made.returncode == 0, made.stderr
    total = len(rows_of(ledger))
    assert f"{total} spans" in made.stdout
    sha256 = made.stdout.partition("SHA-256 ")[2][:64]
    added = json.loads(here.run("backup", "mine", "--incremental", "--json").stdout)
    assert (added["manifest"]["count"], added["manifest"]["total"], added["waiting"]) == (0, total, 0)
    assert added["manifest"]["predecessor"] == {"name": "0000-full.json", "sha256": sha256}
    checked = here.run("backup", "verify", "mine", "--sha256", added["sha256"])
    assert checked.returncode == 0
    assert checked.stdout.startswith(f"2 backups with {total} spans")
    restored = here.run("restore", "mine", DATABASE_URL=empty.url("postgres"))
    assert restored.returncode == 0, restored.stderr
    assert "Era 2 begins" in restored.stdout
    again = here.run("restore", "mine", DATABASE_URL=empty.url("postgres"))
    assert again.returncode == 1
    assert f"Error: the database has a ledger of {total} spans already." in again.stderr


def test_a_finding_is_shown_and_is_exit_code_1(backed_up: Path, here: Here) -> None:
    shutil.copytree(backed_up, here.folder / "copy")
    (here.folder / "copy/0000-full.spans.zst").unlink()
    done = here.run("backup", "verify", "copy")
    assert done.returncode == 1
    assert "0000-full.spans.zst: the file is missing" in done.stdout
    assert "1 finding. Take an older one" in done.stderr
    document = json.loads(here.run("backup", "verify", "copy", "--json").stdout)
    assert document["findings"] == [{"file": "0000-full.spans.zst", "reason": "the file is missing"}]
    assert here.run("backup", "verify", str(backed_up), "--sha256", "00" * 32).returncode == 1


def test_a_folder_may_be_left_out(here: Here) -> None:
    assert here.run("backup").returncode == 0
    (folder,) = here.folder.glob("loglineos-backup-*")
    assert (folder / "0000-full.json").exists()
    missing = here.run("backup", "--incremental")
    assert missing.returncode == 2
    assert "name its FOLDER" in missing.stderr


def test_the_database_is_needed_itself(here: Here) -> None:
    done = here.run("--env", "prod", "backup", DATABASE_URL="")
    assert done.returncode == 1
    assert "open a tunnel" in done.stderr
    assert here.run("backup", DATABASE_URL="postgresql://nobody:x@127.0.0.1:1/x").returncode == 3


def test_a_tenant_is_set_up_once(ledger: TestLedger, shell: Shell) -> None:
    created = json.loads(shell.run("tenant", "create", "initech", "--owner", "admin@example.com", "--json").stdout)
    (row,) = [row for row in rows_of(ledger) if row["entity_type"] == "tenant_setup"]
    assert created["created"]
    assert str(row["id"]) == created["id"]
    assert (row["who"], row["did"], row["this"], row["status"]) == ("admin", "created", "tenant", "active")
    assert (row["owner_id"], row["tenant_id"], row["visibility"]) == ("admin@example.com", "initech", "private")
    assert row["curr_hash"]
    assert row["signature"]
    again = shell.run("tenant", "create", "initech", "--owner", "admin@example.com")
    assert again.returncode == 0
    assert "was set up for admin@example.com already" in again.stdout
    other = shell.run("tenant", "create", "initech", "--owner", "eve")
    assert other.returncode == 1
    assert "was set up for admin@example.com already: choose another name" in other.stderr
    listed = json.loads(shell.run("tenant", "list", "--json").stdout)["tenants"]
    assert [(one["tenant_id"], one["owner_id"], one["id"]) for one in listed] == [
        ("initech", "admin@example.com", created["id"])
    ]


def test_whoever_takes_a_tenants_id_beforehand_keeps_nobody_from_it(ledger: TestLedger, shell: Shell) -> None:
    put(ledger, sealed(someone(), id=uuid5(TENANTS, "umbrella")))
    created = json.loads(shell.run("tenant", "create", "umbrella", "--owner", "ana", "--json").stdout)
    assert created["created"]
    assert created["id"] != str(uuid5(TENANTS, "umbrella"))


def test_an_era_is_begun_after_a_physical_restore(ledger: TestLedger, shell: Shell) -> None:
    shown = json.loads(shell.run("era", "--json").stdout)["eras"]
    assert [one["era"] for one in shown] == [1]
    done = shell.run("era", "begin", "--reason", "PITR to 2026-01-31T12:00:00Z")
    assert done.returncode == 0, done.stderr
    assert "PITR to 2026-01-31T12:00:00Z" in done.stdout
    span = sealed(someone())
    put(ledger, span)
    assert assigned(ledger, span)["era"] == 2
    assert shell.run("era", "begin").returncode == 2


def test_no_span_of_the_old_era_comes_after_the_new_one_began(ledger: TestLedger) -> None:
    """A follower takes an earlier era for complete: so its beginning waits for whoever has appended and is not done."""
    owner, begun = someone(), threading.Event()

    def begin() -> None:
        with ledger.connect("postgres") as connection:
            begin_era(connection, "a test")
        begun.set()

    with ledger.connect("lambda_exec") as connection, connection.transaction():
        set_context(connection, owner)
        insert(connection, sealed(owner))
        thread = threading.Thread(target=begin)
        thread.start()
        assert not begun.wait(0.3)
        late = sealed(owner)
        insert(connection, late)
    thread.join(20)
    assert begun.is_set()
    assert assigned(ledger, late)["era"] == 1


def test_the_pages_commands_do_what_it_says(ledger: TestLedger, empty: TestLedger, here: Here) -> None:
    fill(ledger)
    block = PAGE.partition("## Back up")[2].partition("```bash\n")[2].partition("```")[0]
    lines = [line.partition("#")[0].split()[1:] for line in block.strip().splitlines()]
    assert [line[:2] for line in lines] == [["backup", "week-05"], ["backup", "week-05"], ["backup", "verify"]]
    for line in lines:
        done = here.run(*line)
        assert done.returncode == 0, (line, done.stderr)
    assert "loglineos restore FOLDER" in PAGE
    assert here.run("restore", "week-05", DATABASE_URL=empty.url("postgres")).returncode == 0
    assert len(rows_of(empty)) == len(rows_of(ledger))
    assert "TRUSTED_ROW_KEYS=ROW_KEYS loglineos seed\n" in PAGE
    operator = Shell(empty, here.folder)
    unguided = Shell(empty, here.folder)
    del unguided.environment["TRUSTED_ROW_KEYS"], unguided.environment["ROW_SIGNING_KEY_HEX"]
    assert "Set TRUSTED_ROW_KEYS to the deployment's keys" in unguided.run("seed").stderr
    seeded = operator.run("seed", "--json")
    assert json.loads(seeded.stdout)["inserted"] == [], seeded.stderr


def test_the_page_names_every_option_and_no_other(here: Here) -> None:
    named = set(re.findall(r"`(?:backup verify )?(--[a-z0-9]+)|(?<= )(--[a-z0-9]+)", PAGE))
    options = {one for pair in named for one in pair if one}
    ours = "backup make, backup verify, restore, drill, snapshot make, pitr, era begin, tenant create, fsck"
    known = "".join(here.run(*command.split(), "--help").stdout for command in ours.split(", "))
    foreign = {"--sse", "--enable", "--data"}  # aws's, pg_dump's and pg_restore's
    assert {option for option in options - foreign if option not in known} == {"--env"}
