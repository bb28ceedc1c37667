"""What a caller, or code that a caller wrote, may append (ledger.md, "Who may do what")."""

from __future__ import annotations

from typing import Final

from ledger.errors import InvalidInput, NotPermitted
from ledger.ids import is_callers_id
from ledger.span import Span

# Written by loader, kernels and notary alone (ledger.md): with them a caller could forge what happened.
RESERVED_TYPES: Final = frozenset(
    [
        "boot_event",
        "execution",
        "device",
        "app_registration",
        "invitation",
        "status_patch",
        "policy_cursor",
        "policy_error",
        "policy_violation",
        "rollup",
        "security_alert",
        "auth.decision",
        "checkpoint",
        "archive",
        "provider_execution",
        "override",
        "manifest",
        "prompt",
        "provider",
    ]
)

# Which policies led to a span: it keeps them from starting themselves, so nobody may make it up.
CAUSE: Final = "caused_by"
# What the worker keeps of a request's runs. When it is to run, its `at` says.
WORKERS: Final = ("attempt", "lease_until", "retry_at")


def require_permitted(span: Span, path: str) -> None:
    """Raise NotPermitted, or InvalidInput, naming the field, for a span that is the system's to write."""
    if span.entity_type in RESERVED_TYPES:
        raise NotPermitted(f"{path}.entity_type: {span.entity_type} spans are written by the system alone")
    if CAUSE in (span.metadata or {}):
        raise NotPermitted(f"{path}.metadata.{CAUSE}: is filled in by the system alone")
    if span.entity_type == "request":
        _require_request(span, path)
    if span.entity_type in ("function", "policy") and span.tenant_id == "system":
        raise NotPermitted(f"{path}.entity_type: {span.entity_type} spans of tenant system come from the seed alone")
    if not is_callers_id(span.id):
        raise NotPermitted(f"{path}.id: this range of ids belongs to the system; leave it out to get a new one")
    if span.visibility == "public":
        raise NotPermitted(f"{path}.visibility: public spans come from the seed alone; use tenant or private")


def _require_request(span: Span, path: str) -> None:
    """A caller's request begins as `scheduled`; its later versions are the worker's, but for its withdrawal."""
    if span.is_deleted:
        return
    if span.status != "scheduled":
        raise NotPermitted(f"{path}.status: a caller's request begins as 'scheduled'")
    if span.seq != 0:
        raise NotPermitted(f"{path}.seq: a request is not asked for again; append a new one, with an id of its own")
    for name in WORKERS:
        if name in (span.metadata or {}):
            raise NotPermitted(f"{path}.metadata.{name}: is filled in by the system alone")
    if span.parent_id is None:
        raise InvalidInput(f"{path}.parent_id", "is required: the id of the function that the request is to run")
