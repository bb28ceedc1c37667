"""A run that is killed leaves nothing half done: the next one goes on, and takes what is there if it is right."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from db_migration.archive.parquet import SpanFile, read_file
from tests.archive.kit import FEBRUARY, JANUARY, Archived, days_since
from tests.conftest import TestLedger
from tests.ledger.kit import draft, someone

# The action in a process that kills itself where a name is called, as `kill -9` would at that moment.
KILLED_AT = """
import importlib, os, signal, sys
module, thing, method = sys.argv[1:]
kind = getattr(importlib.import_module(module), thing)
setattr(kind, method, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
from db_migration.handler import answer
answer({"action": "archive", "older_than_days": 0}, os.environ)
"""
BEFORE_ITS_SPAN = ("db_migration.archive.record", "Record", "add")
BEFORE_THE_UPLOAD = ("ledger.storage", "Folder", "add_file")
WHILE_WRITING = ("db_migration.archive.parquet", "SpanFile", "_flush")


def kill(archived: Archived, where: tuple[str, str, str]) -> None:
    environment = {**os.environ, **archived.environment}
    done = subprocess.run([sys.executable, "-c", KILLED_AT, *where], env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.fixture
def archived(ledger: TestLedger, tmp_path: Path) -> Archived:
    made = Archived(ledger, tmp_path)
    made.append(*[draft(someone()) for _ in range(1)])
    return made


def test_a_killed_run_is_taken_up_wherever_it_was(archived: Archived) -> None:
    size = archived.seal(JANUARY).size
    for where in (WHILE_WRITING, BEFORE_THE_UPLOAD):
        kill(archived, where)
        assert (archived.files(), archived.spans()) == ([], [])
    kill(archived, BEFORE_ITS_SPAN)
    (name,) = archived.files()
    written = (archived.folder / name).stat()
    # More is sealed in the month before anybody tries again: the file that is there is kept as it is.
    archived.append(draft(someone()))
    more = archived.seal(JANUARY + timedelta(days=1)).size
    result = archived.run()
    assert (result["ok"], result["archived"]) == (True, more), result
    kept = (archived.folder / name).stat()
    assert (kept.st_ino, kept.st_mtime_ns) == (written.st_ino, written.st_mtime_ns)
    assert archived.files() == [name, f"spans/month=2025-01/{size:020}-{more - size}.parquet"]
    assert [(span.metadata or {})["to"] for span in archived.spans()] == [size, more]


def test_a_file_that_reaches_beyond_what_is_old_enough_is_kept(archived: Archived) -> None:
    archived.seal(JANUARY)
    archived.append(draft(someone()))
    second = archived.seal(JANUARY + timedelta(days=1)).size
    kill(archived, BEFORE_ITS_SPAN)
    assert archived.files() == [f"spans/month=2025-01/{0:020}-{second}.parquet"]
    result = archived.run(days_since(JANUARY))
    assert (result["ok"], result["archived"]) == (True, second), result


@pytest.mark.parametrize("change", ["a signature", "a span less", "no Parquet"])
def test_a_file_in_the_way_that_is_not_the_ledgers_is_refused(archived: Archived, change: str) -> None:
    archived.seal(FEBRUARY)
    kill(archived, BEFORE_ITS_SPAN)
    (name,) = archived.files()
    path = archived.folder / name
    rows = [list(row) for row in read_file(path, name)]
    path.unlink()
    if change == "a signature":  # which no hash covers
        rows[0][27] = "0" * 128
    elif change == "a span less":
        del rows[-1]
    with SpanFile(path) as file:
        for row in rows:
            file.add(row)
    if change == "no Parquet":
        path.write_bytes(b"PAR1")
    result = archived.run()
    assert result["error"]["code"] == "archive_refused"
    assert name in result["error"]["message"]
    assert archived.spans() == []
