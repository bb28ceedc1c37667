"""Through the loader: nobody reaches what another tenant, or another user's privacy, holds."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.stage0_loader.stage import Answer, Stage

STRANGERS = [("bob", ""), ("alice", "-b"), ("bob", "-b"), ("Alice", ""), ("alice ", ""), ("%", "")]
NAMES = ["a colleague", "a namesake elsewhere", "a stranger", "another case", "a space more", "a wildcard"]
strangers = pytest.mark.parametrize(("user", "suffix"), STRANGERS, ids=NAMES)


def timeline(stage: Stage, user: str, tenant: str, **fields: Any) -> Answer:
    """A page of the caller's timeline."""
    return stage.send({"action": "timeline", "user_id": user, "tenant_id": tenant, "limit": 1000, **fields})


@strangers
def test_a_private_memory_is_invisible_and_untouchable_to_anybody_else(
    stage: Stage, tenant: str, user: str, suffix: str
) -> None:
    word = uuid4().hex
    memory = stage.store(f"the word is {word}", tenant=tenant)
    memory_id, where = memory["memory_id"], tenant + suffix
    asked = [
        {"action": "get", "memory_id": memory_id},
        {"action": "update", "memory_id": memory_id, "content": "mine now"},
        {"action": "delete", "memory_id": memory_id},
    ]
    for given in asked:
        answer = stage.memory(given, user=user, tenant=where)
        assert (answer.status, answer.error["message"]) == (422, "memory_id: there is no such memory")
    for given in ({"action": "search", "search_query": word[:9]}, {"action": "list"}):
        assert stage.memory(given, user=user, tenant=where).output["memories"] == []
    for fields in ({}, {"after": "beginning"}, {"entity_type": "memory"}):
        page = timeline(stage, user, where, **fields)
        assert word not in page.raw
        owners = {(span["owner_id"], span["tenant_id"]) for span in page.body["spans"]}
        assert owners <= {(user, where), ("system", "system")}
    assert stage.memory({"action": "get", "memory_id": memory_id}, tenant=tenant).output["memory"] == memory
    assert stage.spans(id=memory_id)[-1].seq == 0


@strangers
def test_versions_of_a_private_span_are_hidden_from_a_kernel_of_somebody_else(
    stage: Stage, tenant: str, user: str, suffix: str
) -> None:
    memory_id = stage.store("one", tenant=tenant)["memory_id"]
    stage.memory({"action": "update", "memory_id": memory_id, "content": "two"}, tenant=tenant)
    kernel = stage.publish(
        "from uuid import UUID\ndef main(ctx):\n    i = UUID(ctx.input['id'])\n"
        "    rows = ctx.ledger.query('SELECT seq FROM ledger.universal_registry WHERE id = %s', [i])\n"
        "    return [len(ctx.ledger.versions(i)), ctx.ledger.latest(i) is not None, len(rows)]"
    )
    assert stage.boot(kernel, {"id": memory_id}, tenant=tenant).output == [2, True, 2]
    assert stage.boot(kernel, {"id": memory_id}, user=user, tenant=tenant + suffix).output == [0, False, 0]


def test_a_memory_for_the_tenant_is_read_there_but_changed_by_its_owner_only(stage: Stage, tenant: str) -> None:
    memory = stage.store("shared words", tenant=tenant, visibility="tenant")
    given = {"action": "get", "memory_id": memory["memory_id"]}
    assert stage.memory(given, user="bob", tenant=tenant).output["memory"] == memory
    found = stage.memory({"action": "search", "search_query": "shared"}, user="bob", tenant=tenant)
    assert [item["memory_id"] for item in found.output["memories"]] == [memory["memory_id"]]
    listed = stage.memory({"action": "list"}, user="bob", tenant=tenant).output["memories"]
    assert [item["memory_id"] for item in listed] == [memory["memory_id"]]
    assert "shared words" in timeline(stage, "bob", tenant, entity_type="memory").raw
    for change in ({"action": "update", "content": "x"}, {"action": "delete"}):
        answer = stage.memory({**change, "memory_id": memory["memory_id"]}, user="bob", tenant=tenant)
        assert answer.error["message"] == "memory_id: only its owner may change a memory"
    for user in ("alice", "bob"):
        assert stage.memory(given, user=user, tenant=tenant + "-b").status == 422
        assert "shared words" not in timeline(stage, user, tenant + "-b").raw


