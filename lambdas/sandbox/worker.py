"""One worker process: started in its jail, supervised during each call, ended when it is stuck."""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import signal
import sysconfig
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .errors import SandboxError
from .jail.host import bounds_of, harden_host, jailed
from .limits import Limits

if TYPE_CHECKING:
    from pydantic_monty import Monty, MontySession

T = TypeVar("T")

GRACE_S = 0.5  # what Monty has beyond the limit to stop by itself, which keeps the worker
START_S = 10.0
BACKSTOP_S = 30.0  # Monty's own end of a stuck worker, past every limit
CPU_S = 60.0  # the jail's bound on a worker's whole life (jail/launcher.py)
SUSPENSIONS = 100_000  # sleeps and names looked up in vain, for each call
OUT_OF_TIME = "the time limit is over"


class WorkerLost(Exception):
    """The process died before the code ran, or cannot be spoken to."""


class TimeOver(Exception):
    """The call went on past its limit, and its worker was killed."""


class _Outcome(Generic[T]):
    """What a thread did, for the one that waits for it."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.value: T
        self.problem: BaseException | None = None

    def of(self, work: Callable[[], T]) -> None:
        try:
            self.value = work()
        except BaseException as problem:  # noqa: BLE001 - raised again by the one that waits
            self.problem = problem
        self.done.set()


class Worker:
    """A Monty process of one tenant's, or of nobody's. `bounds`: what the kernel says holds for it, once it runs."""

    def __init__(self, tenant: str | None) -> None:
        self.tenant = tenant
        self.pid: int | None = None
        self.bounds: dict[str, object] = {}
        self._pool: Monty | None = None
        self._ended = threading.Event()
        self._used_s = 0.0

    def start(self) -> None:
        """Start the process. Raises SandboxError (`sandbox_unavailable`) where that does not work."""
        try:
            _import_monty()
            from pydantic_monty import Monty

            harden_host()
            with jailed(find_program()) as path:
                # The kernel ends a worker with the thread that started it: this one, which will use it.
                self._pool = Monty(binary_path=path, max_processes=1, request_timeout=BACKSTOP_S)
                self._pool.__enter__()
                self.call(lambda _: None, Limits(), START_S)
            self.bounds = bounds_of(self.pid or 0)
        except Exception as problem:
            raise SandboxError(
                "sandbox_unavailable",
                f"no sandbox process could be started ({type(problem).__name__}: {problem}); "
                "see whether pydantic-monty is installed for this machine and processes may be started",
            ) from problem

    def serves(self, tenant: str | None, limits: Limits) -> bool:
        """Whether a call of the tenant's can have this worker."""
        fresh = self._used_s + limits.timeout_ms / 1000 + 2 * GRACE_S < CPU_S
        return self.tenant == tenant and bool(self.bounds) and not self._ended.is_set() and fresh

    def call(self, work: Callable[[MontySession], T], limits: Limits, seconds: float | None = None) -> T:
        """`work` with a session of its own. Raises what it raises, TimeOver or WorkerLost.

        The calling thread only waits, so that a signal's exception reaches it; then, and past the limit, the worker
        is killed.
        """
        outcome: _Outcome[T] = _Outcome()
        thread = threading.Thread(target=outcome.of, args=(lambda: self._with_session(work, limits),), daemon=True)
        started = time.monotonic()
        try:
            thread.start()
            if not outcome.done.wait(seconds or limits.timeout_ms / 1000 + GRACE_S):
                raise TimeOver
        except BaseException:
            self._kill(outcome)
            outcome.done.wait(1)  # not the thread: it may not even have started
            raise
        finally:
            self._used_s += time.monotonic() - started
        if outcome.problem is not None:
            raise outcome.problem
        return outcome.value

    def _with_session(self, work: Callable[[MontySession], T], limits: Limits) -> T:
        if self._pool is None:
            raise WorkerLost("it has not started")
        session = self._pool.checkout(
            limits={
                "max_feed_duration_secs": limits.timeout_ms / 1000,
                "max_memory": limits.memory_mb * 1024**2,
                "max_recursion_depth": limits.recursion,
                "max_suspensions": SUSPENSIONS,
            },
            os_policy={"sleep": "call_host"},
            assert_message_annotations=False,
        )
        try:
            session.__enter__()
        except Exception as problem:
            raise WorkerLost(str(problem)) from problem
        try:
            self.pid = session.worker_pid
            if self._ended.is_set():  # given up while it was starting: who gave up had no process to end yet
                self._kill_process()
                raise WorkerLost("it was given up before it had started")
            return work(session)
        finally:
            session.__exit__(None, None, None)

    def sleeper(self, until: float) -> Callable[..., Any]:
        """Answers the sandbox's sleeps in this process, where ending the worker ends them; no other call."""
        from pydantic_monty import NOT_HANDLED

        def answer(*, name: str, args: tuple[Any, ...], **_: Any) -> Any:
            if name not in ("time.sleep", "asyncio.sleep"):
                return NOT_HANDLED
            wanted, left = float(args[0]), max(0.0, until - time.monotonic())
            if self._ended.wait(wanted if wanted < left else left) or math.isnan(wanted) or wanted >= left:
                raise TimeoutError(OUT_OF_TIME)
            return None

        return answer

    def _kill(self, outcome: _Outcome[Any]) -> None:
        self._ended.set()
        # Until the call is done nobody has waited for the process, so the id is still its own.
        if not outcome.done.is_set():
            self._kill_process()

    def _kill_process(self) -> None:
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the process and wait for it. May be called again."""
        self._ended.set()
        if self._pool is not None:
            self._pool.__exit__(None, None, None)


def _import_monty() -> None:
    """Import it, with what it imports, where no signal's exception arrives: half an import would stay broken.

    Not before it is needed: it takes 80 ms.
    """
    outcome: _Outcome[object] = _Outcome()
    imported = partial(importlib.import_module, "pydantic_monty")
    threading.Thread(target=outcome.of, args=(imported,), daemon=True).start()
    outcome.done.wait()
    if outcome.problem is not None:
        raise outcome.problem


def find_program() -> Path:
    """The interpreter's executable: beside the packages in a Lambda layer, else among the environment's scripts."""
    import pydantic_monty

    packages = Path(pydantic_monty.__file__).parent.parent
    places = [packages / "bin" / "monty", Path(sysconfig.get_path("scripts")) / "monty"]
    for place in places:
        if place.is_file() and os.access(place, os.X_OK):
            return place
    raise FileNotFoundError(f"no executable monty at {' or '.join(map(str, places))}")
