"""The order of a boot (kernels.md): manifest, permission, kernel, boot_event, run, execution."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from aws_lambda_powertools import Logger

from ledger.database import Database
from ledger.errors import InvalidInput, LedgerError, LedgerUnavailable, VerificationFailed
from ledger.span import Span, format_instant
from sandbox import Sandbox

from .audit import Audit
from .claim import claim, claim_id, request_digest, stored_execution
from .context import Context, LedgerAccess
from .deadline import RESERVE_MS, Deadline
from .event import Boot
from .kernel import Kernels, Run
from .kernel_calls import KernelCalls
from .masking import mask
from .refusals import record_refusal
from .settings import Settings
from .trust import Governance, NotAllowed, NotFound, NotInScope, Trusted, select_kernel


class BootFailed(LedgerError):
    """A stored failure, answered again to a repeat of its request."""

    def __init__(self, error: dict[str, Any]) -> None:
        details = {key: value for key, value in error.items() if key not in ("code", "message")}
        super().__init__(str(error.get("message")), **details)
        self.code = str(error.get("code"))


@dataclass(frozen=True)
class Booted:
    """A finished boot: its two spans and what the kernel answered."""

    event: UUID
    execution: UUID
    output: Any
    duration_ms: int
    signed: bool
    replayed: bool = False


@dataclass(frozen=True)
class Loader:
    """What a warm process keeps: settings, one connection, compiled kernels, the sandbox's worker."""

    settings: Settings
    database: Database
    kernels: Kernels
    sandbox: Sandbox
    log: Logger

    def boot(self, request: Boot, deadline: Deadline, scopes: frozenset[str] | None = None) -> Booted:
        """Boot one kernel; `scopes` are those of the app that calls over HTTPS, None for a direct invocation.

        Raises LedgerError; what it answers is safe to show to the caller.
        """
        audit = Audit(self.database, request.identity, request.trace_id, self.settings.signing_key)
        try:
            governance, kernel = self._select(request, deadline, scopes)
        except (NotAllowed, NotInScope, NotFound, VerificationFailed) as error:
            self._refuse(audit, error, request.boot_function_id)
            raise
        event = self._boot_event(audit, request, governance, kernel, deadline)
        self.log.info(
            "kernel verified",
            kernel=kernel.values["name"],
            seq=kernel.values["seq"],
            proof="signed" if (event.metadata or {})["signed"] else "unsigned",
        )
        try:
            committed = claim(audit, event) if request.request_id else audit.append(event)
        except InvalidInput as error:  # what is too large in it is the input
            raise InvalidInput("input", error.details["expected"]) from None
        if committed is None:
            return self._stored(audit, event)
        context = self._context(request, governance, kernel, deadline, direct=scopes is None)
        return self._run(audit, kernel, context, committed)

    def _select(self, request: Boot, deadline: Deadline, scopes: frozenset[str] | None) -> tuple[Governance, Trusted]:
        asked = (request.identity, self.settings, request.boot_function_id, scopes)
        select = partial(select_kernel, self.database, *asked)
        try:
            return select()
        except LedgerUnavailable:
            # The connection died under the first read. Nothing has been done yet, so it may be done again.
            self.database.wait_until_reachable(deadline.at)
            return select()

    def _refuse(self, audit: Audit, error: LedgerError, kernel_id: UUID) -> None:
        try:
            record_refusal(audit, error, kernel_id)
        except LedgerError as problem:  # the caller is refused all the same
            self.log.error("ERROR a refused boot could not be recorded", code=problem.code, error=problem.message)

    def _boot_event(
        self, audit: Audit, request: Boot, governance: Governance, kernel: Trusted, deadline: Deadline
    ) -> Span:
        metadata: dict[str, Any] = {
            "boot_function_id": str(kernel.id),
            "kernel": kernel.reference(),
            "manifest": governance.span.reference(),
            "signed": kernel.signed and governance.span.signed,
        }
        values: dict[str, Any] = {}
        if request.request_id:
            # Only then is the Lambda that runs it certainly gone.
            until = datetime.now(UTC) + timedelta(seconds=deadline.left_s(), milliseconds=RESERVE_MS)
            secret = self.settings.secret("loglineos-memory-key")
            metadata |= {
                "request_id": str(request.request_id),
                "request_digest": request_digest(kernel.id, request.input, secret),
                "deadline": format_instant(until),
            }
            values["id"] = claim_id(request.identity, request.request_id)
        try:
            return audit.boot_event(
                str(kernel.values["name"]),
                "started",
                metadata,
                input=mask(request.input, _rules(kernel, "input")),
                related_to=[kernel.id, governance.span.id],
                **values,
            )
        except InvalidInput as error:
            raise InvalidInput(error.details["field"].removeprefix("span."), error.details["expected"]) from None

    def _run(self, audit: Audit, kernel: Trusted, context: Context, event: Span) -> Booted:
        run = self.kernels.run(kernel, context, context.deadline)
        self._debug_output(kernel, run)
        output = mask(run.output, _rules(kernel, "output"))
        execution = self._execution(audit, event, run, output, context.deadline)
        if run.error is not None:
            raise run.error
        return Booted(event.id, execution.id, run.output, run.duration_ms, bool((event.metadata or {})["signed"]))

    def _execution(self, audit: Audit, event: Span, run: Run, output: Any, deadline: Deadline) -> Span:
        try:
            return audit.execution(event, run, output)
        except LedgerUnavailable:
            # The connection died under the kernel. What it did is done: say so, if the reserve is enough for it.
            self.database.wait_until_reachable(deadline.at + RESERVE_MS / 2000)
            return audit.execution(event, run, output)

    def _context(
        self, request: Boot, governance: Governance, kernel: Trusted, deadline: Deadline, *, direct: bool
    ) -> Context:
        if self.log.log_level <= 10:  # manual 8.2
            self.log.debug(
                "kernel input",
                input=mask(request.input, _rules(kernel, "input"), always=True),
                env={"user_id": request.user_id, "tenant_id": request.tenant_id},
            )
        return Context(
            kernel_id=kernel.id,
            input=deepcopy(request.input),  # what a kernel does to it must not change what is recorded
            ledger=LedgerAccess(self.database, request.identity, request.trace_id, self.settings.signing_key),
            manifest=governance.span.values["metadata"],
            log=self.log,
            deadline=deadline,
            settings=self.settings,
            keys=governance.keys,
            sandbox_host=self.sandbox,
            boot_kernel=KernelCalls(self.kernels, governance),
            may_act_as=kernel.id in governance.manifest.may_act_as,
            direct=direct,
            request_id=request.request_id,
        )

    def _debug_output(self, kernel: Trusted, run: Run) -> None:
        if self.log.log_level <= 10:
            self.log.debug("kernel output", output=mask(run.output, _rules(kernel, "output"), always=True))

    def _stored(self, audit: Audit, event: Span) -> Booted:
        execution = stored_execution(audit, event.id)
        if execution is None:
            raise LedgerUnavailable("the stored execution is not visible")
        if execution.error is not None:
            raise BootFailed(execution.error)
        if "output_omitted" in (execution.metadata or {}):
            raise BootFailed({"code": "request_conflict", "message": "the stored result was too large to keep"})
        return Booted(
            event.id,
            execution.id,
            execution.output,
            execution.duration_ms or 0,
            bool((execution.metadata or {}).get("signed")),
            replayed=True,
        )


def _rules(kernel: Trusted, part: str) -> list[Any]:
    """The places of its input or output that a kernel declares secret: `metadata.mask`."""
    rules: list[Any] = ((kernel.values["metadata"] or {}).get("mask") or {}).get(part, [])
    return rules
