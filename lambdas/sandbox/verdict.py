"""What an exception of Monty's says of the code, as one of the sandbox's errors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .errors import SandboxError, capped
from .limits import Limits
from .worker import OUT_OF_TIME

if TYPE_CHECKING:
    from pydantic_monty import MontyError

# Monty's sentences about itself; the same types raised by the code say something else.
_OVER_TIME = re.compile(rf"feed time limit exceeded|{OUT_OF_TIME}")
_OVER_MEMORY = re.compile(r"memory limit exceeded: |the worker exceeded its memory limit")
_NO_SUCH_SYNTAX = re.compile(r"The monty syntax parser does not yet support (.*)|(Wildcard imports) ", re.DOTALL)


def verdict(
    problem: MontyError, limits: Limits, *, called: bool = False, above: int = 0, **details: Any
) -> SandboxError:
    """The error that the caller gets, with `details` as they are.

    `called`: the first frame is the sandbox's own call, not the code; `above`: so many lines were fed before the code.
    """
    from pydantic_monty import MontyCrashedError, MontySyntaxError

    details = {**_place(problem, 1 if called else 0, above), **details}
    if isinstance(problem, MontyCrashedError) and problem.timed_out:
        return timeout(limits, **details)
    if isinstance(problem, MontyCrashedError):
        return SandboxError("runtime", "the sandbox's process died while the code ran", type="WorkerDied", **details)
    raised = problem.exception()
    kind, text = type(raised).__name__, str(raised.args[0]) if raised.args else ""
    if isinstance(problem, MontySyntaxError) and not called:  # in a call it is one of `eval`'s
        return SandboxError("compile", f"{_at(details)}{text}", **details)
    if kind == "TimeoutError" and _OVER_TIME.match(text):
        return timeout(limits, **details)
    if kind == "MemoryError" and _OVER_MEMORY.match(text):
        return SandboxError("memory", f"the code needs more memory than its {limits.memory_mb} MB", **details)
    if kind == "RecursionError":
        return SandboxError("recursion", f"calls are nested deeper than {limits.recursion}", **details)
    construct = _NO_SUCH_SYNTAX.match(text) if kind == "NotImplementedError" else None
    if construct:
        return unsupported(f"the sandbox does not support {construct[1] or construct[2]}", details)
    if kind in ("ModuleNotFoundError", "ImportError"):
        return unsupported(capped(text, 200), details)
    return SandboxError("runtime", f"{_at(details)}{kind}{': ' if text else ''}{text[:2000]}", type=kind, **details)


def timeout(limits: Limits, **details: Any) -> SandboxError:
    return SandboxError("timeout", f"the code ran longer than its {limits.timeout_ms} ms", **details)


def unsupported(sentence: str, details: dict[str, Any]) -> SandboxError:
    text = f"{_at(details)}{sentence}; docs/functions.md lists what the sandbox supports"
    return SandboxError("unsupported", text, **details)


def _at(details: dict[str, Any]) -> str:
    return f"line {details['line']}, column {details['column']}: " if "line" in details else ""


def _place(problem: MontyError, skipped: int, above: int) -> dict[str, int]:
    """Line and column of the innermost frame that is the code's."""
    frames = problem.traceback() if hasattr(problem, "traceback") else []
    return {"line": frames[-1].line - above, "column": frames[-1].column} if len(frames) > skipped else {}
