"""What each path does: the same requests as a direct invocation's, as the caller that the token proves."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, LiteralString
from uuid import UUID

from ledger.canonical import check
from ledger.database import Identity
from ledger.errors import LedgerError

from ..boot import Loader
from ..deadline import Deadline
from ..event import Append, Boot, Timeline
from ..perform import perform, watched
from ..trust import select_kernel
from . import figures
from .call import Call
from .models import BootBody, CommitOrder, EnrollBody, NewestFirst, Nothing, RunBody, SpansBody, Versions
from .token import Caller

RUN_CODE: Final = UUID("00000000-0000-4000-8000-000000000001")
ENROLLMENT: Final = UUID("00000000-0000-4000-8000-000000000008")
# Who boots the enrolment kernel for a client that has no identity yet.
NOBODY: Final = Identity("edge:enroll", "system")
# What worker, observer and policy agent run or evaluate for its owner.
RUN_LATER: Final = frozenset({"function", "request", "policy"})
ENROLL_ONLY: Final = frozenset({"app_enrollment_kernel"})
CALLS_OF_SOURCE, CALLS_IN_ALL = 10, 200  # a minute

_COUNT: Final[LiteralString] = "SELECT ledger.count_open_call(%s, %s, %s) AS wait_s"
_PING: Final[LiteralString] = "SELECT 1"


class TooManyCalls(LedgerError):
    """Enrolment takes no token, so there is a limit to how often it is tried."""

    code = "too_many_calls"


@dataclass(frozen=True)
class Content:
    """The body of a success. `etag` where something shorter than the body's own hash tells it from others.

    `bare`: a document of its own, without `ok` and `trace_id`.
    """

    body: dict[str, Any]
    etag: str | None = None
    bare: bool = False


@dataclass(frozen=True)
class Exchange:
    """One call that was let in: who calls, and the span that the path names."""

    loader: Loader
    call: Call
    deadline: Deadline
    trace_id: str
    caller: Caller | None
    span_id: UUID | None

    @property
    def identity(self) -> Identity:
        """Who acts."""
        return self.caller.identity if self.caller else NOBODY

    def boot(self, kernel_id: UUID, given: Mapping[str, Any]) -> Content:
        """Boot a kernel within the scopes of the caller's app."""
        check(dict(given), "input")
        request = Boot(
            action="boot",
            boot_function_id=kernel_id,
            input=dict(given),
            request_id=self.call.idempotency_key() if self.caller else None,
            **self._who(),
        )
        scopes = self.caller.scopes if self.caller else ENROLL_ONLY
        return Content(perform(self.loader, request, self.deadline, scopes))

    def require_reachable(self, kernel_id: UUID) -> None:
        """Raise what a boot of the kernel by this caller would: NotAllowed, NotInScope, …"""
        loader, scopes = self.loader, self.caller.scopes if self.caller else ENROLL_ONLY
        select = partial(select_kernel, loader.database, self.identity, loader.settings, kernel_id, scopes)
        watched(loader, self.identity, self.trace_id, select)

    def perform(self, kind: type[Append] | type[Timeline], **fields: Any) -> dict[str, Any]:
        """Append, or read a page, as the caller."""
        return perform(self.loader, kind.model_validate({**fields, **self._who()}), self.deadline)

    def _who(self) -> dict[str, Any]:
        who = self.identity
        return {"user_id": who.user_id, "tenant_id": who.tenant_id, "trace_id": self.trace_id}


def boot(on: Exchange, given: BootBody) -> Content:
    """Boot a kernel. With an `Idempotency-Key`, a repeat answers the stored result."""
    return on.boot(given.boot_function_id, given.input)


def run_function(on: Exchange, given: RunBody) -> Content:
    """Run a function of the caller's tenant in the sandbox."""
    argument = {"input": given.input} if "input" in given.model_fields_set else {}
    return on.boot(RUN_CODE, {"function_id": str(on.span_id), **argument})


