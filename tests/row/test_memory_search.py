"""memory_store_kernel, `search`: words, beginnings and parts of words, in any language, best match first."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.stage0_loader.stage import Stage


@pytest.fixture(scope="module")
def library(stage: Stage) -> str:
    """A tenant with memories in several languages."""
    tenant = f"library-{uuid4()}"
    for text in TEXTS:
        stage.store(text, tenant=tenant)
    return tenant


TEXTS = [
    "用户偏好深色模式 🌙",
    "The quick brown fox jumps over the lazy dog",
    "Überraschung im Café, naïve Ångström",
    "discount of 100% on a_b and c\\d",
    "regex .* and [a-z]+ and (x|y)? ^$",
    "ログインに失敗しました",
    "Привет мир",
    "مرحبا بالعالم",
    "한국어 메모",
    "price is $5; DROP TABLE x; --'\"",
    "family 👨‍👩‍👧 and flag 🇵🇹",
    "full\uff11\uff12 ﬁne",
]


def search(stage: Stage, tenant: str, query: str, **given: Any) -> list[str]:
    """The contents found, best first."""
    answer = stage.memory({"action": "search", "search_query": query, **given}, tenant=tenant)
    return [memory["content"] for memory in answer.output["memories"]]


FOUND: list[tuple[str, int]] = [
    ("用户", 0), ("深色", 0), ("模", 0), ("🌙", 0), ("偏好深色模式", 0), ("用户 🌙", 0),
    ("fox", 1), ("FOX", 1), ("qui", 1), ("umps", 1), ("o", 1), ("dog quick", 1), ("quick\u3000dog", 1), ("x j", 1),
    ("überraschung", 2), ("ÜBER", 2), ("U\u0308berraschung", 2), ("cafe\u0301", 2), ("ångström", 2), ("naïve", 2),
    ("100%", 3), ("%", 3), ("a_b", 3), ("c\\d", 3), ("\\", 3),
    (".*", 4), ("[a-z]+", 4), ("(x|y)?", 4), ("^$", 4),
    ("ログイン", 5), ("失敗", 5), ("привет", 6), ("МИР", 6), ("مرحبا", 7), ("메모", 8), ("한국", 8),
    ("$5;", 9), ("--'\"", 9), ("DROP TABLE", 9), ("👧", 10), ("🇵🇹", 10), ("12", 11), ("fine", 11), ("\uff46ull", 11),
]  # fmt: skip


@pytest.mark.parametrize(("query", "index"), FOUND, ids=[query for query, _ in FOUND])
def test_words_beginnings_and_parts_are_found_in_any_language(
    stage: Stage, library: str, query: str, index: int
) -> None:
    assert TEXTS[index] in search(stage, library, query, limit=100)


@pytest.mark.parametrize(
    "query", ["%o%", "_ox", "f.x", "qu.*", "^The", "dog$", "[fgh]ox", "fox cat", "\\w", "a%b", "cafe", "foxx", "用戶"]
)
def test_characters_with_a_meaning_elsewhere_are_only_themselves_here(stage: Stage, library: str, query: str) -> None:
    assert search(stage, library, query) == []


@pytest.mark.parametrize(("query", "expected"), [("%", [3]), ("_", [3]), ("\\", [3]), (".*", [4]), ("*", [4])])
def test_a_wildcard_finds_only_where_it_stands(stage: Stage, library: str, query: str, expected: list[int]) -> None:
    assert search(stage, library, query) == [TEXTS[index] for index in expected]


def test_the_best_match_comes_first_and_of_equals_the_newest(stage: Stage, tenant: str) -> None:
    for text in ("concatenate", "catalogue", "a cat", "cat again", "category", "the bobcat"):
        stage.store(text, tenant=tenant)
    assert search(stage, tenant, "cat") == ["cat again", "a cat", "category", "catalogue", "the bobcat", "concatenate"]
    scores = [
        memory["score"]
        for memory in stage.memory({"action": "search", "search_query": "cat"}, tenant=tenant).output["memories"]
    ]
    assert scores == sorted(scores, reverse=True)


def test_every_word_has_to_be_there_and_each_counts(stage: Stage, tenant: str) -> None:
    for text in ("red apples", "red apple", "apple", "bored with apple", "red"):
        stage.store(text, tenant=tenant)
    assert search(stage, tenant, "red apple") == ["red apple", "red apples", "bored with apple"]
    assert search(stage, tenant, " ".join(["red"] * 16)) == ["red", "red apple", "red apples", "bored with apple"]


@pytest.mark.parametrize("limit", [1, 3, 4, 10])
def test_pages_of_a_search_miss_and_repeat_nothing(stage: Stage, tenant: str, limit: int) -> None:
    texts = [f"{word} {n}" for n in range(4) for word in ("cat", "cats", "bobcat")]
    for text in texts:
        stage.store(text, tenant=tenant)
    found: list[str] = []
    cursor: str | None = None
    for _ in range(20):
        given = {"action": "search", "search_query": "cat", "limit": limit, "cursor": cursor}
        page = stage.memory(given, tenant=tenant).output
        assert len(page["memories"]) <= limit
        found += [memory["content"] for memory in page["memories"]]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert found == [f"{word} {n}" for word in ("cat", "cats", "bobcat") for n in (3, 2, 1, 0)]


def test_twenty_are_found_by_default_and_a_hundred_at_most(stage: Stage, tenant: str) -> None:
    kernel = stage.publish(
        "def main(ctx):\n    draft = {'entity_type': 'memory', 'who': 'w', 'did': 'stored', 'this': 'memory',\n"
        "             'metadata': {'content': 'needle', 'tags': [], 'memory_type': 'general', 'session_id': None,\n"
        "                          'sensitivity': 'normal'}}\n    ctx.ledger.append_many([draft] * 130)"
    )
    assert stage.boot(kernel, tenant=tenant).status == 200
    assert len(search(stage, tenant, "needle")) == 20
    assert len(search(stage, tenant, "needle", limit=100)) == 100


FILTERS: list[tuple[dict[str, Any], list[str]]] = [
    ({"tags": ["a"]}, ["note three", "note one"]),
    ({"tags": ["a", "b"]}, ["note three"]),
    ({"tags": []}, ["note three", "note two", "note one"]),
    ({"memory_type": "fact"}, ["note two"]),
    ({"session_id": "s1"}, ["note one"]),
    ({"session_id": "s1", "tags": ["b"]}, []),
]


@pytest.mark.parametrize(("given", "expected"), FILTERS)
def test_a_search_is_filtered_like_a_list(
    stage: Stage, tenant: str, given: dict[str, Any], expected: list[str]
) -> None:
    stage.store("note one", tenant=tenant, tags=["a"], session_id="s1")
    stage.store("note two", tenant=tenant, tags=["b"], memory_type="fact")
    stage.store("note three", tenant=tenant, tags=["b", "a"])
    assert search(stage, tenant, "note", **given) == expected


def test_only_the_latest_version_is_found(stage: Stage, tenant: str) -> None:
    memory_id = stage.store("before words", tenant=tenant)["memory_id"]
    stage.memory({"action": "update", "memory_id": memory_id, "content": "after words"}, tenant=tenant)
    assert search(stage, tenant, "before") == []
    assert search(stage, tenant, "words") == ["after words"]
    stage.memory({"action": "delete", "memory_id": memory_id}, tenant=tenant)
    assert search(stage, tenant, "words") == []


@pytest.mark.parametrize("length", [300, 5_000, 60_000, 330_000])
def test_a_very_long_word_is_found_too(stage: Stage, tenant: str, length: int) -> None:
    word = "".join(chr(0x4E00 + n % 5000) for n in range(length))
    stage.store(f"it is {word}", tenant=tenant)
    answer = stage.memory({"action": "search", "search_query": word}, tenant=tenant)
    assert answer.status in (200, 422), answer.raw
    if answer.status == 200:
        assert len(answer.output["memories"]) == 1
    else:
        assert answer.error["field"] == "search_query"
    assert answer.seconds < 5


@pytest.mark.parametrize("query", ["(" * 3000, "a|" * 3000, "\\" * 3000, "%_" * 3000, "😀" * 2000])
def test_no_query_is_too_odd(stage: Stage, tenant: str, query: str) -> None:
    stage.store(f"x{query}y", tenant=tenant)
    assert search(stage, tenant, query) == [f"x{query}y"]


def test_a_search_through_large_memories_gives_pages_that_fit(stage: Stage, tenant: str) -> None:
    for n in range(3):
        stage.store(f"needle {n} " + "x" * 300_000, tenant=tenant)
    found: list[str] = []
    cursor = None
    for _ in range(5):
        answer = stage.memory({"action": "search", "search_query": "needle", "cursor": cursor}, tenant=tenant)
        found += [memory["content"][:8] for memory in answer.output["memories"]]
        assert stage.one(id=answer.body["execution_id"]).output is not None
        cursor = answer.output["cursor"]
        if cursor is None:
            break
    assert found == ["needle 2", "needle 1", "needle 0"]
