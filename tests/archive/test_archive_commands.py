"""`loglineos archive` as an operator uses it, and what `archive verify` finds in files that somebody touched."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey

from db_migration.archive.parquet import SpanFile, read_file
from ledger.storage import storage_at
from tests.archive.kit import CHECKPOINT_KEY, FEBRUARY, JANUARY, ORIGIN, Archived
from tests.cli.conftest import Shell
from tests.ledger.kit import copied_database, draft, someone
from tlog.checkpoint import open_checkpoint
from tlog.note import NoteKey
from tlog.tiles import Tree, encode_bundle, tile_path

KEY = str(NoteKey(ORIGIN, bytes(CHECKPOINT_KEY.verify_key)))


def operator(archived: Archived, folder: Path) -> Shell:
    shell = Shell(archived.ledger, folder)
    shell.environment |= {
        "ARCHIVE_LOCATION": str(archived.folder),
        "LOG_ORIGIN": ORIGIN,
        "CHECKPOINT_KEY_HEX": bytes(CHECKPOINT_KEY).hex(),
    }
    return shell


@pytest.fixture(scope="module")
def archived(cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archived]:
    """Two ranges, archived by the command."""
    with copied_database(cluster) as ledger:
        made = Archived(ledger, tmp_path_factory.mktemp("archive"))
        made.append(*[draft(someone()) for _ in range(1)])
        made.seal(JANUARY)
        made.append(draft(someone()))
        made.seal(FEBRUARY)
        yield made


@pytest.fixture(scope="module")
def first_run(archived: Archived, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    done = operator(archived, tmp_path_factory.mktemp("first")).run("archive", "--older-than", "0")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def shell(first_run: list[str], archived: Archived, tmp_path: Path) -> Shell:
    return operator(archived, tmp_path)


def test_it_tells_each_range_and_that_it_is_through(first_run: list[str], archived: Archived, shell: Shell) -> None:
    january, february = archived.files()
    assert first_run[0].startswith(f"archived  0 to {archived.spans()[0].metadata['to'] - 1}  {january} (")  # type: ignore[index]
    assert february in first_run[1]
    assert first_run[2].endswith("spans that were sealed 0 days ago are archived.")
    again = json.loads(shell.run("archive", "--older-than", "0", "--json").stdout)
    assert (again["ranges"], again["more"], again["archived"]) == ([], False, again["sealed"])


def test_young_seals_are_left_alone(shell: Shell) -> None:
    done = shell.run("archive", "--older-than", "36500")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Nothing to archive: no checkpoint is 36500 days old.")
    assert shell.run("archive", "--older-than", "-1").returncode == 2


def test_list_shows_the_ranges(archived: Archived, shell: Shell) -> None:
    lines = [line.split("\t") for line in shell.run("archive", "list").stdout.splitlines()]
    assert lines[0] == ["month", "from", "to", "spans", "bytes", "archived at", "file"]
    assert [(line[0], line[-1]) for line in lines[1:]] == list(
        zip(["2025-01", "2025-02"], archived.files(), strict=True)
    )
    ranges = json.loads(shell.run("archive", "list", "--json").stdout)["ranges"]
    assert [one["digest"] for one in ranges] == [(span.metadata or {})["digest"] for span in archived.spans()]


def test_verify_reads_everything_back(archived: Archived, shell: Shell) -> None:
    done = shell.run("archive", "verify", "--key", KEY)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "in 2 ranges are what was recorded (held against the log of" in done.stdout


def test_verify_does_not_pass_over_what_a_log_does_not_reach(archived: Archived, shell: Shell, tmp_path: Path) -> None:
    """Whoever may write to the storage may put an older checkpoint there, or none."""
    january, february = ((span.metadata or {})["to"] for span in archived.spans())
    log = Path(shutil.copytree(archived.folder / "log", tmp_path / "log"))
    shutil.copy(log / "checkpoints" / f"{january:020}", log / "checkpoint")
    done = shell.run("archive", "verify", "--key", KEY, "--log", str(log))
    assert done.returncode == 1
    assert f"it ends at {february}, and the log in {log} at {january}: it was not held against it" in done.stdout
    (log / "checkpoint").unlink()
    said = json.loads(shell.run("archive", "verify", "--log", str(log), "--json").stdout)
    assert (said["ok"], said["log"], len(said["findings"])) == (False, 0, 2)


def test_verify_by_another_key_believes_no_range(archived: Archived, shell: Shell, tmp_path: Path) -> None:
    """The log's checkpoint does not count, and where the key has signed one, the archivist's spans do not."""
    other = SigningKey(bytes(range(32)))
    key = str(NoteKey(ORIGIN, bytes(other.verify_key)))
    done = shell.run("archive", "verify", "--key", key)
    assert done.returncode == 1
    assert "log/checkpoint does not count: the note is not signed by a trusted key" in done.stderr
    log = Path(shutil.copytree(archived.folder / "log", tmp_path / "log"))
    (log / "checkpoint").write_text(
        open_checkpoint((log / "checkpoint").read_text(), [NoteKey.parse(KEY, "")]).sign(other)
    )
    done = shell.run("archive", "verify", "--key", key, "--log", str(log))
    assert done.returncode == 1
    assert "the archive span itself: its key" in done.stdout


@pytest.mark.parametrize("touched", ["a byte", "a span's code", "a signature", "the order", "gone", "the log"])
def test_verify_finds_what_was_touched(touched: str, archived: Archived, shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(archived.folder, folder)
    shell.environment["ARCHIVE_LOCATION"] = str(folder)
    name = archived.files()[0]
    expected = touch(folder, folder / name, name, touched)
    done = shell.run("archive", "verify", "--json")
    assert done.returncode == 1, done.stdout
    findings = json.loads(done.stdout)["findings"]
    assert findings[0]["file"] == name
    assert expected in findings[0]["problem"]


def touch(folder: Path, path: Path, name: str, what: str) -> str:
    """Change a file as somebody could who may write to the storage; what has to be said of it."""
    if what == "gone":
        path.unlink()
        return "is missing from"
    if what == "the log":
        log = storage_at(str(folder / "log"))
        size = int((folder / "log" / "checkpoint").read_text().splitlines()[1])
        entries = list(Tree(log, size).entries(0))
        entries[3] = bytes(32)
        log.replace(tile_path("entries", 0, size), encode_bundle(entries))
        return "span number 3 is not what the log has sealed there"
    if what == "a byte":
        data = bytearray(path.read_bytes())
        data[-20] ^= 1  # in the footer
        path.write_bytes(data)
        return ""
    rows = [list(row) for row in read_file(path, name)]
    if what == "a span's code":
        rows[5][16] = "another"
    elif what == "a signature":  # which no span's hash covers
        rows[5][27] = "0" * 128
    else:
        rows[5], rows[6] = rows[6], rows[5]
    with SpanFile(path) as file:
        for row in rows:
            file.add(row)
    return {
        "a span's code": "its columns do not match its hash",
        "a signature": "was recorded: it was changed",
        "the order": "it stands before the one ahead of it",
    }[what]
