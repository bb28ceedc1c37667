"""What a kernel gets as `ctx`: the caller's rights, and no more than the manifest gives it."""

from __future__ import annotations

import itertools
from uuid import UUID

import pytest

from ledger.proof import verify
from tests.stage0_loader.stage import ACTING_KERNELS, Stage

WELCOME = UUID("00000000-0000-4000-8000-000000000101")
ACT = (
    "def main(ctx):\n    other = ctx.acting_as(ctx.input['user'], ctx.input['tenant'])\n"
    "    span = other.ledger.append(entity_type='note', who='kernel', did='wrote', this='it')\n"
    "    return [span.owner_id, span.tenant_id, other.user_id, other.tenant_id, ctx.user_id, other.trace_id]"
)
_numbers = itertools.count()


def acting(stage: Stage, source: str) -> UUID:
    """A kernel that the manifest lists under `may_act_as`."""
    return stage.publish(source, kernel=ACTING_KERNELS[next(_numbers)])


def test_a_kernel_that_may_act_as_appends_as_the_other(stage: Stage, tenant: str) -> None:
    answer = stage.boot(acting(stage, ACT), {"user": "bob", "tenant": tenant + "-b"}, tenant=tenant)
    assert answer.output == ["bob", tenant + "-b", "bob", tenant + "-b", "alice", answer.trace_id]
    assert {span.tenant_id for span in stage.spans(trace_id=answer.trace_id, entity_type="execution")} == {tenant}


def test_a_kernel_that_is_not_listed_may_not_act_as_anybody(stage: Stage, tenant: str) -> None:
    answer = stage.boot(stage.publish(ACT), {"user": "alice", "tenant": tenant}, tenant=tenant)
    assert answer.status == 403
    assert answer.error == {
        "code": "not_permitted",
        "message": "the manifest does not list this kernel under may_act_as",
    }
    assert stage.spans(tenant_id=tenant, entity_type="note") == []


def test_nobody_acts_as_system(stage: Stage) -> None:
    answer = stage.boot(acting(stage, ACT), {"user": "system", "tenant": "system"})
    assert (answer.status, answer.error["message"]) == (422, "user_id: nobody acts as system, the seeder")


def test_acting_as_has_the_others_rights_and_not_the_callers(stage: Stage, tenant: str) -> None:
    memory_id = stage.store("mine", tenant=tenant)["memory_id"]
    kernel = acting(
        stage,
        "from uuid import UUID\ndef main(ctx):\n    other = ctx.acting_as('bob', ctx.input['tenant'])\n"
        "    i = UUID(ctx.input['id'])\n    return [c.ledger.latest(i) is None for c in (ctx, other)]",
    )
    assert stage.boot(kernel, {"id": memory_id, "tenant": tenant}, tenant=tenant).output == [False, True]


def test_queries_run_under_the_callers_row_level_security(stage: Stage, tenant: str) -> None:
    stage.store("of bob", user="bob", tenant=tenant)
    stage.store("shared", user="bob", tenant=tenant, visibility="tenant")
    kernel = stage.publish(
        "def main(ctx):\n    rows = ctx.ledger.query(\"SELECT metadata->>'content' c FROM ledger.visible_timeline "
        "WHERE entity_type = 'memory' AND tenant_id = %(t)s ORDER BY c\", {'t': ctx.input['t']})\n"
        "    return [row['c'] for row in rows]"
    )
    assert stage.boot(kernel, {"t": tenant}, tenant=tenant).output == ["shared"]
    assert stage.boot(kernel, {"t": tenant}, user="bob", tenant=tenant).output == ["of bob", "shared"]
    assert stage.boot(kernel, {"t": tenant}, user="bob", tenant=tenant + "-b").output == []


def test_many_spans_are_appended_all_or_none(stage: Stage, tenant: str) -> None:
    kernel = stage.publish(
        "def main(ctx):\n    good = {'entity_type': 'note', 'who': 'w', 'did': 'd', 'this': 't'}\n"
        "    ctx.ledger.append_many([good, good, {**good, **ctx.input}])"
    )
    assert stage.boot(kernel, {"visibility": "public"}, tenant=tenant).status == 403
    assert stage.spans(tenant_id=tenant, entity_type="note") == []
    assert stage.boot(kernel, {"name": "third"}, tenant=tenant).status == 200
    notes = stage.spans(tenant_id=tenant, entity_type="note")
    assert [verify(span, None) for span in notes] == [True] * 3
    assert {span.owner_id for span in notes} == {"alice"}


