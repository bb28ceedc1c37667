"""What is fed to a session: the code, the call of its entry, and the way of the answer out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import SandboxError
from .limits import Limits
from .verdict import verdict
from .worker import WorkerLost

if TYPE_CHECKING:
    from pydantic_monty import MontySession

# The value of a feed's last expression would become an object of this process, however large: there is none. The
# empty line ends a last line of the code that would go on.
LOAD = "{code}\n\nNone"
ONLY_COMPILE = "raise SystemExit\n{code}"  # the whole text is compiled before its first line runs
INSIDE = Path(__file__).with_name("inside.py").read_text(encoding="utf-8") + "\nNone"
CALL = "_output = {entry}(_loads(_argument))\nNone"
ANSWER = "_answer(_output, _limit)\nNone"
EACH = "_each({entry}, _arguments, _limit)\nNone"


class Printed:
    """Takes what is printed, and keeps no more than so many bytes of it; `cut` says that there was more."""

    def __init__(self, most: int) -> None:
        self._most, self._size, self.cut = most, 0, False
        self._parts: list[str] = []

    def __call__(self, _stream: str, text: str) -> None:
        if self.cut:
            return
        room = self._most - self._size
        data = text[: room + 1].encode()
        if len(data) > room:
            self.cut, text = True, data[:room].decode(errors="ignore")
        self._size += len(data)
        self._parts.append(text)

    @property
    def text(self) -> str:
        return "".join(self._parts)


@dataclass
class Call:
    """One call of `entry` with an argument (JSON text), in a session of its own."""

    code: str
    entry: str
    argument: str
    limits: Limits
    printed: Printed = field(init=False)
    started: float = field(init=False, default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.printed = Printed(self.limits.printed_bytes)

    def details(self) -> dict[str, Any]:
        """What an error says besides its own."""
        return {"printed": self.printed.text or None, "duration_ms": self.duration_ms()}

    def duration_ms(self) -> int:
        return round((time.monotonic() - self.started) * 1000)

    def run(self, session: MontySession, sleeper: Callable[[float], Callable[..., Any]]) -> Any:
        """The answer as a JSON value. Raises SandboxError. `sleeper` makes what answers the code's sleeps."""
        from pydantic_monty import MontyError

        called, self.started = False, time.monotonic()
        sleep = sleeper(self.started + self.limits.timeout_ms / 1000)
        try:
            _prepare(session)
            session.feed_run(LOAD.format(code=self.code), print_callback=self.printed, os=sleep)
            called = True
            session.feed_run(
                CALL.format(entry=self.entry),
                inputs={"_argument": self.argument},
                print_callback=self.printed,
                os=sleep,
            )
        except MontyError as problem:
            error = verdict(problem, self.limits, called=called, **self.details())
            raise (self._before_the_code(error) if called and "line" not in error.details else error) from None
        return self._output(session, sleep)

    def _before_the_code(self, error: SandboxError) -> SandboxError:
        """The error of a call that did not get as far as the entry."""
        if f"name '{self.entry}' is not defined" in error.message:
            return SandboxError("compile", f"the code has no function {self.entry}", **self.details())
        if error.details.get("type") == "JSONDecodeError":
            return SandboxError("recursion", f"the argument is nested deeper than {self.limits.recursion}")
        return error

    def _output(self, session: MontySession, sleep: Callable[..., Any]) -> Any:
        from pydantic_monty import MontyError

        most = self.limits.output_bytes
        output = Printed(most)
        try:
            session.feed_run(ANSWER, inputs={"_limit": most}, print_callback=output, os=sleep)
        except MontyError as problem:
            raise _no_answer(verdict(problem, self.limits, **self.details())) from None
        if output.cut:
            raise SandboxError("output_too_large", f"the answer is longer than {most} bytes of JSON", **self.details())
        try:
            return json.loads(output.text)
        except (ValueError, RecursionError) as problem:
            kind = type(problem).__name__
            text = f"the answer is no JSON value: {problem}"
            raise SandboxError("runtime", text, type=kind, **self.details()) from None


def _prepare(session: MontySession) -> None:
    """Feed what comes ahead of the code. Raises WorkerLost where the process died: nothing of the code has run yet."""
    from pydantic_monty import MontyCrashedError

    try:
        session.feed_run(INSIDE)
    except MontyCrashedError as problem:
        raise WorkerLost(str(problem)) from None


def _no_answer(error: SandboxError) -> SandboxError:
    """The error of what was fed last, which has lines of its own."""
    details = {name: value for name, value in error.details.items() if name not in ("line", "column")}
    if error.code == "recursion":
        return SandboxError("recursion", "the answer is nested too deeply", **details)
    if error.code == "runtime" and error.details["type"] != "WorkerDied":
        reason = error.message.partition("TypeError: ")[2] or error.message
        return SandboxError("runtime", f"the answer is no JSON value: {reason}", **details)
    return SandboxError(error.code, error.message, **details)


def run_batch(session: MontySession, code: str, entry: str, arguments: Sequence[str], limits: Limits) -> list[Any]:
    """The answers' JSON texts, None for each that failed. Raises SandboxError where something struck them all.

    Only for code that keeps no state (source.py): one session serves all arguments.
    """
    from pydantic_monty import MontyError

    printed, output = Printed(0), Printed(limits.output_bytes)
    inputs = {"_arguments": list(arguments), "_limit": limits.output_bytes}
    try:
        _prepare(session)
        session.feed_run(LOAD.format(code=code), print_callback=printed)
        session.feed_run(EACH.format(entry=entry), inputs=inputs, print_callback=output)
    except MontyError as problem:
        raise verdict(problem, limits) from None
    answers = _read(output.text)
    if printed.cut or output.cut or not isinstance(answers, list) or len(answers) != len(arguments):
        return [None] * len(arguments)  # the code printed, or answered more than fits
    return answers


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
