"""Where a command is to write, or to read: what is wrong with the place is said, and before the work."""

from __future__ import annotations

import pytest
from nacl.signing import SigningKey

from tests.cli.conftest import Shell
from tlog.checkpoint import Checkpoint

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


@pytest.mark.parametrize(
    "words",
    [
        ("checkpoint", "show", "--out"),
        ("checkpoint", "consistency", "1", "2", "--out"),
        ("prove", "00000000-0000-4000-8000-000000000001", "--out"),
        ("keys", "new", "--out"),
        ("routine", "daily", "--out"),
        ("xray", "--html"),
        ("drill", "--report"),
    ],
)
def test_a_place_to_write_to_is_tried_before_the_work(visitor: Shell, words: tuple[str, ...]) -> None:
    """The work would fail: there is no database."""
    done = visitor.run(*words, "/proc/nowhere/x", DATABASE_URL=NOWHERE)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"Invalid value for '{words[-1]}'" in done.stderr
    assert "/proc/nowhere" in done.stderr
    assert "No such file or directory" in done.stderr


def test_what_no_command_foresaw_is_still_one_line(visitor: Shell) -> None:
    done = visitor.run("backup", "/proc/nowhere", DATABASE_URL=NOWHERE)
    assert (done.returncode, done.stderr) == (1, "Error: /proc/nowhere: No such file or directory\n")
    (visitor.folder / "backup" / "0000-full.json").mkdir(parents=True)
    done = visitor.run("backup", "verify", "backup")
    assert (done.returncode, done.stderr) == (1, "Error: backup/0000-full.json: Is a directory\n")


def test_a_bucket_that_does_not_answer(visitor: Shell) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1"}
    gone = {**keys, "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    done = visitor.run("checkpoint", "show", "--log", "s3://nobucket/log", **gone)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: s3://nobucket/log: Could not connect to the endpoint URL")


def test_a_copy_of_a_log_needs_neither_stack_nor_database(visitor: Shell) -> None:
    note = Checkpoint("a-log", 7, b"r" * 32).sign(SigningKey(b"checkpoint key of this test !!!!"))
    copy = visitor.folder / "copy"
    (copy / "checkpoints").mkdir(parents=True)
    for name in ("checkpoint", f"checkpoints/{7:020}"):
        (copy / name).write_text(note)
    shown = visitor.run("checkpoint", "show", "--log", "copy", DATABASE_URL="")
    assert (shown.returncode, "size    7" in shown.stdout) == (0, True), shown.stderr
    listed = visitor.run("checkpoint", "list", "--log", "copy", DATABASE_URL="")
    assert (listed.returncode, listed.stdout.splitlines()[1:]) == (0, [f"7\t{(b'r' * 32).hex()}"]), listed.stderr


def test_a_backup_that_is_not_there(visitor: Shell) -> None:
    for words in (("backup", "none", "--incremental"), ("restore", "none"), ("backup", "verify", "none")):
        done = visitor.run(*words)
        assert (done.returncode, done.stderr) == (
            1, "Error: there is no folder none: name the one that `loglineos backup` wrote\n"
        )  # fmt: skip
    assert not (visitor.folder / "none").exists()


def test_a_backup_is_restored_into_a_database_that_is_named(visitor: Shell) -> None:
    done = visitor.run("restore", "none", DATABASE_URL="")
    assert (done.returncode, "set DATABASE_URL to it" in done.stderr) == (2, True)
