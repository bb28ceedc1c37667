"""Functions, requests and the two agents that carry them out, as the tests of the queue use them."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from ledger.append import append
from ledger.database import Identity
from ledger.ids import new_id
from ledger.span import Span, parse_span
from tests.stage0_loader.stage import MANIFEST_SEQ, Answer, Stage, manifest

RUN_CODE: Final = UUID("00000000-0000-4000-8000-000000000001")
OBSERVER: Final = UUID("00000000-0000-4000-8000-000000000002")
WORKER: Final = UUID("00000000-0000-4000-8000-000000000003")
FOREVER: Final = "def main(input):\n    while True:\n        pass\n"
ECHO: Final = "def main(input):\n    return {'echo': input}\n"


def add_function(stage: Stage, tenant: str, code: str = ECHO, *, user: str = "alice", **values: Any) -> UUID:
    """Append a function as the user would; its id."""
    return UUID(append_function(stage, tenant, code, user=user, **values).body["spans"][0]["id"])


def append_function(stage: Stage, tenant: str, code: str = ECHO, *, user: str = "alice", **values: Any) -> Answer:
    """The same; the answer."""
    span = {"entity_type": "function", "did": "wrote", "this": "function", "name": "f", "code": code, **values}
    return stage.append(span, user=user, tenant=tenant)


def ask(stage: Stage, tenant: str, function: UUID, given: Any = None, *, user: str = "alice", **values: Any) -> UUID:
    """Append a request for one run; its id."""
    span = {
        "id": str(new_id()),
        "entity_type": "request",
        "did": "requested",
        "this": "run_code",
        "status": "scheduled",
        "parent_id": str(function),
        "input": given,
        **values,
    }
    answer = stage.append(span, user=user, tenant=tenant)
    assert answer.status == 200, answer.raw
    return UUID(str(span["id"]))


def put(stage: Stage, tenant: str, *, user: str = "alice", **values: Any) -> UUID:
    """Append a span as its owner, past the loader and what it lets callers append; its id."""
    draft = {"id": new_id(), "who": user, "did": "wrote", "this": "it", "at": datetime.now(UTC), **values}
    span = parse_span({**draft, "owner_id": user, "tenant_id": tenant})
    append(stage.loader.database, Identity(user, tenant), [span], None)
    return span.id


def run(stage: Stage, tenant: str, function: UUID, *, user: str = "alice", fields: Any = None, **given: Any) -> Answer:
    """Boot run_code_kernel."""
    return stage.boot(RUN_CODE, {"function_id": str(function), **given}, user=user, tenant=tenant, **(fields or {}))


def agent(stage: Stage, kernel: UUID, given: dict[str, Any] | None = None, **options: Any) -> dict[str, int]:
    """Boot an agent as its schedule does; what it counted."""
    counts: dict[str, int] = stage.boot(kernel, given, user="edge:stage0", tenant="system", **options).output
    return counts


def states(stage: Stage, request: UUID) -> list[str | None]:
    """The states that a request went through."""
    return [span.status for span in stage.spans(id=request)]


def restrict(stage: Stage, seq: int = MANIFEST_SEQ + 1, **changes: Any) -> None:
    """Publish the manifest with these values changed, each an object of which the rest stays."""
    released = dict(manifest().metadata or {})
    merged = {name: {**released.get(name, {}), **value} for name, value in changes.items()}
    stage.seed(manifest(seq, **merged))


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for what another process does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def executions(stage: Stage, function: UUID) -> list[Span]:
    """The runs of a function."""
    return stage.spans(parent_id=function, entity_type="execution")


def pending(stage: Stage) -> list[dict[str, Any]]:
    """The index of the queue."""
    return stage.superuser.execute("SELECT * FROM ledger_idx.pending ORDER BY ready_at, request_id").fetchall()
