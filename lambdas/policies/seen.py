"""What a policy sees of a span, and what keeps it from seeing its own consequences."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from ledger.span import HASHED_COLUMNS, Span, format_instant
from stage0_loader.permitted import CAUSE

from .definition import Policy

MAX_CHAIN: Final = 4  # policies that can follow from one another
_SHOWN: Final = tuple(name for name in HASHED_COLUMNS if name != "prev_hash")


def is_shown(policy: Policy, span: Span, agent_kernel: UUID) -> bool:
    """What the agent appended is shown to no policy, and what followed from a policy not to that one again."""
    metadata = span.metadata or {}
    if span.entity_type in ("boot_event", "execution") and metadata.get("boot_function_id") == str(agent_kernel):
        return False
    cause = _cause(span)
    chain = cause.get("policies", [])
    return cause.get("effect_id") != str(span.id) and str(policy.span.id) not in chain and len(chain) < MAX_CHAIN


def caused_by(policy: Policy, span: Span, effect_id: UUID) -> dict[str, Any]:
    """What every span carries that the agent appends: which policies led to it, and by which span.

    What follows from it, such as the execution of a request, copies this, and has another id than `effect_id`: other
    policies see that.
    """
    chain = [*_cause(span).get("policies", []), str(policy.span.id)]
    return {CAUSE: {"policies": chain, "span_id": str(span.id), "effect_id": str(effect_id)}}


def _cause(span: Span) -> dict[str, Any]:
    cause = (span.metadata or {}).get(CAUSE)
    return cause if isinstance(cause, dict) else {}


def as_json(span: Span) -> dict[str, Any]:
    """The span as `on(span)` gets it: all columns but its proof and its place."""
    columns = span.columns()
    values = {name: columns[name] for name in _SHOWN}
    return {
        **values,
        "id": str(span.id),
        "at": format_instant(span.at),
        "parent_id": None if span.parent_id is None else str(span.parent_id),
        "related_to": None if span.related_to is None else [str(related) for related in span.related_to],
    }
