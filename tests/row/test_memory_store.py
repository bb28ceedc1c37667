"""memory_store_kernel: store, get, update, delete, and what it does not accept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from ledger.proof import verify
from tests.stage0_loader.stage import Stage

ID = str(uuid4())
SHOWN = {
    "memory_id", "seq", "content", "tags", "memory_type", "session_id", "sensitivity", "visibility", "owner_id", "at"
}  # fmt: skip


def test_a_memory_is_a_span_of_the_caller(stage: Stage, tenant: str) -> None:
    memory = stage.store("dark mode", user="ana", tenant=tenant)
    assert set(memory) == SHOWN
    assert abs(datetime.fromisoformat(memory["at"]) - datetime.now(UTC)) < timedelta(seconds=5)
    del memory["at"]
    span = stage.one(id=UUID(memory.pop("memory_id")))
    assert memory == {
        "seq": 0,
        "content": "dark mode",
        "tags": [],
        "memory_type": "general",
        "session_id": None,
        "sensitivity": "normal",
        "visibility": "private",
        "owner_id": "ana",
    }
    assert (span.entity_type, span.who, span.did, span.this) == ("memory", "ana", "stored", "memory")
    assert (span.owner_id, span.tenant_id, span.visibility, span.status) == ("ana", tenant, "private", "active")
    assert (span.metadata or {})["content"] == "dark mode"  # manual 5.2 sums its length
    assert verify(span, None)


OPTIONAL = ("tags", "memory_type", "session_id", "sensitivity", "visibility")


def test_null_optionals_take_their_defaults(stage: Stage, tenant: str) -> None:
    nulls: dict[str, Any] = dict.fromkeys([*OPTIONAL, "memory_id", "search_query", "limit", "cursor"])
    plain, given = stage.store("x", tenant=tenant), stage.store("x", tenant=tenant, **nulls)
    changing = {"memory_id": None, "at": None}
    assert {**plain, **changing} == {**given, **changing}


GIVEN: dict[str, Any] = {
    "tags": ["ui", "用户", "a b"],
    "memory_type": "preference",
    "session_id": "s-1",
    "visibility": "tenant",
}


def test_given_values_are_kept_and_got(stage: Stage, tenant: str) -> None:
    memory = stage.store("用户偏好深色模式 🌙", tenant=tenant, **GIVEN)
    assert {name: memory[name] for name in GIVEN} == GIVEN
    got = stage.memory({"action": "get", "memory_id": memory["memory_id"]}, tenant=tenant)
    assert got.output == {"memory": memory}


def test_an_update_changes_what_is_given_and_keeps_the_rest(stage: Stage, tenant: str) -> None:
    memory = stage.store("one", tenant=tenant, **GIVEN)
    changes: list[dict[str, Any]] = [
        {"content": "two"},
        {"tags": []},
        {"memory_type": "fact"},
        {"session_id": "s-2"},
        {"visibility": "private"},
    ]

    for seq, change in enumerate(changes, 1):
        given = {"action": "update", "memory_id": memory["memory_id"], **change}
        updated = stage.memory(given, tenant=tenant).output["memory"]
        assert updated == {**memory, **change, "seq": seq, "at": updated["at"]}
        memory = updated
    chain = stage.spans(id=UUID(memory["memory_id"]))
    assert [span.seq for span in chain] == [0, 1, 2, 3, 4, 5]
    assert [span.prev_hash for span in chain[1:]] == [span.curr_hash for span in chain[:-1]]
    assert [span.did for span in chain] == ["stored"] + ["updated"] * 5
    assert len({span.trace_id for span in chain}) == 6
    assert stage.memory({"action": "get", "memory_id": memory["memory_id"]}, tenant=tenant).output["memory"] == memory


def test_a_deleted_memory_is_gone_and_its_tombstone_holds_nothing(stage: Stage, tenant: str) -> None:
    memory_id = stage.store("short lived words", tenant=tenant)["memory_id"]
    deleted = stage.memory({"action": "delete", "memory_id": memory_id}, tenant=tenant)
    assert deleted.output == {"memory_id": memory_id, "seq": 1, "deleted": True}
    tombstone = stage.spans(id=UUID(memory_id))[-1]
    assert (tombstone.is_deleted, tombstone.status, tombstone.metadata) == (True, "deleted", None)
    for action in ("get", "update", "delete"):
        answer = stage.memory({"action": action, "memory_id": memory_id}, tenant=tenant)
        assert answer.error["message"] == "memory_id: there is no such memory"
    for given in ({"action": "list"}, {"action": "search", "search_query": "short"}):
        assert stage.memory(given, tenant=tenant).output["memories"] == []


ACTIONS = "'store', 'get', 'search', 'list', 'update' or 'delete'"
WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({}, "action", "is required"),
    ({"action": None}, "action", f"expected {ACTIONS}"),
    ({"action": "drop"}, "action", f"expected {ACTIONS}"),
    ({"action": "store", "contents": "x"}, "contents", "unknown field; the known ones are action, memory_id, content"),
    ({"action": "list", "owner_id": "bob"}, "owner_id", "unknown field; the known ones are action"),
    ({"action": "store"}, "content", "must not be empty"),
    ({"action": "store", "content": None}, "content", "must not be empty"),
    ({"action": "store", "content": ""}, "content", "must not be empty"),
    ({"action": "store", "content": " \n\t\u3000"}, "content", "must not be empty"),
    ({"action": "store", "content": 7}, "content", "expected a valid string"),
    ({"action": "store", "content": {"a": 1}}, "content", "expected a valid string"),
    ({"action": "update", "memory_id": None, "content": "x"}, "memory_id", "is required"),
    ({"action": "get"}, "memory_id", "is required"),
    ({"action": "delete"}, "memory_id", "is required"),
    ({"action": "get", "memory_id": "x"}, "memory_id", "expected a valid UUID"),
    ({"action": "get", "memory_id": 5}, "memory_id", "expected a valid UUID"),
    ({"action": "get", "memory_id": {}}, "memory_id", "expected a valid UUID"),
    ({"action": "get", "memory_id": ID}, "memory_id", "there is no such memory"),
    ({"action": "get", "memory_id": "00000000-0000-4000-8000-000000000101"}, "memory_id", "there is no such memory"),
    ({"action": "store", "content": "x", "tags": "ui"}, "tags", "expected a valid list"),
    ({"action": "store", "content": "x", "tags": [""]}, "tags.0", "expected"),
    ({"action": "store", "content": "x", "tags": ["a", 1]}, "tags.1", "expected a valid string"),
    ({"action": "store", "content": "x", "tags": ["t" * 201]}, "tags.0", "expected"),
    ({"action": "store", "content": "x", "tags": ["t"] * 51}, "tags", "expected"),
    ({"action": "store", "content": "x", "memory_type": ""}, "memory_type", "expected"),
    ({"action": "store", "content": "x", "session_id": 1}, "session_id", "expected a valid string"),
    ({"action": "store", "content": "x", "sensitivity": "high"}, "sensitivity", "expected 'normal' or 'secret'"),
    ({"action": "store", "content": "x", "visibility": "public"}, "visibility", "expected 'private' or 'tenant'"),
    ({"action": "list", "limit": 0}, "limit", "expected greater than or equal to 1"),
    ({"action": "list", "limit": 101}, "limit", "expected less than or equal to 100"),
    ({"action": "search", "search_query": "x", "limit": 101}, "limit", "expected less than or equal to 100"),
    ({"action": "list", "limit": "5"}, "limit", "expected a valid integer"),
    ({"action": "list", "limit": True}, "limit", "expected a valid integer"),
    ({"action": "search"}, "search_query", "expected 1 to 16 words"),
    ({"action": "search", "search_query": " \u3000 "}, "search_query", "expected 1 to 16 words"),
    ({"action": "search", "search_query": "a " * 17}, "search_query", "expected 1 to 16 words"),
    ({"action": "search", "search_query": 5}, "search_query", "expected a valid string"),
    ({"action": "store", "content": "x", "memory_id": ID}, "memory_id", "store does not take it"),
    ({"action": "store", "content": "x", "limit": 1}, "limit", "store does not take it"),
    ({"action": "get", "memory_id": ID, "content": "x"}, "content", "get does not take it"),
    ({"action": "list", "search_query": "x"}, "search_query", "list does not take it"),
    ({"action": "list", "visibility": "tenant"}, "visibility", "list does not take it"),
    ({"action": "search", "search_query": "x", "sensitivity": "secret"}, "sensitivity", "search does not take it"),
    ({"action": "delete", "memory_id": ID, "tags": []}, "tags", "delete does not take it"),
    ({"action": "search", "search_query": "x", "cursor": "99999999999.1.1.1"}, "cursor", "expected the one that"),
    *(
        ({"action": action, **needed, "cursor": cursor}, "cursor", "expected the one that an earlier page gave")
        for action, needed, parts in (("list", {}, 3), ("search", {"search_query": "x"}, 4))
        for cursor in ("x", "1.2", "1.2.3.4.5", ".".join(["-1"] * parts), ".".join(["99999999999"] * parts), "1..1")
    ),
]


@pytest.mark.parametrize(("given", "field", "message"), WRONG, ids=[f"{n}-{w[1]}" for n, w in enumerate(WRONG)])
def test_what_the_kernel_does_not_accept_is_422_and_named(
    stage: Stage, tenant: str, given: dict[str, Any], field: str, message: str
) -> None:
    answer = stage.memory(given, tenant=tenant)
    assert answer.status == 422, answer.raw
    assert answer.error["field"] == field
    assert answer.error["message"].startswith(f"{field}: {message}")
    assert stage.spans(tenant_id=tenant, entity_type="memory") == []


LIMIT = 1_000_000
FULL = {"ASCII": "x" * LIMIT, "CJK": "用" * (LIMIT // 3) + "x", "emoji": "🌙" * (LIMIT // 4)}


@pytest.mark.parametrize("content", FULL.values(), ids=FULL)
def test_a_million_bytes_are_kept_and_one_more_is_refused(stage: Stage, tenant: str, content: str) -> None:
    assert len(content.encode()) == LIMIT
    assert stage.store(content, tenant=tenant)["content"] == content
    answer = stage.memory({"action": "store", "content": content + "x"}, tenant=tenant)
    assert (answer.status, answer.error["message"]) == (422, "content: at most 1000000 bytes in UTF-8")
    assert len(stage.spans(tenant_id=tenant, entity_type="memory")) == 1


ESCAPED = {"quotes": '"' * LIMIT, "short lines": "a short line\n" * (LIMIT // 13), "backslashes": "\\x" * (LIMIT // 2)}


@pytest.mark.parametrize("sensitivity", ["normal", "secret"])
@pytest.mark.parametrize("content", [*FULL.values(), *ESCAPED.values()], ids=[*FULL, *ESCAPED])
def test_content_within_the_limit_is_kept_or_else_the_content_is_named(
    stage: Stage, tenant: str, content: str, sensitivity: str
) -> None:
    answer = stage.memory({"action": "store", "content": content, "sensitivity": sensitivity}, tenant=tenant)
    if answer.status == 200:
        assert answer.output["memory"]["content"] == content
    else:
        assert (answer.status, answer.error["field"]) == (422, "content"), answer.error


def test_two_updates_at_once_make_one_conflict_and_no_lost_version(stage: Stage, tenant: str) -> None:
    memory_id = stage.store("x", tenant=tenant)["memory_id"]
    racing = stage.publish(
        "from uuid import UUID\ndef main(ctx):\n    span = ctx.ledger.latest(UUID(ctx.input['id']))\n"
        "    for _ in range(2):\n        ctx.ledger.append_version(span, did='updated')"
    )
    answer = stage.boot(racing, {"id": memory_id}, tenant=tenant)
    assert (answer.status, answer.error["code"]) == (409, "version_conflict")
    assert [span.seq for span in stage.spans(id=UUID(memory_id))] == [0, 1]
