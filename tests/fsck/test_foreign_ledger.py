"""Somebody with DATABASE_URL alone, at a ledger that a deployment has sealed: looks at it, and writes nothing to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Shell
from tests.fsck.kit import ORIGIN, Sealed

PROMPT_FETCH = "00000000-0000-4000-8000-000000000006"


@pytest.fixture
def somebody(lived: Sealed, tmp_path: Path) -> Shell:
    """With the tunnel's address, and no key."""
    shell = Shell(lived.ledger, tmp_path)
    for name in ("TRUSTED_ROW_KEYS", "ROW_SIGNING_KEY_HEX", "ARCHIVE_LOCATION"):
        shell.environment.pop(name, None)
    return shell


def count(lived: Sealed) -> int:
    return len(lived.rows())


@pytest.mark.parametrize("command", ["health", "xray"])
def test_looking_appends_nothing_and_sees_the_ledgers_own_log(lived: Sealed, somebody: Shell, command: str) -> None:
    before = count(lived)
    done = somebody.run(command)
    assert count(lived) == before, done.stdout
    if command == "health":
        assert f"size {lived.size}, " in done.stdout
        assert any(line.startswith("ok       manifest ") for line in done.stdout.splitlines()), done.stdout


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (("boot", PROMPT_FETCH), "TRUSTED_ROW_KEYS, SIGNING_KEY_HEX"),
        (("append", '{"entity_type": "note", "did": "wrote", "this": "it"}'), "TRUSTED_ROW_KEYS, SIGNING_KEY_HEX"),
        (("seed",), "TRUSTED_ROW_KEYS"),
        (("checkpoint",), "LOG_ORIGIN, CHECKPOINT_KEY_HEX, ARCHIVE_LOCATION"),
        (("archive",), "LOG_ORIGIN, CHECKPOINT_KEY_HEX, ARCHIVE_LOCATION"),
    ],
)
def test_what_would_write_asks_for_keys(lived: Sealed, somebody: Shell, words: tuple[str, ...], asked: str) -> None:
    before, done = count(lived), somebody.run(*words)
    said = f"Error: this ledger has a log of its own, {ORIGIN}, and no key is made up for it: set {asked} to what"
    assert (done.returncode, done.stderr.startswith(said), count(lived)) == (1, True, before), done.stderr


def test_its_log_is_not_looked_for_on_this_machine(somebody: Shell) -> None:
    done = somebody.run("checkpoint", "show")
    assert done.stderr == f"Error: the log of this ledger, {ORIGIN}, is not here: say where by --log\n"


def test_with_what_the_deployment_has_it_goes_on(lived: Sealed, somebody: Shell) -> None:
    """As after a restore, where rows are not signed (docs/backup.md)."""
    done = somebody.run("seed", TRUSTED_ROW_KEYS="")
    assert done.returncode == 0, done.stderr
    assert "unchanged" in done.stdout
