"""The time a kernel has, and how it is stopped when it is over."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeVar

Result = TypeVar("Result")

DEFAULT_MS = 30_000  # the loader's time-out (manual section 3), for callers that are no Lambda
RESERVE_MS = 2_000  # kept back from the Lambda's time, to append the execution span and answer
REPEAT_S = 0.5


class TimedOut(BaseException):
    """The kernel's time is over. No Exception, so that a kernel's own `except Exception` lets it pass."""


@dataclass(frozen=True)
class Deadline:
    """When the kernel has to be done. `at` is a `time.monotonic` value, `total_ms` what there was."""

    at: float
    total_ms: int

    @classmethod
    def from_context(cls, context: Any) -> Deadline:
        """What Lambda's context leaves, minus the reserve."""
        remaining = context.get_remaining_time_in_millis() if context is not None else DEFAULT_MS
        total = max(1, int(remaining) - RESERVE_MS)
        return cls(time.monotonic() + total / 1000, total)

    def left_s(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - time.monotonic())


def call_until(deadline: Deadline, work: Callable[[], Result]) -> Result:
    """`work()`, stopped by TimedOut when the deadline passes, also in the middle of a sleep or a query.

    Inside another `call_until`, whose deadline is later, it stops a part of that one's work.
    A timer signal can do that; Lambda runs its handler in the main thread, which is where signals arrive.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("kernels run in the main thread: only there can they be stopped")
    outer_s, repeat_s = signal.getitimer(signal.ITIMER_REAL)
    started = time.monotonic()
    before = signal.signal(signal.SIGALRM, _stop)
    try:
        try:
            # Repeated, in case the first is swallowed where Python ignores exceptions (`__del__`, a callback).
            signal.setitimer(signal.ITIMER_REAL, max(0.001, deadline.left_s()), REPEAT_S)
            return work()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except TimedOut:
        signal.setitimer(signal.ITIMER_REAL, 0)  # it may have struck in that very `finally`
        raise
    finally:
        signal.signal(signal.SIGALRM, before)
        if outer_s:
            signal.setitimer(signal.ITIMER_REAL, max(0.001, outer_s - (time.monotonic() - started)), repeat_s)


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise TimedOut