def test_a_memory_made_private_again_is_gone_for_the_others(stage: Stage, tenant: str) -> None:
    memory_id = stage.store("once shared", tenant=tenant, visibility="tenant")["memory_id"]
    stage.memory({"action": "update", "memory_id": memory_id, "visibility": "private"}, tenant=tenant)
    assert stage.memory({"action": "get", "memory_id": memory_id}, user="bob", tenant=tenant).status == 422
    for given in ({"action": "search", "search_query": "once"}, {"action": "list"}):
        assert stage.memory(given, user="bob", tenant=tenant).output["memories"] == []
        assert len(stage.memory(given, tenant=tenant).output["memories"]) == 1


INJECTIONS = [
    "x'; DROP TABLE ledger.universal_registry; --",
    "x' OR '1'='1",
    "system",
    "%s %(name)s $1 {0} {{user_name}}",
    'a"b\\c\nd\te',
    "', true); SELECT set_config('app.user_id', 'system', false); --",
    "用户 🌙 \u202e\u200b",
]


@pytest.mark.parametrize("text", INJECTIONS)
@pytest.mark.parametrize("field", ["user_id", "tenant_id", "trace_id"])
def test_whatever_stands_in_an_identity_is_data(stage: Stage, field: str, text: str) -> None:
    if (field, text) == ("user_id", "system"):
        assert stage.send({"action": "timeline", "user_id": "system"}).status == 400
        return
    kernel = stage.publish(
        "def main(ctx):\n    row = ctx.ledger.query(\"SELECT current_setting('app.user_id') u, "
        "current_setting('app.tenant_id') t\")[0]\n    return [ctx.user_id, ctx.tenant_id, row['u'], row['t']]"
    )
    identity = {"user_id": f"u{uuid4()}", "tenant_id": f"t{uuid4()}", "trace_id": f"r{uuid4()}", field: text}
    answer = stage.send({"action": "boot", "boot_function_id": str(kernel), **identity})
    assert answer.output == [identity["user_id"], identity["tenant_id"]] * 2
    event = stage.one(id=answer.body["span_id"])
    assert (event.owner_id, event.tenant_id, event.trace_id) == tuple(identity.values())
    assert stage.send({"action": "health"}).status == 200


@pytest.mark.parametrize("text", INJECTIONS)
@pytest.mark.parametrize("field", ["content", "memory_type", "session_id", "tags"])
def test_whatever_stands_in_a_memory_is_data(stage: Stage, tenant: str, field: str, text: str) -> None:
    value = [text] if field == "tags" else text
    given: dict[str, Any] = {"content": "plain", field: value}
    memory = stage.store(**given, tenant=tenant)
    assert memory[field] == value
    asked: dict[str, Any] = {"action": "list"} if field == "content" else {"action": "list", field: value}
    assert stage.memory(asked, tenant=tenant).output["memories"] == [memory]
    found = stage.memory({"action": "search", "search_query": text}, tenant=tenant)
    assert len(found.output["memories"]) == (1 if field == "content" else 0)


@pytest.mark.parametrize("text", INJECTIONS)
@pytest.mark.parametrize("field", ["entity_type", "who", "did", "this", "name", "status", "code", "trace_id"])
def test_whatever_stands_in_an_appended_span_is_data(stage: Stage, tenant: str, field: str, text: str) -> None:
    answer = stage.append({"entity_type": "note", "did": "wrote", "this": "it", field: text}, tenant=tenant)
    assert answer.status == 200, answer.raw
    assert stage.one(tenant_id=tenant).columns()[field] == text
    page = timeline(stage, "alice", tenant, entity_type=text if field == "entity_type" else "note")
    assert [span[field] for span in page.body["spans"]] == [text]


def test_a_context_does_not_stay_on_the_connection(stage: Stage, tenant: str) -> None:
    kernel = stage.publish(
        "def main(ctx):\n    ctx.ledger.query('SELECT 1')\n"
        "    sql = \"SELECT current_setting('app.user_id', true) u, current_setting('app.tenant_id', true) t\"\n"
        "    row = ctx.ledger.database.query(None, sql)[0]\n    return [row['u'] or '', row['t'] or '']"
    )
    assert stage.boot(kernel, tenant=tenant).output == ["", ""]


@strangers
def test_the_search_behind_the_kernel_gives_a_stranger_not_even_ids(
    stage: Stage, tenant: str, user: str, suffix: str
) -> None:
    memory_id = stage.store("a needle of alice", tenant=tenant)["memory_id"]
    kernel = stage.publish(
        "def main(ctx):\n    rows = ctx.ledger.query(\"SELECT id FROM ledger.search_memory(ARRAY['needle'], 100)\")\n"
        "    return [str(row['id']) for row in rows]"
    )
    assert stage.boot(kernel, tenant=tenant).output == [memory_id]
    assert stage.boot(kernel, user=user, tenant=tenant + suffix).output == []
