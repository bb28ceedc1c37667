"""The worker's life: one tenant's, replaced when stuck or killed, nothing left behind."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from sandbox import Limits, Sandbox, SandboxError
from sandbox.worker import TimeOver, Worker
from stage0_loader.deadline import Deadline, TimedOut, call_until

LIMITS = Limits(timeout_ms=1_000)
ECHO = "def main(input):\n    return input\n"
ENDLESS = "def main(input):\n    while True:\n        pass\n"
SLEEPING = "import time\ndef main(input):\n    time.sleep(60)\n"
LINUX = sys.platform.startswith("linux")
linux = pytest.mark.skipif(not LINUX, reason="looks into /proc")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """One that has started nothing."""
    made = Sandbox(require_seccomp=False)
    yield made
    made.close()


def echo(sandbox: Sandbox, value: object = 1, tenant: str = "acme") -> object:
    return sandbox.run(ECHO, "main", value, LIMITS, tenant=tenant).output


def pid_of(sandbox: Sandbox) -> int:
    assert sandbox._worker is not None
    assert sandbox._worker.pid is not None
    return sandbox._worker.pid


def ended(pid: int) -> bool:
    """Whether there is no such process any more, not even as a zombie; waits a little for it."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def test_no_process_before_the_first_call(sandbox: Sandbox) -> None:
    assert sandbox.facts()["worker"] is False
    assert echo(sandbox) == 1
    assert sandbox.facts()["worker"] is True


def test_one_tenant_keeps_its_process_and_another_never_gets_it(sandbox: Sandbox) -> None:
    echo(sandbox)
    first = pid_of(sandbox)
    echo(sandbox)
    assert pid_of(sandbox) == first
    echo(sandbox, tenant="globex")
    assert pid_of(sandbox) != first
    assert ended(first)


def test_nothing_of_a_call_is_left_for_the_next(sandbox: Sandbox) -> None:
    code = "seen = []\ndef main(input):\n    seen.append(input)\n    return seen\n"
    assert [sandbox.run(code, "main", n, LIMITS, tenant="acme").output for n in (1, 2)] == [[1], [2]]
    with pytest.raises(SandboxError, match="NameError"):
        sandbox.run("def main(input):\n    return seen\n", "main", 1, LIMITS, tenant="acme")


@pytest.mark.parametrize("code", [ENDLESS, SLEEPING])
def test_what_runs_on_is_stopped_and_the_next_call_works(sandbox: Sandbox, code: str) -> None:
    echo(sandbox)
    before = pid_of(sandbox)
    with pytest.raises(SandboxError) as caught:
        sandbox.run(code, "main", 1, LIMITS, tenant="acme")
    assert caught.value.code == "timeout"
    assert caught.value.details["duration_ms"] >= 990
    assert echo(sandbox, "next") == "next"
    assert ended(before)


@linux
def test_a_worker_that_no_longer_listens_is_killed_by_the_host(sandbox: Sandbox) -> None:
    echo(sandbox)
    stuck = pid_of(sandbox)
    os.kill(stuck, signal.SIGSTOP)
    with pytest.raises(SandboxError) as caught:
        echo(sandbox)
    assert caught.value.code == "timeout"
    assert ended(stuck)
    assert echo(sandbox, "next") == "next"


def test_a_worker_killed_between_calls_is_replaced_unnoticed(sandbox: Sandbox) -> None:
    echo(sandbox)
    killed = pid_of(sandbox)
    os.kill(killed, signal.SIGKILL)
    time.sleep(0.1)
    assert echo(sandbox, "next") == "next"
    assert ended(killed)


def test_a_worker_is_replaced_before_its_processor_time_is_over(sandbox: Sandbox) -> None:
    echo(sandbox)
    old = pid_of(sandbox)
    assert sandbox._worker is not None
    sandbox._worker._used_s = 57.5
    echo(sandbox)
    assert pid_of(sandbox) == old
    sandbox._worker._used_s = 59
    assert echo(sandbox, "next") == "next"
    assert pid_of(sandbox) != old
    assert ended(old)


def test_a_worker_killed_in_a_call_is_a_typed_error(sandbox: Sandbox) -> None:
    echo(sandbox)
    worker = pid_of(sandbox)
    killer = subprocess.Popen(["/bin/sh", "-c", f"sleep 0.3; kill -9 {worker}"])
    with pytest.raises(SandboxError, match="process died") as caught:
        sandbox.run(ENDLESS, "main", 1, Limits(timeout_ms=20_000), tenant="acme")
    killer.wait()
    assert (caught.value.code, caught.value.details["type"]) == ("runtime", "WorkerDied")
    assert echo(sandbox, "next") == "next"
    assert ended(worker)


@pytest.mark.parametrize("code", [ENDLESS, SLEEPING])
def test_a_deadline_of_the_host_strikes_in_the_middle_of_a_call(sandbox: Sandbox, code: str) -> None:
    echo(sandbox)
    runaway = pid_of(sandbox)
    started = time.monotonic()
    with pytest.raises(TimedOut):
        call_until(
            Deadline(time.monotonic() + 0.2, 200),
            lambda: sandbox.run(code, "main", 1, Limits(timeout_ms=20_000), tenant="acme"),
        )
    assert time.monotonic() - started < 10  # of twenty
    assert ended(runaway)
    assert echo(sandbox, "next") == "next"


def test_a_deadline_may_strike_at_any_moment(sandbox: Sandbox) -> None:
    """Also while a worker starts or ends; after each, the sandbox works and no worker is left over."""
    others = children()
    for step in range(40):
        with contextlib.suppress(TimedOut):
            call_until(Deadline(time.monotonic() + 0.002 * step, 1), lambda: echo(sandbox, tenant=os.urandom(4).hex()))
    assert echo(sandbox, "next") == "next"
    kept = pid_of(sandbox)
    sandbox.close()
    assert ended(kept)
    waited = time.monotonic() + 10  # one that was given up while it was starting ends once it is up
    while children() - others and time.monotonic() < waited:
        time.sleep(0.01)
    assert children() - others == set()