def enroll(on: Exchange, given: EnrollBody) -> Content:
    """Enrol an app and its first device by an invitation's code: the one call that changes things without a token."""
    database = on.loader.database
    database.wait_until_reachable(on.deadline.at)
    (row,) = database.query(None, _COUNT, [_source(on.call.source), CALLS_OF_SOURCE, CALLS_IN_ALL])
    if row["wait_s"]:
        raise TooManyCalls("too many enrolments: try again later", retry_after=row["wait_s"])
    return on.boot(ENROLLMENT, {"action": "enroll", **given.model_dump()})


def append_spans(on: Exchange, given: SpansBody) -> Content:
    """Append one span, or several: all or none. Who gives `id` and `at` can send a span again: it is there once.

    What is run for its owner later (functions, requests, policies) needs the scope of running functions now.
    """
    fields = given.model_dump(exclude_unset=True)
    drafts = fields.get("spans") or [fields.get("span") or {}]
    if any(draft.get("entity_type") in RUN_LATER for draft in drafts):
        on.require_reachable(RUN_CODE)
    if fields.get("span"):
        fields["span"] = _repeatable(fields["span"])
    if fields.get("spans"):
        fields["spans"] = [_repeatable(draft) for draft in fields["spans"]]
    return Content(on.perform(Append, action="append", **fields))


def list_spans(on: Exchange, given: NewestFirst) -> Content:
    """A page of what the caller may see, newest first."""
    return Content(on.perform(Timeline, action="timeline", **given.model_dump()))


def follow_timeline(on: Exchange, given: CommitOrder) -> Content:
    """What was committed after a cursor, in commit order, missing and repeating nothing.

    The ETag is the answer's cursor: with `If-None-Match: "<cursor>"`, what has nothing new after it is a 304.
    """
    body = on.perform(Timeline, action="timeline", **given.model_dump())
    # Between two places of the ledger nothing is ever added or changed: the URL and where the page ends say it all.
    return Content(body, etag=body["cursor"])


def show_span(on: Exchange, given: Versions) -> Content:
    """A span with its versions."""
    assert on.span_id is not None  # noqa: S101 - the path has it
    before_seq, limit = given.before_seq, given.limit
    return Content(figures.span_with_versions(on.loader.database, on.identity, on.span_id, before_seq, limit))


def metrics(on: Exchange, given: Nothing) -> Content:  # noqa: ARG001 - it takes none
    """The caller's own figures: quotas, executions and spans."""
    loader = on.loader
    work = lambda: figures.metrics(loader.database, on.identity, loader.settings)  # noqa: E731
    return Content(watched(loader, on.identity, on.trace_id, work))


def show_manifest(on: Exchange, given: Nothing) -> Content:  # noqa: ARG001 - it takes none
    """What the caller's app may boot."""
    loader, scopes = on.loader, on.caller.scopes if on.caller else frozenset[str]()
    work = lambda: figures.manifest(loader.database, on.identity, loader.settings, scopes)  # noqa: E731
    return Content(watched(loader, on.identity, on.trace_id, work))


def health(on: Exchange, given: Nothing) -> Content:  # noqa: ARG001 - it takes none
    """Is the ledger reachable? Needs no token, and tells no more."""
    on.loader.database.query(None, _PING)
    return Content({"status": "ok"})


def openapi(on: Exchange, given: Nothing) -> Content:  # noqa: ARG001 - it takes none
    """This document. Needs no token."""
    from .openapi import document  # nobody else pays for it

    return Content(document(), bare=True)


def _repeatable(draft: dict[str, Any]) -> dict[str, Any]:
    """The draft without nulls. With id and time of its own it has a trace of its own: the same when it comes again."""
    given = {column: value for column, value in draft.items() if value is not None}
    return {"trace_id": given["id"].hex, **given} if {"id", "at"} <= given.keys() else given


def _source(address: str) -> str:
    """An address; of IPv6 the network that one subscriber has."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    return str(ipaddress.ip_network((ip, 64), strict=False)) if ip.version == 6 else str(ip)
