"""The spans that come of a policy's actions, and those in which the agent says what became of a policy."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from ledger.database import Identity
from ledger.errors import InvalidInput
from ledger.ids import derived_id, new_id
from ledger.proof import seal
from ledger.span import ASSIGNED_COLUMNS, PROOF_COLUMNS, Span, parse_span
from stage0_loader.permitted import require_permitted

from .actions import Action, EmitSpan, Metric, Report, Rollup, Run, StatusPatch, Violation
from .definition import AGENT, Policy
from .seen import caused_by

MESSAGE: Final = 500  # characters of a policy_error's
# An emitted span is a new one, of the one on whose behalf the policy acts.
_GIVEN: Final = (
    *PROOF_COLUMNS,
    *ASSIGNED_COLUMNS,
    *("id", "seq", "at", "owner_id", "tenant_id", "prev_hash", "is_deleted", "trace_id"),
)


@dataclass(frozen=True)
class Effect:
    """A span to append. `once`: one with this id is enough; `sums`: added to those of the id's latest version."""

    owner: Identity
    values: Mapping[str, Any]
    once: bool = False
    sums: Mapping[str, int] | None = None

    @property
    def id(self) -> UUID:
        """The span's id."""
        return UUID(str(self.values["id"]))


def effect_of(policy: Policy, span: Span, action: Action, path: str) -> Effect:
    """The span that an action comes to, known to be one that the ledger takes.

    Raises:
        InvalidInput, NotPermitted: naming the field of the action.
    """
    if isinstance(action, EmitSpan):
        _require_emittable(policy, span, action, f"{path}.span")
    effect = _effect(policy, span, action)
    try:
        seal(_parsed(effect.owner, effect.values, path), None)
    except InvalidInput as error:
        raise InvalidInput(path, error.details["expected"]) from None
    return effect


def _effect(policy: Policy, span: Span, action: Action) -> Effect:
    owner, about = policy.acts_as(span), span.id
    match action:
        case Run():
            asked = {"entity_type": "request", "did": "requested", "status": "scheduled", "input": action.input}
            return Effect(owner, _values(policy, span, {**asked, "parent_id": action.function_id}))
        case EmitSpan():
            return Effect(owner, _values(policy, span, {"did": "emitted", **action.span}))
        case StatusPatch():
            marked = {"entity_type": "status_patch", "did": "marked", "status": action.status, "parent_id": about}
            span_id = _mark_id(policy, span, action.status)
            return Effect(owner, _values(policy, span, {**marked, "id": span_id}), once=True)
        case Metric():
            kept = action.model_dump(include={"name", "value", "unit", "dimensions"})
            measured = {"entity_type": "metric", "did": "measured", "name": action.name, "metadata": kept}
            return Effect(owner, _values(policy, span, {**measured, "parent_id": about}))
        case Rollup():
            return _rolled_up(policy, span, action)
        case Report():
            told = {"entity_type": "error_report", "did": "reported", "status": "open", "description": action.message}
            return Effect(owner, _values(policy, span, {**told, "parent_id": about}))
        case Violation():
            return _violated(policy, span, action)


def _require_emittable(policy: Policy, span: Span, action: EmitSpan, path: str) -> None:
    for column in _GIVEN:
        if column in action.span:
            raise InvalidInput(f"{path}.{column}", "is given by the agent; leave it out")
    base = {"id": new_id(), "who": AGENT, "did": "emitted", "this": policy.name}
    require_permitted(_parsed(policy.acts_as(span), {**base, **action.span}, path), path)


def _parsed(owner: Identity, values: Mapping[str, Any], path: str) -> Span:
    given = {"owner_id": owner.user_id, "tenant_id": owner.tenant_id, "at": datetime.now(UTC)}
    return parse_span({**values, **given}, path)


def _values(policy: Policy, span: Span, values: Mapping[str, Any]) -> dict[str, Any]:
    span_id = values.get("id") or new_id()
    return {
        "id": span_id,
        "who": AGENT,
        "this": policy.name,
        "related_to": [policy.span.id, span.id],
        **({"trace_id": span.trace_id} if span.trace_id else {}),
        **values,
        "metadata": {**(values.get("metadata") or {}), **caused_by(policy, span, span_id)},
    }


def _mark_id(policy: Policy, span: Span, status: str) -> UUID:
    """One mark for each span and status, whoever makes it; somebody else's opinion of the span is another."""
    owner = policy.acts_as(span)
    foreign = [] if owner == Identity(span.owner_id, span.tenant_id) else [owner.user_id]
    return derived_id("status_patch", str(span.id), status, *foreign)