def test_a_deadline_may_strike_in_the_very_first_import() -> None:
    """The interpreter's library takes others with it that a second import would find half made, `asyncio` for one."""
    program = (
        "import sys, time\n"
        "from sandbox import Limits, Sandbox\n"
        "from stage0_loader.deadline import Deadline, TimedOut, call_until\n"
        "class Slow:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'asyncio.runners':\n"
        "            time.sleep(0.5)\n"
        "assert 'asyncio' not in sys.modules\n"
        "sys.meta_path.insert(0, Slow())\n"
        "s = Sandbox(require_seccomp=False)\n"
        f"call = lambda: s.run({ECHO!r}, 'main', 1, Limits(), tenant='a')\n"
        "try:\n"
        "    call_until(Deadline(time.monotonic() + 0.2, 200), call)\n"
        "except TimedOut:\n"
        "    print('struck', call().output)\n"
        "s.close()\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=here(), check=False)
    assert (said.stdout, said.stderr) == ("struck 1\n", "")


def test_a_process_that_comes_up_too_late_is_ended() -> None:
    """A call was given up while its process was starting: there was none to end yet, and there must be none after."""
    worker, late = Worker("acme"), subprocess.Popen(["sleep", "60"])

    class Session:
        worker_pid = late.pid

        def __enter__(self) -> None:
            worker._ended.wait(10)

        def __exit__(self, *_: object) -> None:
            """Nothing is open."""

    class Pool:
        def checkout(self, **_: object) -> Session:
            return Session()

    worker._pool = cast(Any, Pool())
    with pytest.raises(TimeOver):
        worker.call(lambda _: None, Limits(), 0.05)
    assert late.wait(10) == -signal.SIGKILL


def children() -> set[str]:
    """The ids of the sandboxes' processes that this one has started and not waited for.

    Those of other tests in this process may be among them: an in-process loader keeps its own until it is collected.
    """
    listed = subprocess.run(["ps", "-e", "-o", "ppid=,pid=,args="], capture_output=True, text=True, check=True)
    mine = [line.split(None, 2) for line in listed.stdout.splitlines()]
    return {pid for ppid, pid, args in mine if ppid == str(os.getpid()) and ("monty" in args or "launcher" in args)}


@linux
def test_a_thousand_calls_leave_no_descriptor_and_no_process(sandbox: Sandbox) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    gc.collect()  # what other tests left is gone now, or stays
    others = children()
    for tenant in ("a", "b"):
        echo(sandbox, tenant=tenant)
    before = descriptors()
    for n in range(1_000):
        assert echo(sandbox, n, tenant="ab"[n // 25 % 2]) == n
    assert descriptors() == before
    assert len(children() - others) == 1
    sandbox.close()
    assert children() - others == set()


@linux
def test_the_worker_dies_with_its_host(tmp_path: Path) -> None:
    program = (
        "from sandbox import Limits, Sandbox\n"
        "s = Sandbox(require_seccomp=False)\n"
        f"s.run({ECHO!r}, 'main', 1, Limits(), tenant='a')\n"
        "print(s._worker.pid, flush=True)\n"
        f"s.run({ENDLESS!r}, 'main', 1, Limits(timeout_ms=20_000), tenant='a')\n"
    )
    host = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=here())
    assert host.stdout is not None
    worker = int(host.stdout.readline())
    host.kill()
    host.communicate()
    assert ended(worker) or Path(f"/proc/{worker}/stat").read_text().split()[2] == "Z"  # where nobody waits for it


def here() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def test_a_program_that_does_not_start_is_said(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing() -> Path:
        raise FileNotFoundError("no executable monty at /nowhere")

    monkeypatch.setattr("sandbox.worker.find_program", nothing)
    with pytest.raises(SandboxError, match=r"no sandbox process could be started .*no executable monty") as caught:
        echo(sandbox)
    assert caught.value.code == "sandbox_unavailable"
    monkeypatch.undo()
    assert echo(sandbox) == 1


def test_a_program_that_hangs_at_its_start_is_given_up(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hanging = tmp_path / "monty"
    hanging.write_text("#!/bin/sh\nexec sleep 60\n")
    hanging.chmod(0o755)
    monkeypatch.setattr("sandbox.worker.find_program", lambda: hanging)
    monkeypatch.setattr("sandbox.worker.jailed", unjailed)
    monkeypatch.setattr("sandbox.worker.START_S", 0.5)
    with pytest.raises(SandboxError) as caught:
        echo(sandbox)
    assert caught.value.code == "sandbox_unavailable"
    monkeypatch.undo()
    assert echo(sandbox) == 1


@contextlib.contextmanager
def unjailed(program: Path) -> Iterator[Path]:
    yield program


def test_seccomp_that_is_required_and_absent_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(_pid: int) -> dict[str, object]:
        return {"seccomp": "absent", "no_new_privs": True}

    monkeypatch.setattr("sandbox.worker.bounds_of", without)
    strict, lenient = Sandbox(require_seccomp=True), Sandbox(require_seccomp=False)
    try:
        with pytest.raises(SandboxError, match="requires one; run where") as caught:
            echo(strict)
        assert caught.value.code == "sandbox_unavailable"
        assert strict.facts()["worker"] is False
        assert echo(lenient) == 1
        assert lenient.facts()["seccomp"] == "absent"
    finally:
        strict.close()
        lenient.close()
