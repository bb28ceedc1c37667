"""The local ledger's life by the command line: up twice, status, down, and what each says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from loglineos.local.postgres import LocalPostgres

CODE = "import sys; from loglineos.cli import main; sys.argv[0] = 'loglineos'; main()"


@pytest.fixture
def directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="loglineos-cli-"))
    directory.chmod(0o755)
    yield directory
    LocalPostgres(directory / "postgres").remove()
    shutil.rmtree(directory)


def _loglineos(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    return subprocess.run(
        [sys.executable, "-c", CODE, *arguments], env={**environment, "LOGLINEOS_DIRECTORY": str(directory)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_up_twice_status_and_down(directory: Path) -> None:
    assert _loglineos(directory, "status").returncode == 3
    first = _loglineos(directory, "up", "--demo")
    assert first.returncode == 0, first.stderr
    assert "Searching for 'signed spans' found: ['LogLineOS keeps everything" in first.stdout
    assert "BROKEN" not in first.stdout
    again = _loglineos(directory, "up", "--demo")
    assert "0 migrations applied, 0 rows seeded, 9 unchanged." in again.stdout
    assert "the same request_id answers the stored result" in again.stdout

    status = json.loads(_loglineos(directory, "status", "--json").stdout)
    assert status["pending_migrations"] == []
    assert status["spans"] > 9
    assert _loglineos(directory, "down").stdout.endswith("Stopped; the data stay in .local.\n")
    assert _loglineos(directory, "down").stdout.endswith("It was not running.\n")
    down = _loglineos(directory, "boot", "memory_store_kernel", "--input", '{"action":"list"}')
    assert (down.returncode, "start it with `loglineos up`" in down.stderr) == (3, True)

    assert _loglineos(directory, "up").returncode == 0
    memories = json.loads(
        _loglineos(directory, "boot", "memory_store_kernel", "--input", '{"action":"list"}', "--json").stdout
    )["output"]["memories"]
    assert len(memories) == 1  # it survived, and the second demo stored no other


def test_keys_and_passwords_are_private_and_psql_gets_in_as_readonly(directory: Path) -> None:
    _loglineos(directory, "up")
    for name in ("keys.json", "env", "pgpass", "postgres/passwords.json"):
        assert (directory / name).stat().st_mode & 0o077 == 0, name
    script = f'. "{directory}/env" && exec "{sys.executable}" -c "{PSQL}"'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "readonly", done.stderr


# What psql does with the sourced variables, by the same library, so that the test needs no psql.
PSQL = "import psycopg; print(psycopg.connect().execute('SELECT current_user').fetchone()[0])"
