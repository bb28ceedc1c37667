"""The warm processes of all functions: reused while code and configuration stay, replaced when they change."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from pathlib import Path

from .worker import Outcome, Setting, Worker

# More at once than this and a caller waits: it is one machine. A function's reserved concurrency, as on
# AWS, throttles instead.
_MOST_AT_ONCE = 16
# As on AWS, what was needed at once stays warm for a while: starting a process takes longer than most invocations.
_KEPT_WARM = 2
_WARM_SECONDS = 60.0


class Throttled(Exception):
    """The function's reserved concurrency is in use."""


class Pool:
    """Runs invocations, each in a process that serves nobody else meanwhile."""

    def __init__(self, directory: Path, common: dict[str, str]) -> None:
        self._directory, self._common = directory, common
        self._idle: dict[str, list[Worker]] = defaultdict(list)
        self._busy: dict[str, set[Worker]] = defaultdict(set)
        self._starting: dict[str, int] = defaultdict(int)
        self._lock = threading.Lock()
        self._freed: dict[str, threading.Condition] = defaultdict(lambda: threading.Condition(self._lock))
        self._slots = threading.BoundedSemaphore(_MOST_AT_ONCE)
        directory.mkdir(parents=True, exist_ok=True)

    def run(self, setting: Setting, payload: bytes, reserved: int | None, patience: float = 0.0) -> tuple[Outcome, str]:
        """Invoke once; the answer and the log stream it belongs to.

        Raises Throttled if the reserved concurrency is in use, and still is after `patience` seconds.
        """
        self._admit(setting.arn, reserved, patience)
        try:
            with self._slots:
                worker = self._take(setting)
                try:
                    return worker.invoke(payload), worker.stream
                finally:
                    self._give_back(worker)
        finally:
            with self._lock:
                self._starting[setting.arn] -= 1
                self._freed[setting.arn].notify()

    def _admit(self, arn: str, reserved: int | None, patience: float) -> None:
        with self._lock:
            if reserved is not None and not self._freed[arn].wait_for(lambda: self._starting[arn] < reserved, patience):
                raise Throttled("Rate Exceeded.")
            self._starting[arn] += 1

    def _take(self, setting: Setting) -> Worker:
        with self._lock:
            idle = self._idle[setting.arn]
            outdated = [worker for worker in idle if worker.setting != setting or not worker.usable]
            self._idle[setting.arn] = idle = [worker for worker in idle if worker not in outdated]
            worker = idle.pop() if idle else None
        for old in outdated:
            old.stop()
        if worker is None:
            worker = Worker(setting, self._common, self._directory)
        with self._lock:
            self._busy[setting.arn].add(worker)
        return worker

    def _give_back(self, worker: Worker) -> None:
        arn, now = worker.setting.arn, time.monotonic()
        worker.idle_since = now
        with self._lock:
            self._busy[arn].discard(worker)
            idle = [*self._idle[arn], worker] if worker.usable else self._idle[arn]
            # The last to come back is the first to be taken: those at the front are the ones that are not needed.
            surplus = [old for old in idle[:-_KEPT_WARM] if now - old.idle_since > _WARM_SECONDS]
            self._idle[arn] = [kept for kept in idle if kept not in surplus]
        for old in surplus if worker.usable else [*surplus, worker]:
            old.stop()

    def processes(self, arn: str) -> list[int]:
        """The ids of a function's processes, for those who watch or kill them."""
        with self._lock:
            return [worker.pid for worker in [*self._idle[arn], *self._busy[arn]]]

    def forget(self, arn: str) -> None:
        """The function is gone: so are its idle processes."""
        with self._lock:
            idle = self._idle.pop(arn, [])
        for worker in idle:
            worker.stop()

    def close(self) -> None:
        with self._lock:
            everyone = [w for group in (self._idle, self._busy) for workers in group.values() for w in workers]
            self._idle.clear()
        for worker in everyone:
            worker.stop()
