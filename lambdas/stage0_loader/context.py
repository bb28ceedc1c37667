"""What a kernel gets as `ctx` (kernels.md, "What a kernel gets")."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, LiteralString, TypeVar
from uuid import UUID

from aws_lambda_powertools import Logger
from nacl.signing import SigningKey
from pydantic import BaseModel, ValidationError

from ledger import append as appending
from ledger import read
from ledger.database import Identity, Parameters, Queries, Row
from ledger.errors import InvalidInput, LedgerError, NotPermitted, VersionConflict
from ledger.ids import new_id
from ledger.keys import KeyRing
from ledger.span import Span, first_problem, parse_span
from sandbox import Sandbox

from .deadline import Deadline
from .http import Http
from .permitted import require_permitted
from .sandbox_access import SandboxAccess
from .settings import Settings
from .telling import log_metric, publish
from .trust import require_trusted

Model = TypeVar("Model", bound=BaseModel)


class Failed(LedgerError):
    """What went wrong outside the ledger, under a code that the kernel chooses."""

    def __init__(self, code: str, message: str, **details: Any) -> None:
        super().__init__(message, **details)
        self.code = code


class Rejected(LedgerError):
    """The kernel does not accept its input; the sentence is the kernel's own."""

    code = "rejected"


@dataclass(frozen=True)
class LedgerAccess:
    """The ledger under the caller's row-level security."""

    database: Queries = field(repr=False)
    identity: Identity
    trace_id: str
    key: SigningKey | None = field(repr=False)

    def append(self, **values: Any) -> Span:
        """Append one span of the caller; see `append_many`."""
        return self.append_many([values])[0]

    def append_once(self, span_id: UUID, **values: Any) -> None:
        """Append a span whose id says what it tells of, unless that has been told."""
        if self.latest(span_id) is not None:
            return
        # Another one may be just as quick; within a transaction that must not undo the rest.
        with suppress(VersionConflict), self.database.unit() as unit:
            replace(self, database=unit).append(id=span_id, **values)

    def append_many(self, drafts: Sequence[Mapping[str, Any]]) -> list[Span]:
        """Append spans, all or none. Id, time, owner, tenant and trace are filled in where they are not given."""
        spans = [parse_span(self._complete(draft)) for draft in drafts]
        done = appending.append(self.database, self.identity, spans, self.key)
        return [appended.span for appended in done]

    def append_as_caller(self, drafts: Sequence[Mapping[str, Any]]) -> list[Span]:
        """The same for spans that untrusted code composed: only what a caller's own `append` would let pass."""
        for number, draft in enumerate(drafts):
            require_permitted(parse_span(self._complete(draft)), f"spans[{number}]")
        return self.append_many(drafts)

    def append_version(self, previous: Span, **changes: Any) -> Span:
        """The next version of a span: its values with these changes, chained to it."""
        values = {name: value for name, value in previous.columns().items() if name in _KEPT}
        return self.append(**{**values, **changes}, seq=previous.seq + 1, prev_hash=previous.curr_hash)

    def latest(self, span_id: UUID) -> Span | None:
        """The latest version, a tombstone included; None if the caller may not see it."""
        return read.latest(self.database, self.identity, [span_id]).get(span_id)

    def versions(self, span_id: UUID) -> list[Span]:
        """All versions that the caller may see, oldest first."""
        return read.versions(self.database, self.identity, span_id)

    def query(self, sql: LiteralString, parameters: Parameters = None) -> list[Row]:
        """One statement with parameters, under the caller's rights."""
        return self.database.query(self.identity, sql, parameters)

    def _complete(self, draft: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "id": new_id(),
            "at": datetime.now(UTC),
            "owner_id": self.identity.user_id,
            "tenant_id": self.identity.tenant_id,
            "trace_id": self.trace_id,
            **draft,
        }


# A version keeps what the thing is; time, trace and proof are its own.
_KEPT = frozenset(
    [
        "id",
        "entity_type",
        "who",
        "did",
        "this",
        "parent_id",
        "related_to",
        "owner_id",
        "tenant_id",
        "visibility",
        "status",
        "name",
        "description",
        "code",
        "language",
        "runtime",
        "input",
        "output",
        "error",
        "metadata",
    ]
)


