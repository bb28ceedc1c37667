"""The two spans of a boot: committed before and after the kernel, private, linked, hashed and signed."""

from __future__ import annotations

import os
from uuid import uuid4

import pytest

from ledger.ids import MANIFEST_ID
from ledger.proof import public_key_of, verify
from tests.conftest import LOADER_KEY
from tests.stage0_loader.stage import NOTHING, Stage

LOOK = """
from ledger.connection import connect

def main(ctx):
    with connect(ctx.settings.target) as other, other.transaction():
        other.execute("SELECT set_config('app.user_id', %s, true), set_config('app.tenant_id', %s, true)",
                      [ctx.user_id, ctx.tenant_id])
        rows = other.execute("SELECT entity_type, status FROM ledger.universal_registry WHERE trace_id = %s",
                             [ctx.trace_id]).fetchall()
    return [[row["entity_type"], row["status"]] for row in rows]
"""


def test_the_boot_event_is_committed_before_the_kernel_runs_and_the_execution_is_not_there_yet(stage: Stage) -> None:
    assert stage.boot(stage.publish(LOOK)).output == [["boot_event", "started"]]


def test_the_boot_event_stays_when_the_process_dies_in_the_kernel(stage: Stage, tenant: str) -> None:
    kernel = stage.publish("import os\ndef main(ctx):\n    os._exit(9)")
    child = os.fork()
    if child == 0:
        try:
            stage.boot(kernel, tenant=tenant, loader=stage.new_loader())
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert [(span.entity_type, span.status) for span in stage.spans(tenant_id=tenant)] == [("boot_event", "started")]


def test_a_boot_leaves_two_spans_as_the_protocol_says(stage: Stage, tenant: str) -> None:
    kernel = stage.publish("def main(ctx):\n    return {'got': ctx.input}", name="echo")
    answer = stage.boot(kernel, {"n": 1}, user="ana", tenant=tenant)
    assert set(answer.body) == {
        "ok", "span_id", "execution_id", "output", "error", "duration_ms", "trace_id", "proof"
    }  # fmt: skip
    assert (answer.body["ok"], answer.body["error"]) == (True, None)
    assert answer.headers == {"content-type": "application/json", "x-trace-id": answer.trace_id}
    event, execution = stage.spans(tenant_id=tenant)
    manifest = stage.spans(id=MANIFEST_ID)[-1]
    row = stage.one(id=kernel)
    assert (str(event.id), str(execution.id)) == (answer.body["span_id"], answer.body["execution_id"])
    assert (event.entity_type, event.who, event.did, event.this) == ("boot_event", "edge:stage0", "booted", "echo")
    assert (execution.entity_type, execution.who, execution.did, execution.this) == (
        "execution",
        "edge:stage0",
        "executed",
        "echo",
    )
    assert (event.status, execution.status) == ("started", "complete")
    assert (execution.parent_id, event.parent_id) == (event.id, None)
    assert event.related_to == execution.related_to == [kernel, MANIFEST_ID]
    assert (event.input, execution.input, execution.output) == ({"n": 1}, {"n": 1}, {"got": {"n": 1}})
    assert execution.duration_ms == answer.body["duration_ms"]
    for span in (event, execution):
        assert (span.owner_id, span.tenant_id, span.visibility) == ("ana", tenant, "private")
        assert span.trace_id == answer.trace_id
        assert span.public_key == public_key_of(LOADER_KEY)
        assert verify(span, [public_key_of(LOADER_KEY)])
        assert span.metadata == {
            "boot_function_id": str(kernel),
            "kernel": {"id": str(kernel), "seq": 1, "curr_hash": row.curr_hash},
            "manifest": {"id": str(MANIFEST_ID), "seq": manifest.seq, "curr_hash": manifest.curr_hash},
            "signed": True,
        }


@pytest.mark.parametrize("visible_to", [("bob", ""), ("ana", "-other")], ids=["a colleague", "a namesake elsewhere"])
def test_a_boots_spans_are_the_callers_alone(stage: Stage, tenant: str, visible_to: tuple[str, str]) -> None:
    stage.boot(stage.publish(NOTHING), {"mine": 1}, user="ana", tenant=tenant)
    user, suffix = visible_to
    event = {"action": "timeline", "user_id": user, "tenant_id": tenant + suffix, "limit": 1000}
    assert {span["owner_id"] for span in stage.send(event).body["spans"]} == {"system"}
    assert len(stage.send({**event, "user_id": "ana", "tenant_id": tenant}).body["spans"]) == 2 + len(
        stage.spans(visibility="public")
    )


def test_a_direct_invocation_without_identity_acts_as_edge_stage0_of_system(stage: Stage) -> None:
    kernel = stage.publish("def main(ctx):\n    return [ctx.user_id, ctx.tenant_id, ctx.trace_id]")
    answer = stage.send({"action": "boot", "boot_function_id": str(kernel)})
    assert answer.output == ["edge:stage0", "system", answer.trace_id]
    assert {(s.owner_id, s.tenant_id) for s in stage.spans(trace_id=answer.trace_id)} == {("edge:stage0", "system")}


def test_a_given_trace_id_joins_answer_spans_and_log(stage: Stage) -> None:
    trace = f"trace {uuid4()} ü"
    kernel = stage.publish("def main(ctx):\n    ctx.log.info('from the kernel')\n    return ctx.trace_id")
    answer = stage.boot(kernel, trace_id=trace)
    assert answer.output == answer.trace_id == trace
    assert len(stage.spans(trace_id=trace)) == 2
    assert {line["trace_id"] for line in answer.lines} == {trace}


def test_a_trace_id_does_not_leak_into_the_next_invocation(stage: Stage) -> None:
    stage.boot(stage.publish(NOTHING), trace_id="first")
    assert "first" not in stage.send({"action": "nonsense"}).log


@pytest.mark.parametrize("kernel_seq", [1, 5])
def test_the_spans_name_the_very_version_that_ran(stage: Stage, kernel_seq: int) -> None:
    kernel = stage.publish("def main(ctx):\n    return 1", seq=1)
    if kernel_seq > 1:
        stage.publish("def main(ctx):\n    return 2", kernel=kernel, seq=kernel_seq)
    answer = stage.boot(kernel)
    for span in stage.spans(trace_id=answer.trace_id):
        assert (span.metadata or {})["kernel"]["seq"] == kernel_seq
