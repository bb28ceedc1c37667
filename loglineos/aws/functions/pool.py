"""The warm processes of all functions: reused while code and configuration stay, replaced when they change."""

from __future__ import annotations

import threading
from collections import defaultdict
from pathlib import Path

from .worker import Outcome, Setting, Worker

# More at once than this and a caller waits: it is one machine. A function's reserved concurrency, as on
# AWS, throttles instead.
_MOST_AT_ONCE = 16
_KEPT_WARM = 2


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
        self._slots = threading.BoundedSemaphore(_MOST_AT_ONCE)
        directory.mkdir(parents=True, exist_ok=True)

    def run(self, setting: Setting, payload: bytes, reserved: int | None) -> tuple[Outcome, str]:
        """Invoke once; the answer and the log stream it belongs to. Raises Throttled."""
        self._admit(setting.arn, reserved)
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

    def _admit(self, arn: str, reserved: int | None) -> None:
        with self._lock:
            if reserved is not None and self._starting[arn] >= reserved:
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
        arn = worker.setting.arn
        with self._lock:
            self._busy[arn].discard(worker)
            keep = worker.usable and len(self._idle[arn]) < _KEPT_WARM
            if keep:
                self._idle[arn].append(worker)
        if not keep:
            worker.stop()

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
