"""`loglineos function new, test, append, schedule, list`: as a newcomer writes a function, from nothing to its runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import CODE, Shell
from tests.conftest import TestLedger

FAILS = """def main(input):
    print("before it breaks")
    return [1, 2][input["at"]]
"""
UNSUPPORTED = """def main(input):
    for number in range(3):
        yield number
"""
NOWHERE = {"DATABASE_URL": "postgresql://nobody:none@127.0.0.1:1/none"}


def versions(ledger: TestLedger) -> list[dict[str, Any]]:
    """All versions of all functions of tenants, oldest first."""
    functions = "entity_type = 'function' AND owner_id <> 'system'"
    return ledger.execute("rdsadmin", f"SELECT * FROM ledger.universal_registry WHERE {functions} ORDER BY position")


def test_from_an_empty_folder_to_a_run(shell: Shell, ledger: TestLedger) -> None:
    written = shell.run("function", "new", "totals")
    assert written.returncode == 0, written.stderr
    steps = [line.strip() for line in written.stdout.splitlines() if line.startswith("  ")]
    assert [step.split()[:3] for step in steps if step.startswith("loglineos")] == [
        ["loglineos", "function", verb] for verb in ("test", "append", "run")
    ]
    tried = shell.run("function", "test", "totals.py", "--input", "[3, 4, 5]")
    assert json.loads(tried.stdout) == {"count": 3, "total": 12, "average": 4.0}
    assert re.fullmatch(r"adding up 3 numbers\n\d+ ms of 5000\n", tried.stderr)
    appended = shell.run("function", "append", "totals.py", "--description", "adds up")
    assert appended.stdout.startswith("totals is seq 0 now, id "), appended.stderr
    (span,) = versions(ledger)
    code = (shell.folder / "totals.py").read_text()
    assert (span["name"], span["code"], span["description"]) == ("totals", code, "adds up")
    assert (span["owner_id"], span["tenant_id"], span["visibility"]) == ("ana", "acme", "private")
    ran = shell.run("function", "run", "totals", "--input", "-", stdin="[1, 2]")
    assert json.loads(ran.stdout) == {"count": 2, "total": 3, "average": 1.5}
    assert re.fullmatch(r"adding up 2 numbers\n\d+ ms, complete, execution [0-9a-f-]{36}\n", ran.stderr)
    (listed,) = shell.run("function", "list").stdout.splitlines()[1:]
    assert listed.split("\t") == ["totals", "0", "", "active", "private", str(span["id"])]


def test_the_readmes_walk_can_be_typed(shell: Shell, ledger: TestLedger) -> None:
    section = (Path(__file__).parents[2] / "README.md").read_text().partition("## Write a function")[2]
    script = section.partition("```bash\n")[2].partition("```")[0]
    functions = f'loglineos() {{ {sys.executable} -c "{CODE}" "$@"; }}\n'
    nobody = {
        name: value for name, value in shell.environment.items() if name not in ("LOGLINEOS_USER", "LOGLINEOS_TENANT")
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", functions + script], cwd=shell.folder, env=nobody,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"average": 4.0') == 3
    assert [(span["owner_id"], span["tenant_id"], span["seq"]) for span in versions(ledger)] == [
        ("ana", "acme", 0),
        ("ana", "acme", 1),
    ]
    assert "complete" in done.stdout.splitlines()[-1]


def test_new_never_overwrites(visitor: Shell) -> None:
    (visitor.folder / "mine.py").write_text("precious")
    done = visitor.run("function", "new", "mine")
    assert done.returncode == 2
    assert "mine.py is there already, and stays as it is" in done.stderr
    assert (visitor.folder / "mine.py").read_text() == "precious"


@pytest.mark.parametrize("arguments", [["../up"], ["a/b"], ["1st"], [""], ["ok", "--schedule", "61 * * * *"]])
def test_new_refuses_what_could_not_go_on(visitor: Shell, arguments: list[str]) -> None:
    done = visitor.run("function", "new", *arguments)
    assert done.returncode == 2
    assert "expected" in done.stderr
    assert list(visitor.folder.iterdir()) == []


def test_an_error_is_shown_at_its_place(visitor: Shell) -> None:
    (visitor.folder / "f.py").write_text(FAILS)
    done = visitor.run("function", "test", "f.py", "--input", '{"at": 5}')
    assert (done.returncode, done.stdout) == (1, "")
    printed, place, line, mark, sentence = done.stderr.splitlines()
    assert printed == "before it breaks"
    assert re.fullmatch(r"f\.py:3:\d+", place)
    assert line == '        return [1, 2][input["at"]]'
    assert mark.index("^") == 4 + int(place.rpartition(":")[2]) - 1
    assert sentence.startswith("Error: runtime: line 3, column ")
    assert "IndexError" in sentence
    told = visitor.run("function", "test", "f.py", "--input", '{"at": 5}', "--json")
    error = json.loads(told.stdout)["error"]
    assert (told.returncode, error["code"], error["line"]) == (1, "runtime", 3)


def test_the_limits_are_those_of_a_deployed_run(visitor: Shell) -> None:
    (visitor.folder / "f.py").write_text("def main(input):\n    return main(input)\n")
    assert "Error: recursion: " in visitor.run("function", "test", "f.py").stderr
    (visitor.folder / "f.py").write_text("def main(input):\n    return 'x' * 1048577\n")
    assert "Error: output_too_large: " in visitor.run("function", "test", "f.py").stderr


def test_what_python_there_is_not_is_told_before_anything_is_sent(visitor: Shell) -> None:
    (visitor.folder / "f.py").write_text(UNSUPPORTED)
    for command in ("test", "append"):
        done = visitor.run("function", command, "f.py", **NOWHERE)
        assert done.returncode == 1, done.stderr
        place, line, mark, sentence = done.stderr.splitlines()
        assert (place, line.strip(), mark) == ("f.py:3:9", "yield number", " " * 12 + "^")
        assert sentence.startswith("Error: unsupported: line 3, column 9: ")
        assert "docs/functions.md" in sentence


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["test", "nowhere.py"], 2, "`loglineos function new NAME` writes a file to begin with"),
        (["append", "f.py", "--tenant", "system"], 2, "say whose with --tenant and --user, or set LOGLINEOS_TENANT"),
        (["append", "f.py", "--schedule", "sometimes"], 2, "expected five fields of cron, in UTC"),
        (["append", "f.py", "--id", "01890000-0000-7000-8000-000000000000"], 2, "has no function"),
        (["schedule", "f"], 2, "Say one of: five fields of cron such as '*/5 * * * *', --once, --off"),
        (["schedule", "f", "* * * * *", "--off"], 2, "Say one of"),
        (["schedule", "f", "* * * * *"], 2, "has no function 'f'; there are: none yet"),
        (["logs", "f"], 2, "`loglineos function append FILE` appends one"),
        (["run", "f"], 2, "has no function 'f'"),
        (["run", "f", "--wait"], 2, "give --queue too"),
        (["run", "f", "--force-key", "nowhere"], 2, "cannot read nowhere"),
        (["run", "01890000-0000-7000-8000-000000000000"], 1, "`loglineos function list` shows yours"),
    ],
)
def test_refusals_say_what_to_do(visitor: Shell, arguments: list[str], code: int, sentence: str) -> None:
    (visitor.folder / "f.py").write_text(FAILS)
    done = visitor.run("function", *arguments)
    assert done.returncode == code, (done.stdout, done.stderr)
    assert sentence in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_version_keeps_what_is_not_said_anew(shell: Shell, ledger: TestLedger) -> None:
    file = shell.folder / "f.py"
    file.write_text("def main(input):\n    return 1\n")
    settings = ["--schedule", "*/5 * * * *", "--max-concurrency", "2", "--visibility", "tenant", "--description", "d"]
    first = json.loads(shell.run("function", "append", "f.py", *settings, "--json").stdout)
    assert len(first["next_runs"]) == 3
    assert all(datetime.strptime(at, "%Y-%m-%d %H:%M").minute % 5 == 0 for at in first["next_runs"])
    again = shell.run("function", "append", "f.py")
    assert again.stdout.startswith("Nothing has changed: f is seq 0 already.")
    file.write_text("def main(input):\n    return 2\n")
    second = shell.run("function", "append", "f.py", "--max-concurrency", "3")
    assert second.stdout.startswith("f is seq 1 now"), second.stderr
    renamed = shell.run("function", "append", "f.py", "--id", first["function"]["id"], "--name", "g")
    assert renamed.stdout.startswith("g is seq 2 now"), renamed.stderr
    last = versions(ledger)
    assert [span["seq"] for span in last] == [0, 1, 2]
    assert len({span["id"] for span in last}) == 1
    assert last[-1]["metadata"] == {"schedule": "*/5 * * * *", "max_concurrency": 3}
    assert (last[-1]["visibility"], last[-1]["description"], last[-1]["name"]) == ("tenant", "d", "g")


def test_a_function_is_scheduled_runs_once_and_no_longer(shell: Shell, ledger: TestLedger) -> None:
    (shell.folder / "f.py").write_text("def main(input):\n    return 1\n")
    shell.run("function", "append", "f.py")
    at = shell.run("function", "schedule", "f", "30 6 * * 1-5")
    assert re.search(r"It runs at 30 6 \* \* 1-5 \(UTC\), next: (\S+ 06:30(, )?){3}$", at.stdout, re.MULTILINE)
    once = shell.run("function", "schedule", str(versions(ledger)[0]["id"]), "--once")
    assert "It runs once, as soon as the observer sees it" in once.stdout, once.stderr
    observed = shell.run("boot", "observer_bot_kernel", LOGLINEOS_TENANT="system", LOGLINEOS_USER="edge:stage0")
    assert json.loads(observed.stdout)["requested"] == 1
    off = shell.run("function", "schedule", "f", "--off")
    assert off.stdout == "f is seq 3 now.\nRun it: loglineos function run f\n"
    last = versions(ledger)
    assert [(span["status"], span["metadata"]) for span in last] == [
        ("active", {}),
        ("active", {"schedule": "30 6 * * 1-5"}),
        ("scheduled", {"schedule": "30 6 * * 1-5"}),
        ("active", {}),
    ]
    assert shell.run("function", "schedule", "f", "0 0 30 2 *").returncode == 2


def test_a_deleted_function_is_gone(shell: Shell, ledger: TestLedger) -> None:
    (shell.folder / "f.py").write_text("def main(input):\n    return 1\n")
    shell.run("function", "append", "f.py")
    tombstone = {"id": str(versions(ledger)[0]["id"]), "seq": 1, "entity_type": "function", "is_deleted": True}
    shell.run("append", json.dumps({**tombstone, "did": "deleted", "this": "function"}))
    assert shell.run("function", "list").stdout == (
        "ana of acme has no functions. Write one: loglineos function new NAME\n"
    )
    assert shell.run("function", "append", "f.py").stdout.startswith("f is seq 0 now")
    assert len({span["id"] for span in versions(ledger)}) == 2


def test_a_name_is_the_users_own_before_a_colleagues(shell: Shell) -> None:
    bob = {"LOGLINEOS_USER": "bob"}
    for user, answer in (({}, "ana's"), (bob, "bob's")):
        (shell.folder / "f.py").write_text(f"def main(input):\n    return {answer!r}\n")
        assert shell.run("function", "append", "f.py", "--visibility", "tenant", **user).returncode == 0
    assert json.loads(shell.run("function", "run", "f").stdout) == "ana's"
    assert json.loads(shell.run("function", "run", "f", **bob).stdout) == "bob's"
    assert shell.run("function", "list").stdout.count("\n") == 2
    carol = shell.run("function", "run", "f", LOGLINEOS_USER="carol")
    assert carol.returncode == 2
    assert "several functions are called 'f'" in carol.stderr
    theirs = shell.run("function", "schedule", "f", "--once", LOGLINEOS_USER="carol")
    assert "carol of acme has no function 'f'; there are: none yet" in theirs.stderr
    stranger = shell.run("function", "run", "f", LOGLINEOS_TENANT="other")
    assert "ana of other has no function 'f'; there are: none yet" in stranger.stderr
