"""The jail holds what is in it: a probe tries each way out, in the worker's place and through the same launcher."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sandbox.jail.host import bounds_of, jailed

PROBE = (Path(__file__).parent / "probe.py").read_text()
PYTHON = Path(sys.executable).resolve()
FROM_CODE = ("-I", "-S", "-B", "-c", PROBE)
# Attempts that do no harm outside a jail, and must work there, or the probe would prove nothing.
HARMLESS = ["internet socket", "unix socket", "pair of sockets", "open to read and write", "make a file in memory",
            "read the host's environment", "ask for the host", "point at the host", "large memory"]  # fmt: skip
REFUSED = ("Operation not permitted", "Permission denied", "Bad file descriptor", "Cannot allocate memory",
           "ValueError: not allowed to raise maximum limit")  # fmt: skip

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the jail is Linux's")

HOST = """
import os, subprocess, sys
from pathlib import Path
from sandbox.jail.host import harden_host, jailed
harden_host()
with jailed(Path(sys.argv[1]), *sys.argv[2:], str(os.getpid())) as worker:
    sys.exit(subprocess.run([worker], env={"LEAKED": "by the spawner"}).returncode)
"""


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What the probe said, of a host that has a secret in its environment and an open descriptor."""
    environment = {**os.environ, "AWS_SECRET_ACCESS_KEY": "secret", "PYTHONPATH": os.pathsep.join(sys.path)}
    reading, writing = os.pipe()
    try:
        done = subprocess.run(
            [sys.executable, "-c", HOST, str(PYTHON), *FROM_CODE],
            capture_output=True, text=True, env=environment, pass_fds=(reading, writing),
        )  # fmt: skip
    finally:
        os.close(reading)
        os.close(writing)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_no_attempt_succeeds(found: dict[str, Any]) -> None:
    assert len(found["attempts"]) > 35
    assert {name: result for name, result in found["attempts"].items() if result not in REFUSED} == {}


def test_it_has_nothing_of_the_hosts(found: dict[str, Any]) -> None:
    facts = found["facts"]
    assert facts["environment"] == ""
    assert facts["descriptors"] == [0, 1, 2]
    assert facts["directory"] == "/"
    assert facts["own session"] is True
    assert facts["thread"] is True  # which the interpreter needs


def test_privileges_and_bounds(found: dict[str, Any]) -> None:
    facts = found["facts"]
    assert int(facts["CapEff"], 16) == int(facts["CapPrm"], 16) == 0
    assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")
    expected = {"RLIMIT_AS": 768 * 1024**2, "RLIMIT_CPU": 60, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0, "RLIMIT_NOFILE": 16}
    assert facts["limits"] == {name: [value, value] for name, value in expected.items()}


def test_the_same_attempts_succeed_outside() -> None:
    """So it is the jail that refuses them."""
    bystander = subprocess.Popen(["/bin/sleep", "60"])
    try:
        command = [str(PYTHON), *FROM_CODE, str(bystander.pid), *HARMLESS]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env={})
    finally:
        bystander.kill()
        bystander.wait()
    assert json.loads(done.stdout)["attempts"] == dict.fromkeys(HARMLESS, "succeeded")


def test_another_host_than_its_own_starts_nothing() -> None:
    """The launcher is told who starts it: a host that died meanwhile, or someone else, gets no worker."""
    with jailed(Path("/bin/true")) as worker:
        done = subprocess.run(["/bin/sh", "-c", f"{worker}; exit $?"], check=False)
    assert done.returncode == 97


def test_the_script_is_there_only_while_a_worker_starts() -> None:
    with jailed(Path("/bin/true")) as worker:
        assert worker.stat().st_mode & 0o777 == 0o700
        assert worker.parent.stat().st_mode & 0o777 == 0o700
        folder = worker.parent
    assert not folder.exists()


def test_bounds_are_the_kernels_word() -> None:
    assert bounds_of(os.getpid())["seccomp"] == "absent"
