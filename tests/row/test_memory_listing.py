"""memory_store_kernel, `list`: newest first, filtered, by pages through whatever happens meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stage0_loader.stage import Stage


def listed(stage: Stage, tenant: str, **given: Any) -> list[dict[str, Any]]:
    """One page."""
    memories: list[dict[str, Any]] = stage.memory({"action": "list", **given}, tenant=tenant).output["memories"]
    return memories


def contents(stage: Stage, tenant: str, **given: Any) -> list[str]:
    """The contents of one page."""
    return [memory["content"] for memory in listed(stage, tenant, **given)]


def stored(stage: Stage, tenant: str, count: int) -> dict[str, str]:
    """Store memories; answers their ids by content, oldest first."""
    return {str(n): stage.store(str(n), tenant=tenant)["memory_id"] for n in range(count)}


def test_memories_are_listed_newest_first_twenty_by_default(stage: Stage, tenant: str) -> None:
    stored(stage, tenant, 25)
    assert contents(stage, tenant) == [str(n) for n in range(24, 4, -1)]
    assert len(listed(stage, tenant, limit=100)) == 25


def test_an_empty_list_is_an_empty_page_without_a_cursor(stage: Stage, tenant: str) -> None:
    assert stage.memory({"action": "list"}, tenant=tenant).output == {"memories": [], "cursor": None}


@pytest.mark.parametrize("limit", [1, 3, 7, 8, 100])
def test_pages_miss_and_repeat_nothing(stage: Stage, tenant: str, limit: int) -> None:
    stored(stage, tenant, 8)
    found: list[str] = []
    cursor: str | None = None
    for _ in range(10):
        output = stage.memory({"action": "list", "limit": limit, "cursor": cursor}, tenant=tenant).output
        found += [memory["content"] for memory in output["memories"]]
        cursor = output["cursor"]
        if cursor is None:
            break
    assert cursor is None
    assert found == [str(n) for n in range(7, -1, -1)]


FILTERS: list[tuple[dict[str, Any], list[str]]] = [
    ({"tags": ["a"]}, ["c", "a"]),
    ({"tags": ["a", "b"]}, ["c"]),
    ({"tags": []}, ["d", "c", "b", "a"]),
    ({"tags": ["none"]}, []),
    ({"memory_type": "fact"}, ["b"]),
    ({"memory_type": "general"}, ["d", "c", "a"]),
    ({"session_id": "s1"}, ["d", "a"]),
    ({"session_id": "s1", "tags": ["a"]}, ["a"]),
    ({"session_id": "s1", "memory_type": "fact"}, []),
]


@pytest.mark.parametrize(("given", "expected"), FILTERS)
def test_a_list_is_filtered_by_tags_type_and_session(
    stage: Stage, tenant: str, given: dict[str, Any], expected: list[str]
) -> None:
    stage.store("a", tenant=tenant, tags=["a"], session_id="s1")
    stage.store("b", tenant=tenant, tags=["b"], memory_type="fact")
    stage.store("c", tenant=tenant, tags=["b", "a"])
    stage.store("d", tenant=tenant, session_id="s1", sensitivity="secret")
    assert contents(stage, tenant, **given) == expected


def walk_with(stage: Stage, tenant: str, between: list[dict[str, Any]]) -> list[str]:
    """List by pages of two; after the first page do something else to memories."""
    page = stage.memory({"action": "list", "limit": 2}, tenant=tenant).output
    found = [memory["content"] for memory in page["memories"]]
    for given in between:
        assert stage.memory(given, tenant=tenant).status == 200
    while page["cursor"]:
        page = stage.memory({"action": "list", "limit": 2, "cursor": page["cursor"]}, tenant=tenant).output
        found += [memory["content"] for memory in page["memories"]]
    return found


def test_deletions_between_pages_lose_and_repeat_nothing_else(stage: Stage, tenant: str) -> None:
    ids = stored(stage, tenant, 8)
    gone = [{"action": "delete", "memory_id": ids[n]} for n in ("7", "6", "4", "0")]
    assert walk_with(stage, tenant, gone) == ["7", "6", "5", "3", "2", "1"]


def test_new_memories_between_pages_are_not_mixed_in(stage: Stage, tenant: str) -> None:
    stored(stage, tenant, 6)
    assert walk_with(stage, tenant, [{"action": "store", "content": "new"}]) == ["5", "4", "3", "2", "1", "0"]


def test_updates_of_what_was_shown_already_repeat_nothing(stage: Stage, tenant: str) -> None:
    ids = stored(stage, tenant, 6)
    change = [{"action": "update", "memory_id": ids[n], "tags": ["x"]} for n in ("5", "4")]
    assert walk_with(stage, tenant, change) == ["5", "4", "3", "2", "1", "0"]


def test_updates_of_what_is_yet_to_come_lose_nothing(stage: Stage, tenant: str) -> None:
    ids = stored(stage, tenant, 6)
    change = [{"action": "update", "memory_id": ids[n], "tags": ["x"]} for n in ("2", "0")]
    found = walk_with(stage, tenant, change)
    assert sorted(found) == ["0", "1", "2", "3", "4", "5"]


def test_updated_memories_are_listed_once_in_their_latest_version(stage: Stage, tenant: str) -> None:
    ids = stored(stage, tenant, 3)
    for n in range(4):
        stage.memory({"action": "update", "memory_id": ids["1"], "content": f"again {n}"}, tenant=tenant)
    assert sorted(contents(stage, tenant)) == ["0", "2", "again 3"]
    assert [memory["seq"] for memory in listed(stage, tenant) if memory["memory_id"] == ids["1"]] == [4]


def test_many_versions_and_tombstones_do_not_end_the_list_early(stage: Stage, tenant: str) -> None:
    stage.store("oldest", tenant=tenant)
    kernel = stage.publish(
        "def main(ctx):\n    draft = {'entity_type': 'memory', 'who': 'w', 'did': 'stored', 'this': 'memory',\n"
        "             'metadata': {'content': 'filler', 'tags': ['t'], 'memory_type': 'general', 'session_id': None,\n"
        "                          'sensitivity': 'normal'}}\n"
        "    spans = ctx.ledger.append_many([draft] * 230)\n"
        "    for span in spans[:3]:\n        ctx.ledger.append_version(span, is_deleted=True, metadata=None)"
    )
    assert stage.boot(kernel, tenant=tenant).status == 200
    assert contents(stage, tenant, memory_type="general", limit=1, tags=[]) == ["filler"]
    pages, cursor = 0, None
    found: list[str] = []
    while pages == 0 or cursor:
        output = stage.memory({"action": "list", "limit": 100, "cursor": cursor}, tenant=tenant).output
        found += [memory["memory_id"] for memory in output["memories"]]
        cursor, pages = output["cursor"], pages + 1
    assert (len(found), len(set(found))) == (228, 228)


def test_a_page_of_large_memories_is_cut_and_the_rest_follows(stage: Stage, tenant: str) -> None:
    for n in range(4):
        stage.store(str(n) * 300_000, tenant=tenant)
    first = stage.memory({"action": "list"}, tenant=tenant)
    assert [memory["content"][0] for memory in first.output["memories"]] == ["3"]
    assert first.output["cursor"]
    execution = stage.one(id=first.body["execution_id"])
    assert execution.output is not None
    rest, cursor = [], first.output["cursor"]
    while cursor:
        page = stage.memory({"action": "list", "cursor": cursor}, tenant=tenant).output
        rest += [memory["content"][0] for memory in page["memories"]]
        cursor = page["cursor"]
    assert rest == ["2", "1", "0"]


STRANGE: list[Any] = [
    {},
    {"content": "words"},
    {"content": 7, "tags": 7, "memory_type": 7, "session_id": {}, "sensitivity": []},
    {"content": None, "tags": None},
    {"ciphertext": "no base64 \u00e9", "tags": []},
    {"ciphertext": 7},
    None,
]


@pytest.mark.parametrize("metadata", STRANGE, ids=str)
def test_a_strange_memory_that_a_colleague_appends_does_not_stop_the_others(
    stage: Stage, tenant: str, metadata: Any
) -> None:
    memory = stage.store("words of alice", tenant=tenant)
    span = {"entity_type": "memory", "did": "stored", "this": "memory", "visibility": "tenant", "metadata": metadata}
    appended = stage.append(span, user="mallory", tenant=tenant)
    assert appended.status in (200, 400, 403)
    for given in ({"action": "list"}, {"action": "search", "search_query": "words"}):
        answer = stage.memory(given, tenant=tenant)
        assert answer.status == 200, answer.raw
        assert memory["memory_id"] in [item["memory_id"] for item in answer.output["memories"]]
    if appended.status == 200:
        got = stage.memory({"action": "get", "memory_id": appended.body["spans"][0]["id"]}, tenant=tenant)
        assert got.status in (200, 422)