@dataclass(frozen=True)
class Context:
    """One boot, as the kernel sees it.

    `manifest` is the verified manifest's metadata. `direct`: an invocation that IAM let pass, no HTTPS call.
    `request_id` names what asked for it: the boot's own, or the request span that a worker carries out.
    `caused_by`: the policies that led to it, as the request span has them.
    """

    kernel_id: UUID
    input: dict[str, Any]
    ledger: LedgerAccess
    manifest: Mapping[str, Any]
    log: Logger
    deadline: Deadline = field(repr=False)
    settings: Settings = field(repr=False)
    keys: KeyRing = field(repr=False)
    sandbox_host: Sandbox = field(repr=False)
    boot_kernel: Callable[[Context, str], Any] = field(repr=False)
    may_act_as: bool = False
    direct: bool = True
    request_id: UUID | None = None
    caused_by: Mapping[str, Any] | None = None

    @property
    def user_id(self) -> str:
        """The caller."""
        return self.ledger.identity.user_id

    @property
    def tenant_id(self) -> str | None:
        """The caller's tenant."""
        return self.ledger.identity.tenant_id

    @property
    def trace_id(self) -> str:
        """Joins this boot's spans and log lines."""
        return self.ledger.trace_id

    @property
    def sandbox(self) -> SandboxAccess:
        """Where untrusted code runs."""
        return SandboxAccess(self.sandbox_host, self.tenant_id or "", self.manifest, self.deadline)

    def new_id(self) -> UUID:
        """A fresh id for a span."""
        return new_id()

    def now(self) -> datetime:
        """The time, in UTC."""
        return datetime.now(UTC)

    def parse(self, model: type[Model]) -> Model:
        """The input as `model`. Raises Rejected that names the field, unknown ones included."""
        try:
            return model.model_validate(self.input)
        except ValidationError as error:
            problem = first_problem(error, "", tuple(model.model_fields))
            raise Rejected(problem.message, **problem.details) from None

    def rejected(self, message: str, **details: Any) -> LedgerError:
        """The error to raise for input that the kernel does not accept: `raise ctx.rejected("…")`."""
        return Rejected(message, **details)

    def failed(self, code: str, message: str, **details: Any) -> LedgerError:
        """The error to raise for what went wrong outside the ledger: `raise ctx.failed("unavailable", "…")`."""
        return Failed(code, message, **details)

    @property
    def http(self) -> Http:
        """The network: the base URLs of the system's active providers, and nothing else."""
        return Http(self.settings, self.keys, self.deadline)

    def secret(self, name: str) -> str | None:
        """A secret of this deployment; None where it is not configured. Never put it into a span or a log."""
        return self.settings.secret(name)

    def metric(self, name: str, values: Sequence[float], unit: str, dimensions: Mapping[str, str]) -> None:
        """Send values to CloudWatch, by way of the log. Each combination of name and dimensions costs money there."""
        log_metric(self.log, self.settings.metrics_namespace, name, values, unit, dimensions)

    def notify(self, subject: str, text: str) -> None:
        """Tell the operators, by the alarm topic. A failure is in the log, and nothing else."""
        publish(self.log, self.settings.alarm_topic, subject, text)

    def system_span(self, span_id: UUID, entity_type: str, seq: int | None = None) -> Span | None:
        """A prompt, provider or policy of the seed, verified like a kernel; None if there is none.

        Raises:
            VerificationFailed: it was tampered with, or no trusted key signed it.
        """
        versions = self.ledger.versions(span_id)
        span = next((s for s in reversed(versions) if seq is None or s.seq == seq), None)
        if span is None or span.entity_type != entity_type or span.is_deleted:
            return None
        require_trusted(span, entity_type, self.settings, self.keys)
        return span

    def acting_as(self, user_id: str, tenant_id: str, trace_id: str | None = None) -> Context:
        """The same boot with another's rights, for kernels that the manifest lists under `may_act_as`.

        `trace_id` joins what is appended to the trace of what it is done for.
        """
        if not self.may_act_as:
            raise NotPermitted("the manifest does not list this kernel under may_act_as")
        if user_id == "system":
            raise InvalidInput("user_id", "nobody acts as system, the seeder")
        ledger = replace(self.ledger, identity=Identity(user_id, tenant_id), trace_id=trace_id or self.trace_id)
        return replace(self, ledger=ledger)

    @contextmanager
    def transaction(self) -> Iterator[Context]:
        """The same boot within one transaction: what is appended by it, or `acting_as` another, is all or nothing.

        Keep it short: while it is open, nobody who follows the ledger sees what was committed after it began.
        """
        with self.ledger.database.unit() as unit:
            yield replace(self, ledger=replace(self.ledger, database=unit))

    def run_kernel(
        self,
        name: str,
        given: Mapping[str, Any],
        *,
        request_id: UUID | None = None,
        caused_by: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run another kernel of the manifest as part of this boot, with this context's rights; its output.

        Raises:
            LedgerError: as that kernel raised it, or because it is not allowed or does not verify.
        """
        inner = replace(self, input=dict(given), request_id=request_id, caused_by=caused_by)
        return self.boot_kernel(inner, name)
