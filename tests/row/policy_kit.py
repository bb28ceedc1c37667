"""Policies and the agent that evaluates them, as their tests use them."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from ledger.append import append
from ledger.database import Identity
from ledger.ids import derived_id, new_id
from ledger.span import Span, parse_span
from tests.stage0_loader.stage import Answer, Stage, row

AGENT: Final = UUID("00000000-0000-4000-8000-000000000004")
NAMES: Final = {
    "slow_exec_policy": UUID("00000000-0000-4000-8000-000000000401"),
    "metrics_exec_duration": UUID("00000000-0000-4000-8000-000000000402"),
    "daily_exec_rollup": UUID("00000000-0000-4000-8000-000000000403"),
    "error_report_policy": UUID("00000000-0000-4000-8000-000000000404"),
    "throttle_policy": UUID("00000000-0000-4000-8000-000000000405"),
}
# Appends one metric for each span that it sees, by which it can be told what it saw.
COUNT: Final = "def on(span):\n    return {'action': 'metric', 'name': 'Seen', 'value': float(span['seq'])}\n"


def boot_agent(stage: Stage, given: dict[str, Any] | None = None, **options: Any) -> Answer:
    """Boot the agent as its schedule does."""
    return stage.boot(AGENT, given, user="edge:stage0", tenant="system", **options)


def run_agent(stage: Stage, policy: UUID | str | None = None, **given: Any) -> dict[str, Any]:
    """Boot it, with one policy or all in turn; what it said of each, by policy id."""
    named = {"policy_id": str(policy)} if policy else {}
    output = boot_agent(stage, {**named, **given}).output
    return {report["policy_id"]: report for report in output["policies"]}


def add_policy(
    stage: Stage,
    code: str,
    watches: list[str] | None = None,
    *,
    user: str = "alice",
    tenant: str = "acme",
    **values: Any,
) -> UUID:
    """A tenant's policy, appended as the user would; its id."""
    metadata = {"watches": watches or ["note"], **values.pop("metadata", {})}
    span = {"entity_type": "policy", "did": "wrote", "this": "policy", "name": "p", "status": "active", "code": code}
    answer = stage.append({**span, "language": "python", "metadata": metadata, **values}, user=user, tenant=tenant)
    assert answer.status == 200, answer.raw
    return UUID(answer.body["spans"][0]["id"])


def next_version(stage: Stage, policy: UUID, *, user: str = "alice", tenant: str = "acme", **changes: Any) -> None:
    """The policy's next version, by its owner."""
    head = stage.spans(id=policy)[-1]
    kept = {name: getattr(head, name) for name in ("entity_type", "did", "this", "name", "status", "code", "language")}
    span = {"id": str(policy), "seq": head.seq + 1, "metadata": head.metadata, **kept, **changes}
    answer = stage.append(span, user=user, tenant=tenant)
    assert answer.status == 200, answer.raw


def system_policy(number: int, code: str, seq: int = 1, **metadata: Any) -> Span:
    """A policy of the seed's, beside the five, that watches notes."""
    span_id = UUID(f"00000000-0000-4000-8000-{0x410 + number:012x}")
    values = {"name": f"test_policy_{number}", "code": code, "language": "python", "runtime": "sandbox"}
    return row(span_id, "policy", seq, **values, metadata={"watches": ["note"], **metadata})


def note(stage: Stage, *, user: str = "alice", tenant: str = "acme", **values: Any) -> UUID:
    """A span that somebody appends; its id."""
    span = {"entity_type": "note", "did": "wrote", "this": "note", **values}
    answer = stage.append(span, user=user, tenant=tenant)
    assert answer.status == 200, answer.raw
    return UUID(answer.body["spans"][0]["id"])


def put(stage: Stage, *drafts: dict[str, Any], user: str = "alice", tenant: str = "acme") -> list[Span]:
    """Spans as kernels append them, reserved types included."""
    base = {"who": "edge:run_code", "did": "executed", "this": "run_code", "at": "2026-11-23T10:00:00Z"}
    owner = {"owner_id": user, "tenant_id": tenant}
    spans = [parse_span({"id": new_id(), "entity_type": "execution", **base, **owner, **draft}) for draft in drafts]
    database = stage.ledger.database()
    try:
        return [done.span for done in append(database, Identity(user, tenant), spans, None)]
    finally:
        database.close()


def seen_by(stage: Stage, policy: UUID, entity_type: str = "metric") -> list[UUID]:
    """The spans that a policy's effects of a type are about, in the order in which these spans were committed."""
    rows = stage.superuser.execute(
        "SELECT e.related_to[2] AS seen FROM ledger.universal_registry e"
        " LEFT JOIN ledger.universal_registry s ON s.id = e.related_to[2] AND s.seq = 0"
        " WHERE e.entity_type = %s AND e.seq = 0 AND e.related_to[1] = %s ORDER BY s.era, s.xid, s.position",
        [entity_type, policy],
    )
    return [row["seen"] for row in rows.fetchall()]


def cursor(stage: Stage, policy: UUID) -> Span:
    """The latest version of a policy's cursor."""
    return stage.spans(id=derived_id("policy_cursor", str(policy)))[-1]