def _rolled_up(policy: Policy, span: Span, action: Rollup) -> Effect:
    key = json.dumps(action.key, sort_keys=True)
    kept = action.model_dump(include={"name", "day", "key", "sums"})
    values = {
        "id": derived_id("rollup", str(span.tenant_id), action.name, action.day, key),
        "entity_type": "rollup",
        "did": "summed",
        "name": action.name,
        "status": "active",
        "visibility": "tenant",
        "metadata": kept,
    }
    return Effect(_agent_of(span), _values(policy, span, values), sums=action.sums)


def _violated(policy: Policy, span: Span, action: Violation) -> Effect:
    day = datetime.now(UTC).date().isoformat()
    values = {
        "id": derived_id("policy_violation", str(span.tenant_id), day, action.kind),
        "entity_type": "policy_violation",
        "did": "reached",
        "name": action.kind,
        "status": "open",
        "visibility": "tenant",
        "metadata": {**action.model_dump(include={"kind", "limit", "used"}), "day": day},
    }
    return Effect(_agent_of(span), _values(policy, span, values), once=True)


def _agent_of(span: Span) -> Identity:
    """The agent in the span's tenant: whose what is about the whole tenant is, and shows nothing private."""
    return Identity(AGENT, span.tenant_id)


def failed(policy: Policy, about: Span, error: Mapping[str, Any], owner: Identity, **values: Any) -> Effect:
    """A `policy_error`: `about` is the span that was shown, or the policy itself."""
    # A message may quote what the policy made up: here it must fit, and be text that the ledger takes.
    message = str(error["message"]).encode(errors="replace").decode().replace("\x00", "?")[:MESSAGE]
    values = {"did": "failed", "status": "error", "error": {**error, "message": message}, **values}
    return Effect(owner, _said(policy, about, "policy_error", **values))


def paused(policy: Policy, tenant: str) -> Effect:
    """The `status_patch` that says for whom this version of a policy is paused."""
    owner = Identity(AGENT, tenant) if policy.system else policy.keeper
    span_id = derived_id("status_patch", str(policy.span.id), "paused", str(policy.span.seq), tenant)
    values = {
        "id": span_id,
        "did": "paused",
        "status": "paused",
        "visibility": "tenant" if policy.system else "private",
    }
    return Effect(owner, _said(policy, policy.span, "status_patch", **values), once=True)


def over_quota(policy: Policy, limit: int, dropped: int) -> Effect:
    """A `policy_error`, one a day: what the tenant's quota of appends left no room for."""
    day = datetime.now(UTC).date().isoformat()
    error = {
        "code": "quota_exceeded",
        "message": f"{dropped} effects did not fit the tenant's appends of {day}",
        "limit": limit,
    }
    span_id = derived_id("policy_error", str(policy.span.id), "append.per_tenant.daily", day)
    effect = failed(policy, policy.span, error, policy.keeper, id=span_id)
    return Effect(effect.owner, effect.values, once=True)


def _said(policy: Policy, about: Span, entity_type: str, **values: Any) -> dict[str, Any]:
    span_id = values.get("id") or new_id()
    return {
        "id": span_id,
        "entity_type": entity_type,
        "who": AGENT,
        "this": policy.name,
        "parent_id": policy.span.id,
        "related_to": [about.id],
        **values,
        "metadata": {"policy_seq": policy.span.seq, "seq": about.seq, **caused_by(policy, about, span_id)},
    }


def drafts_of(effects: Iterable[Effect], stored: Mapping[UUID, Span]) -> list[dict[str, Any]]:
    """What to append, given the latest versions of those ids that the ledger has already."""
    drafts: dict[UUID, dict[str, Any]] = {}
    for effect in effects:
        head = stored.get(effect.id)
        if effect.sums is not None:
            drafts[effect.id] = _added(drafts.get(effect.id), effect, head)
        elif effect.id not in drafts and not (effect.once and head):
            drafts[effect.id] = dict(effect.values)
    return list(drafts.values())


def _added(draft: dict[str, Any] | None, effect: Effect, head: Span | None) -> dict[str, Any]:
    before = draft["metadata"] if draft else (head.metadata or {}) if head else {}
    names = {**before.get("sums", {}), **(effect.sums or {})}
    sums = {name: before.get("sums", {}).get(name, 0) + (effect.sums or {}).get(name, 0) for name in names}
    follows = {"seq": head.seq + 1, "prev_hash": head.curr_hash} if head else {}
    return {**effect.values, **follows, "metadata": {**effect.values["metadata"], "sums": sums}}
