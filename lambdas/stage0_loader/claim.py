"""Idempotent boots: the boot_event of a `request_id` has an id made from it, so the ledger lets one through.

The claim is the span: there is no second truth beside it. A run that died is claimed again, after its deadline,
by the next version, and the version guard lets one caller have that too.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, LiteralString
from uuid import UUID

from ledger.append import append
from ledger.canonical import canonical_bytes
from ledger.database import Identity
from ledger.errors import LedgerError, VersionConflict
from ledger.ids import derived_id
from ledger.proof import verify
from ledger.read import span_of, versions
from ledger.span import Span

from .audit import Audit

_EXECUTIONS: Final[LiteralString] = """
SELECT * FROM ledger.universal_registry
WHERE parent_id = %s AND entity_type = 'execution' ORDER BY era, xid, position LIMIT 1
"""


class RequestConflict(LedgerError):
    """The request_id was used for another kernel or input."""

    code = "request_conflict"


class RequestInProgress(LedgerError):
    """The same request is running; after its deadline it may be tried again."""

    code = "request_in_progress"


def claim_id(identity: Identity, request_id: UUID) -> UUID:
    """The id of the boot_event of this user's request."""
    return derived_id("request", identity.tenant_id or "", identity.user_id, str(request_id))


def request_digest(kernel_id: UUID, given: Mapping[str, Any], secret: str | None) -> str:
    """What tells two requests apart without showing the input: keyed, so that a short secret can't be guessed."""
    return hmac.new((secret or "").encode(), canonical_bytes([str(kernel_id), dict(given)]), hashlib.sha256).hexdigest()


def claim(audit: Audit, event: Span) -> Span | None:
    """Append the boot_event of a request; None if it has run already, and `stored_execution` has its result.

    Raises:
        RequestConflict, RequestInProgress
    """
    try:
        (done,) = append(audit.database, audit.identity, [event], audit.key)
        if done.inserted:  # else: a repeat of the same trace in the same microsecond, identical to the letter
            return done.span
    except VersionConflict:
        pass  # the usual case: a repeat has another time, and so another hash
    last = versions(audit.database, audit.identity, event.id)[-1]
    before = last.metadata or {}
    if before.get("request_digest") != (event.metadata or {}).get("request_digest"):
        raise RequestConflict("request_id was used before for another kernel or input: take a new one")
    if stored_execution(audit, event.id) is not None:
        return None
    until = datetime.fromisoformat(before["deadline"])
    if datetime.now(UTC) <= until:
        raise RequestInProgress("the same request is still running", retry_after=before["deadline"])
    try:
        return audit.append(event.with_values(seq=last.seq + 1, prev_hash=last.curr_hash))
    except VersionConflict:  # another repeat was quicker
        raise RequestInProgress("the same request is still running", retry_after=before["deadline"]) from None


def stored_execution(audit: Audit, event_id: UUID) -> Span | None:
    """The first execution of a request, verified."""
    rows = audit.database.query(audit.identity, _EXECUTIONS, [event_id])
    if not rows:
        return None
    span = span_of(rows[0])
    verify(span, None)
    return span