def test_ctx_tells_a_kernel_who_when_and_under_which_manifest(stage: Stage, tenant: str) -> None:
    kernel = stage.publish(
        "def main(ctx):\n    return [ctx.user_id, ctx.tenant_id, ctx.trace_id, ctx.now(), str(ctx.new_id()),\n"
        "            ctx.manifest['policy']['slow_ms'], ctx.now().utcoffset().total_seconds()]"
    )
    answer = stage.boot(kernel, tenant=tenant)
    user, where, trace, now, new_id, slow_ms, offset = answer.output
    assert (user, where, trace, slow_ms, offset) == ("alice", tenant, answer.trace_id, 5000, 0)
    assert now.endswith("+00:00")
    assert UUID(new_id).version == 7


@pytest.mark.parametrize("configured", [True, False])
def test_a_secret_is_given_by_its_name_and_none_where_it_is_not_configured(stage: Stage, configured: bool) -> None:
    kernel = stage.publish("def main(ctx):\n    return ctx.secret('loglineos-memory-key') is not None")
    loader = stage.loader if configured else stage.new_loader(MEMORY_KEY_HEX="")
    assert stage.boot(kernel, loader=loader).output is configured


@pytest.mark.parametrize(
    "name", ["SIGNING_KEY", "loglineos_memory-key", "loglineos-", "openai", "", "../MEMORY_KEY", "DATABASE_URL"]
)
def test_an_unknown_secret_is_a_fault_of_the_kernel_and_named_in_the_log(stage: Stage, name: str) -> None:
    answer = stage.boot(stage.publish(f"def main(ctx):\n    return ctx.secret({name!r})"))
    assert (answer.status, answer.error["code"]) == (500, "internal")
    assert any(f"no secret is called {name}" in str(line.get("error")) for line in answer.errors)


SYSTEM_SPAN = (
    "from uuid import UUID\ndef main(ctx):\n"
    "    span = ctx.system_span(UUID(ctx.input['id']), ctx.input.get('type', 'prompt'), ctx.input.get('seq'))\n"
    "    return span and [span.name, span.seq]"
)


def test_a_span_of_the_system_is_found_by_id_type_and_seq(stage: Stage) -> None:
    kernel = stage.publish(SYSTEM_SPAN)
    assert stage.boot(kernel, {"id": str(WELCOME)}).output == ["welcome_message", 1]
    assert stage.boot(kernel, {"id": str(WELCOME), "seq": 1}).output == ["welcome_message", 1]
    for other in ({"seq": 2}, {"type": "provider"}, {"id": str(UUID(int=7))}):
        assert stage.boot(kernel, {"id": str(WELCOME), **other}).output is None


@pytest.mark.parametrize("assignment", ['metadata = \'{"template": "x", "variables": []}\'', "signature = NULL"])
def test_a_span_of_the_system_that_was_tampered_with_is_409_and_raises_the_alarm(own: Stage, assignment: str) -> None:
    own.tamper(assignment + (", public_key = NULL" if "signature" in assignment else ""), WELCOME)
    answer = own.boot(own.publish(SYSTEM_SPAN), {"id": str(WELCOME)})
    assert answer.status == 409
    assert (answer.error["message"], answer.error["span_id"]) == ("Span verification failed", str(WELCOME))
    assert own.one(trace_id=answer.trace_id, entity_type="execution").status == "error"
    assert [line["span_id"] for line in answer.errors] == [str(WELCOME)], answer.log
    (alert,) = own.spans(entity_type="security_alert")
    assert (alert.this, alert.parent_id) == (str(WELCOME), None)  # no boot was refused for it


def test_a_span_that_a_tenant_calls_a_prompt_is_none_of_the_system(stage: Stage, tenant: str) -> None:
    kernel = stage.publish(SYSTEM_SPAN)
    appended = stage.append({"entity_type": "note", "did": "d", "this": "t", "name": "mine"}, tenant=tenant)
    span_id = appended.body["spans"][0]["id"]
    assert stage.boot(kernel, {"id": span_id, "type": "prompt"}, tenant=tenant).output is None
    answer = stage.boot(kernel, {"id": span_id, "type": "note"}, tenant=tenant)
    assert answer.status == 409
