"""`loglineos function run` and `logs`: now and by the queue, over quota, and what the runs came to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from nacl.signing import SigningKey

from loglineos.function_runs import RUN_CODE
from tests.cli.conftest import Shell
from tests.conftest import TestLedger
from tests.stage0_loader.stage import Stage, manifest

OVERRIDE_KEY = SigningKey(b"the override key of these tests!")
HALF = """def main(input):
    print("halving", input)
    return input / 2
"""
AGENT = {"LOGLINEOS_TENANT": "system", "LOGLINEOS_USER": "edge:stage0"}


@pytest.fixture
def half(shell: Shell) -> Shell:
    """ana of acme has a function `half`."""
    (shell.folder / "half.py").write_text(HALF)
    assert shell.run("function", "append", "half.py").returncode == 0
    return shell


@pytest.fixture
def stage(ledger: TestLedger) -> Iterator[Stage]:
    """The same ledger, seen from inside."""
    made = Stage(ledger)
    yield made
    made.close()


def work(shell: Shell) -> dict[str, int]:
    """What the request worker did, booted as its schedule does."""
    counts: dict[str, int] = json.loads(shell.run("boot", "request_worker_kernel", **AGENT).stdout)
    return counts


def test_a_repeat_of_a_run_answers_the_stored_result(half: Shell, stage: Stage) -> None:
    arguments = ["--input", "8", "--request-id", "0196f000-0000-7000-8000-000000000001", "--json"]
    first = json.loads(half.run("function", "run", "half", *arguments).stdout)
    again = json.loads(half.run("function", "run", "half", *arguments).stdout)
    assert first["output"]["output"] == 4.0
    assert again["replayed"]
    assert again["output"] == first["output"]
    other = half.run("function", "run", "half", *arguments[:1], "9", *arguments[2:])
    assert other.returncode == 1
    assert json.loads(other.stdout)["error"]["code"] == "request_conflict"
    assert len(stage.spans(entity_type="execution", who="edge:run_code")) == 1


def test_an_error_is_typed_and_says_what_to_do(half: Shell) -> None:
    done = half.run("function", "run", "half", "--input", '"eight"')
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: runtime: line 3, column ")
    assert "TypeError" in done.stderr
    assert done.stderr.endswith("Mend it with `loglineos function test FILE`, then append it again.\n")
    told = half.run("function", "run", "half", "--input", '"eight"', "--json")
    error = json.loads(told.stdout)["error"]
    assert (told.returncode, error["code"], error["line"]) == (1, "runtime", 3)


def test_the_override_key_lets_a_run_through(half: Shell, stage: Stage) -> None:
    throttle = {"per_tenant_daily_exec_limit": 0, "per_tenant_daily_append_limit": 1000}
    stage.seed(manifest(throttle=throttle, override_pubkey_hex=bytes(OVERRIDE_KEY.verify_key).hex()))
    over = half.run("function", "run", "half", "--input", "8")
    assert over.returncode == 1
    assert over.stderr.startswith("Error: quota_exceeded: ")
    assert over.stderr.endswith("run it with --force-key FILE.\n")
    (half.folder / "key").write_text(bytes(OVERRIDE_KEY).hex() + "\n")
    assert json.loads(half.run("function", "run", "half", "--input", "8", "--force-key", "key").stdout) == 4.0
    half.run("function", "run", "half", "--input", "10", "--force-key", "key", "--queue")
    assert work(half)["complete"] == 1
    runs = stage.spans(entity_type="execution", who="edge:run_code")
    assert [(run.output, (run.metadata or {})["forced"]) for run in runs] == [(4.0, True), (5.0, True)]
    (half.folder / "key").write_text(bytes(SigningKey.generate()).hex())
    forged = half.run("function", "run", "half", "--force-key", "key")
    assert "its signature is not the override key's" in forged.stderr
    (half.folder / "key").write_text("not a key")
    assert "--force-key" in half.run("function", "run", "half", "--force-key", "key").stderr


def test_a_queued_run_is_told_and_followed_to_its_end(half: Shell, stage: Stage) -> None:
    left = half.run("function", "run", "half", "--input", "6", "--queue")
    request = stage.one(entity_type="request")
    assert left.stdout.startswith(f"Request {request.id} is scheduled"), left.stderr
    assert "loglineos boot request_worker_kernel" in left.stdout
    waiting = half.start("function", "run", "half", "--input", '"six"', "--queue", "--wait", "--json")
    following = half.start("function", "run", "half", "--input", "8", "--queue", "--wait")
    try:
        done = 0
        while done < 3:  # until both have asked, and been answered
            done += work(half)["claimed"]
        failed, followed = waiting.communicate(timeout=30), following.communicate(timeout=30)
    finally:
        for process in (waiting, following):
            process.kill()
            process.wait()
    told = json.loads(failed[0])
    assert (waiting.returncode, told["request"]["status"], told["execution"]["status"]) == (1, "error", "error")
    assert told["execution"]["metadata"]["printed"] == "halving six\n"
    assert (following.returncode, followed[0]) == (0, "4.0\n")
    *states, printed = followed[1].splitlines()
    assert [state.rpartition(": ")[2] for state in states] == ["scheduled", "running", "complete"]
    assert printed == "halving 8"


def test_logs_show_what_each_run_came_to(half: Shell) -> None:
    assert half.run("function", "logs", "half").stdout == (
        "ana of acme has not run it yet: loglineos function run half\n"
    )
    (half.folder / "other.py").write_text("def main(input):\n    return 'other'\n")
    half.run("function", "append", "other.py")
    for name, given in (("half", "8"), ("other", "1"), ("half", '"eight"')):
        half.run("function", "run", name, "--input", given)
    header, failed, done = half.run("function", "logs", "half").stdout.splitlines()
    assert header.split("\t") == ["at", "status", "ms", "output or error", "printed", "proof", "execution"]
    assert done.split("\t")[1:2] + done.split("\t")[3:6] == ["complete", "4.0", "halving 8", "signed"]
    assert failed.split("\t")[1] == "error"
    assert failed.split("\t")[3].startswith("runtime: line 3, column ")
    assert failed.split("\t")[4] == "halving eight"
    newest: list[dict[str, Any]] = json.loads(half.run("function", "logs", "half", "--limit", "1", "--json").stdout)[
        "executions"
    ]
    assert [(run["status"], run["input"], run["proof"]) for run in newest] == [("error", "eight", "signed")]


def test_followed_logs_go_on_with_what_is_committed(half: Shell) -> None:
    half.run("function", "run", "half", "--input", "2")
    follower = half.start("function", "logs", "half", "--follow", "--json")
    try:
        assert follower.stdout is not None
        assert json.loads(follower.stdout.readline())["output"] == 1.0
        for given in ("4", "6"):
            half.run("function", "run", "half", "--input", given)
            assert json.loads(follower.stdout.readline())["output"] == int(given) / 2
    finally:
        follower.kill()
        follower.wait()


def test_a_timeline_that_is_empty_is_followed_from_its_beginning(shell: Shell) -> None:
    follower = shell.start("timeline", "--follow", "--json", "--type", "note")
    try:
        shell.run("append", '{"entity_type":"note","did":"said","this":"first"}')
        assert follower.stdout is not None
        assert json.loads(follower.stdout.readline())["this"] == "first"
    finally:
        follower.kill()
        follower.wait()


def test_the_kernel_that_runs_functions_is_the_manifests(half: Shell) -> None:
    kernels = json.loads(half.run("health", "--json").stdout)["kernels"]
    assert {kernel["name"]: kernel["id"] for kernel in kernels}["run_code_kernel"] == RUN_CODE
