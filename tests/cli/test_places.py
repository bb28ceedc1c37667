"""Where a command is to write, or to read: what is wrong with the place is said, and before the work."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Shell

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
