"""Compile a kernel once, run it until its deadline, and say what came of it."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import orjson

from ledger.canonical import check
from ledger.errors import Internal, InvalidInput, LedgerError, QueryFailed

from .context import Context, Rejected
from .deadline import Deadline, call_until
from .trust import Trusted

Main = Callable[[Context], Any]


class KernelFailed(LedgerError):
    """The kernel raised. The message is the exception's type and text."""

    code = "kernel_failed"


class KernelTimedOut(LedgerError):
    """The kernel did not end in its time."""

    code = "timeout"


@dataclass(frozen=True)
class Run:
    """What came of a kernel: its output or the error, and the milliseconds it took."""

    output: Any
    error: LedgerError | None
    duration_ms: int


class Kernels:
    """The kernels that this warm process has compiled, by the hash that was verified."""

    def __init__(self) -> None:
        self._compiled: dict[str, Main] = {}

    def run(self, kernel: Trusted, context: Context, deadline: Deadline) -> Run:
        """Run `main(ctx)`. Whatever happens to it is in the answer; nothing is raised."""
        started = time.monotonic()
        output: Any = None
        error: LedgerError | None = None
        try:
            output = call_until(deadline, lambda: self.call(kernel, context))
        except BaseException as problem:  # noqa: BLE001 - SystemExit of a kernel is no end of the loader's
            # Once its time is over: whatever was raised. Interrupted, libraries raise errors of their own.
            error = failure_of(problem, context) if deadline.left_s() else _timed_out(deadline)
        return Run(output, error, round((time.monotonic() - started) * 1000))

    def call(self, kernel: Trusted, context: Context) -> Any:
        """What `main(ctx)` answers, as plain JSON. Raises what the kernel raises; someone else keeps the time."""
        return _storable(self._main(kernel)(context))

    def _main(self, kernel: Trusted) -> Main:
        curr_hash = kernel.values["curr_hash"]
        if curr_hash not in self._compiled:
            self._compiled[curr_hash] = _compile(kernel)
        return self._compiled[curr_hash]


def _compile(kernel: Trusted) -> Main:
    name, seq = kernel.values["name"], kernel.values["seq"]
    # A module of its own, registered, so that annotations and tracebacks of the kernel resolve.
    module = ModuleType(f"kernels.{name}_{seq}_{kernel.values['curr_hash'][:12]}")
    sys.modules[module.__name__] = module
    code = compile(kernel.values["code"] or "", f"<{name} seq {seq}>", "exec")
    exec(code, module.__dict__)  # noqa: S102 - verified, and listed by the verified manifest
    main = getattr(module, "main", None)
    if not callable(main):
        raise KernelFailed(f"{name} seq {seq} has no main(ctx)")
    return main  # type: ignore[no-any-return]


def _storable(output: Any) -> Any:
    """The output as plain JSON values, as it will be stored and answered."""
    plain = orjson.loads(orjson.dumps(output))
    try:
        _refuse_nan(output)
        check(plain, "output")
    except InvalidInput as error:
        raise KernelFailed(f"the kernel's output cannot be stored: {error.message}") from error
    return plain


def _refuse_nan(value: Any) -> None:
    """orjson would make null of it, and nobody would know."""
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidInput("output", "finite numbers only")
    if isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            _refuse_nan(item)


def _timed_out(deadline: Deadline) -> LedgerError:
    return KernelTimedOut(f"Kernel timed out after {deadline.total_ms} ms", deadline_ms=deadline.total_ms)


def failure_of(problem: BaseException, context: Context) -> LedgerError:
    """What a kernel's exception is to the caller. What only operators may know goes to the log."""
    if isinstance(problem, InvalidInput):
        # The ledger refused a value that the kernel passed on from its input.
        return Rejected(problem.message, **problem.details)
    if isinstance(problem, QueryFailed):
        context.log.error("ERROR a kernel's query failed", exc_info=problem)
        return Internal()  # PostgreSQL's sentence may quote SQL and data
    if isinstance(problem, LedgerError):
        return problem
    context.log.error("ERROR kernel raised", exc_info=problem)
    return KernelFailed(f"{type(problem).__name__}: {problem}"[:1000])
