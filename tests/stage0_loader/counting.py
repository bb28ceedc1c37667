"""A kernel that counts its runs, and requests that were left half done."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from tests.stage0_loader.stage import Stage

COUNTER = """
def main(ctx):
    span = ctx.ledger.append(entity_type="count", who=ctx.user_id, did="counted", this="run")
    return {"run": str(span.id), "given": ctx.input}
"""


def request() -> str:
    """A fresh request_id."""
    return str(uuid4())


def runs(stage: Stage, tenant: str) -> int:
    """How often the counter ran for a tenant."""
    return len(stage.spans(tenant_id=tenant, entity_type="count"))


def count_and(statement: str) -> str:
    """A kernel that counts its run and then does something else."""
    return COUNTER.rpartition("    return")[0] + f"    {statement}\n"


def unfinished(stage: Stage, tenant: str, kernel: UUID, request_id: str, ends_in: float) -> None:
    """Leave a request as a process leaves it that died in the kernel: no execution, and a deadline."""
    answer = stage.boot(kernel, tenant=tenant, request_id=request_id)
    until = (datetime.now(UTC) + timedelta(seconds=ends_in)).isoformat()
    stage.tamper(
        "metadata = jsonb_set(metadata, '{deadline}', to_jsonb(%s::text))", UUID(answer.body["span_id"]), [until]
    )
    # No execution of it is to be found any more.
    stage.tamper("parent_id = NULL", UUID(answer.body["execution_id"]))
