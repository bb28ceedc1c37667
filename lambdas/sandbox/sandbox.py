"""Runs untrusted code: one worker, of one tenant, a fresh session for each call, every limit enforced."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from .call import ONLY_COMPILE, Call, run_batch
from .errors import SandboxError
from .limits import Limits
from .source import Import, imports_of, keeps_no_state, refuse_entry, refuse_unfit, tree_of
from .verdict import timeout, unsupported, verdict
from .worker import TimeOver, Worker, WorkerLost

if TYPE_CHECKING:
    from pydantic_monty import MontySession

T = TypeVar("T")

CHECK_LIMITS = Limits()  # of compiling
BATCH_MS = 500  # arguments judged together have this long, before each is judged alone
BATCH_ARGUMENTS = 200
REMEMBERED = 200  # sources


@dataclass(frozen=True)
class Result:
    """What a call gave: its answer as a JSON value, what it printed (cut at the limit), milliseconds."""

    output: Any
    printed: str
    duration_ms: int


class Sandbox:
    """Not for several threads at once. Starts no process before it is needed."""

    def __init__(self, *, require_seccomp: bool) -> None:
        self._require_seccomp = require_seccomp
        self._worker: Worker | None = None
        self._bounds: dict[str, Any] = {"seccomp": "unknown"}
        self._stateless: dict[bytes, bool] = {}

    def run(self, code: str, entry: str, argument: Any, limits: Limits, *, tenant: str) -> Result:
        """Call `entry(argument)` of the code, in its tenant's worker. Raises SandboxError.

        `argument` is a JSON value. What the code prints beyond `limits.printed_bytes` is cut off, and no error.
        """
        refuse_unfit(code, entry)
        return self._run(Call(code, entry, _json_text(argument), limits), tenant)

    def _run(self, call: Call, tenant: str) -> Result:
        try:
            output = self._with_worker(tenant, call.limits, lambda worker: worker.call(
                lambda session: call.run(session, worker.sleeper), call.limits
            ))  # fmt: skip
        except TimeOver:
            raise timeout(call.limits, **call.details()) from None
        return Result(output, call.printed.text, call.duration_ms())

    def run_each(
        self, code: str, entry: str, arguments: Sequence[Any], limits: Limits, *, tenant: str
    ) -> list[Result | SandboxError]:
        """Call `entry` with each argument; each has its own answer or error, as if it alone had been asked.

        Code that plainly keeps no state is loaded once for many arguments, and those that then fail are called
        alone. Raises SandboxError where no call can be made at all: `sandbox_unavailable`, or code that is unfit.
        """
        refuse_unfit(code, entry)
        texts = [_json_text(argument) for argument in arguments]
        answers: list[Result | SandboxError] = []
        for start in range(0, len(texts), BATCH_ARGUMENTS):
            part = texts[start : start + BATCH_ARGUMENTS]
            together = self._together(code, entry, part, limits, tenant)
            for text, answer in zip(part, together, strict=True):
                answers.append(answer or self._alone(Call(code, entry, text, limits), tenant))
        return answers

    def _alone(self, call: Call, tenant: str) -> Result | SandboxError:
        try:
            return self._run(call, tenant)
        except SandboxError as error:
            if error.code == "sandbox_unavailable":
                raise
            return error

    def _together(
        self, code: str, entry: str, texts: Sequence[str], limits: Limits, tenant: str
    ) -> Sequence[Result | None]:
        """The answers of those that one session can serve one after the other, None for the others."""
        none = [None] * len(texts)
        if len(texts) < 2 or not self._keeps_no_state(code, tenant):
            return none
        brief = replace(limits, timeout_ms=min(limits.timeout_ms, BATCH_MS))
        whole = Call(code, entry, "", brief)
        try:
            answers = self._with_worker(tenant, brief, lambda worker: worker.call(
                lambda session: run_batch(session, code, entry, texts, limits), brief
            ))  # fmt: skip
            values = [None if text is None else (json.loads(text),) for text in answers]
        except SandboxError as error:
            if error.code == "sandbox_unavailable":
                raise
            return none
        except (TimeOver, ValueError, RecursionError, TypeError):
            return none
        took = round(whole.duration_ms() / len(texts))
        return [value and Result(value[0], "", took) for value in values]

    def _keeps_no_state(self, code: str, tenant: str) -> bool:
        known = hashlib.sha256(code.encode()).digest()
        if known not in self._stateless:
            try:
                self._with_worker(tenant, CHECK_LIMITS, lambda worker: self._compile(worker, code))
            except SandboxError as error:
                if error.code == "sandbox_unavailable":
                    raise
                return False  # each argument gets that error by itself
            if len(self._stateless) >= REMEMBERED:
                self._stateless.clear()
            self._stateless[known] = keeps_no_state(tree_of(code))
        return self._stateless[known]

    def check(self, code: str, entry: str, *, tenant: str | None = None) -> None:
        """Compile the code, and see whether it has the entry and whether what it imports is there. Runs none of it.

        In the tenant's worker; without one in a worker for this alone, which takes longer. Raises SandboxError:
        `compile` or `unsupported`, with line and column.
        """
        refuse_unfit(code, entry)
        try:
            self._check(code, entry, tenant)
        finally:
            if tenant is None:
                self.close()

    def _check(self, code: str, entry: str, tenant: str | None) -> None:
        self._with_worker(tenant, CHECK_LIMITS, lambda worker: self._compile(worker, code))
        tree = tree_of(code)
        if tree is not None:
            for wanted in imports_of(tree):
                self._with_worker(tenant, CHECK_LIMITS, partial(_import, wanted))
            refuse_entry(tree, entry)

    def _compile(self, worker: Worker, code: str) -> None:
        from pydantic_monty import MontyError

        try:
            worker.call(lambda session: _feed(session, ONLY_COMPILE.format(code=code)), CHECK_LIMITS)
        except TimeOver:
            raise SandboxError("compile", "the source takes too long to compile") from None
        except MontyError as problem:
            if type(problem.exception()) is SystemExit:
                return
            raise verdict(problem, CHECK_LIMITS, above=1) from None

    def facts(self) -> dict[str, Any]:
        """What holds for the worker. Before one has started, `seccomp` is "unknown"."""
        return {**self._bounds, "seccomp_required": self._require_seccomp, "worker": self._worker is not None}

    def close(self) -> None:
        """End the worker. The next call starts another."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _with_worker(self, tenant: str | None, limits: Limits, work: Callable[[Worker], T]) -> T:
        """`work` with a worker of that tenant's. One that is not sound afterwards is ended."""
        try:
            worker = self._worker_of(tenant, limits)
            try:
                return work(worker)
            except WorkerLost:  # it died between two calls, so nothing of this one has run
                self.close()
                return work(self._worker_of(tenant, limits))
        except BaseException as problem:
            if not _leaves_sound(problem):
                self.close()
            if isinstance(problem, WorkerLost):
                raise SandboxError("sandbox_unavailable", f"the sandbox's process dies at once: {problem}") from None
            raise

    def _worker_of(self, tenant: str | None, limits: Limits) -> Worker:
        if self._worker is not None and self._worker.serves(tenant, limits):
            return self._worker
        self.close()
        self._worker = Worker(tenant)  # known before it starts, so that it is ended whatever interrupts that
        self._worker.start()
        self._bounds = self._worker.bounds
        if self._require_seccomp and self._bounds["seccomp"] != "on":
            raise SandboxError(
                "sandbox_unavailable",
                "this kernel has no seccomp filter, and the deployment requires one; "
                "run where it is there, or let the deployment not require it",
            )
        return self._worker


def _leaves_sound(problem: BaseException) -> bool:
    """Whether the worker may serve on: it raised, and no bound was struck."""
    if isinstance(problem, SandboxError):
        lost = (
            problem.code in ("timeout", "memory", "sandbox_unavailable") or problem.details.get("type") == "WorkerDied"
        )
        return not lost
    return False


def _json_text(argument: Any) -> str:
    try:
        return json.dumps(argument, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as problem:
        raise SandboxError(
            "runtime", f"the argument is no JSON value: {problem}", type=type(problem).__name__
        ) from None


def _feed(session: MontySession, code: str) -> None:
    session.feed_run(code)


def _import(wanted: Import, worker: Worker) -> None:
    from pydantic_monty import MontyError

    try:
        worker.call(lambda session: _feed(session, f"{wanted.statement}\nNone"), CHECK_LIMITS)
    except MontyError as problem:
        place = {"line": wanted.line, "column": wanted.column}
        sentence = f"`{wanted.statement}` does not work ({problem.exception()})"
        raise unsupported(sentence, place) from None
