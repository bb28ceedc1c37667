"""search_memory shows the latest versions of what is the caller's or shared in the tenant, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ledger.connection import Connection
from ledger.database import Identity
from ledger.span import Span
from tests.conftest import TestLedger
from tests.ledger.kit import following, put, sealed, set_context, someone

_PAGE = """
SELECT found.id, found.score, m.name, m.era, m.xid::text AS xid, m.position
  FROM ledger.search_memory(%(terms)s, %(limit)s, %(tags)s, %(memory_type)s, %(session_id)s,
                            %(score)s, %(era)s, %(xid)s::text::xid8, %(position)s) found
  JOIN ledger.universal_registry m USING (id, seq)
 ORDER BY found.score DESC, m.era DESC, m.xid DESC, m.position DESC
"""
_FIRST = {"score": 2147483647, "era": 0, "xid": "0", "position": 0}


@pytest.fixture
def connection(shared: TestLedger) -> Iterator[Connection]:
    with shared.connect("lambda_exec") as connection:
        yield connection


def memory(owner: Identity, content: str, metadata: dict[str, Any] | None = None, **values: Any) -> Span:
    return sealed(owner, entity_type="memory", metadata={"content": content, **(metadata or {})}, **values)


def page(connection: Connection, caller: Identity | None, term: str, **parameters: Any) -> list[dict[str, Any]]:
    values = {"terms": [term], "limit": 100, "tags": None, "memory_type": None, "session_id": None, **_FIRST}
    with connection.transaction():
        if caller is not None:
            set_context(connection, caller)
        return connection.execute(_PAGE, values | parameters).fetchall()


def names(rows: list[dict[str, Any]]) -> set[str]:
    return {row["name"] for row in rows}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_pages_lose_nothing_and_repeat_nothing(shared: TestLedger, connection: Connection, size: int) -> None:
    owner = someone()
    texts = ["a word", "wordy", "sword", "word word", "swordfish", "the word"] * 4
    put(shared, *(memory(owner, text) for text in texts))
    whole = page(connection, owner, "word")
    assert [row["score"] for row in whole] == [3] * 12 + [2] * 4 + [1] * 8
    found: list[dict[str, Any]] = []
    place: dict[str, Any] = {}
    while rows := page(connection, owner, "word", limit=size, **place):
        assert len(rows) <= size
        found += rows
        place = {name: rows[-1][name] for name in _FIRST}
    assert found == whole


@pytest.mark.parametrize("limit", [0, -5])
def test_a_page_holds_at_least_one(shared: TestLedger, connection: Connection, limit: int) -> None:
    owner = someone()
    put(shared, memory(owner, "word"), memory(owner, "word"))
    assert len(page(connection, owner, "word", limit=limit)) == 1


def test_rows_of_other_tenants_are_never_found(shared: TestLedger, connection: Connection) -> None:
    owner, other = someone(), someone()
    namesake = Identity(owner.user_id, other.tenant_id)
    tenantless = Identity(owner.user_id, None)
    for number, visibility in enumerate(("private", "tenant", "public")):
        for whose in (owner, other, namesake, tenantless):
            put(shared, memory(whose, f"needle {number}", visibility=visibility, name=f"{whose} {visibility}"))
    everything = ("private", "tenant", "public")
    assert names(page(connection, owner, "needle")) == {f"{owner} {v}" for v in everything}
    assert names(page(connection, tenantless, "needle")) == {f"{tenantless} {v}" for v in everything}
    colleague = Identity("colleague", owner.tenant_id)
    assert names(page(connection, colleague, "needle")) == {f"{owner} tenant", f"{owner} public"}
    for nobody in (None, Identity("", None), Identity("somebody", None), someone()):
        assert page(connection, nobody, "needle") == []


@pytest.mark.parametrize(
    ("changes", "old", "new"),
    [
        ({"metadata": {"content": "changed"}}, False, True),
        ({"metadata": {"content": "changed"}, "visibility": "private"}, False, False),
        ({"is_deleted": True}, False, False),
        ({"is_deleted": True, "visibility": "private", "metadata": None}, False, False),
    ],
)
def test_a_colleague_finds_the_latest_version_or_none(
    shared: TestLedger, connection: Connection, changes: dict[str, Any], old: bool, new: bool
) -> None:
    owner = someone()
    colleague = Identity("colleague", owner.tenant_id)
    span = memory(owner, "original", visibility="tenant")
    put(shared, span)
    assert len(page(connection, colleague, "original")) == 1
    put(shared, following(span, **changes))
    assert bool(page(connection, colleague, "original")) is old
    assert bool(page(connection, colleague, "changed")) is new


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"tags": ["ui"]}, {"one", "two"}),
        ({"tags": ["ui", "dark"]}, {"one"}),
        ({"tags": ["%"]}, set()),
        ({"tags": []}, {"one", "two", "three"}),
        ({"memory_type": "fact"}, {"one", "three"}),
        ({"session_id": "s1"}, {"two"}),
        ({"tags": ["ui"], "memory_type": "fact", "session_id": "s1"}, set()),
    ],
)
def test_filters_narrow_a_search(
    shared: TestLedger, connection: Connection, filters: dict[str, Any], expected: set[str]
) -> None:
    owner = someone()
    put(
        shared,
        memory(owner, "word", {"tags": ["ui", "dark"], "memory_type": "fact"}, name="one"),
        memory(owner, "word", {"tags": ["ui"], "memory_type": "taste", "session_id": "s1"}, name="two"),
        memory(owner, "word", {"tags": [], "memory_type": "fact"}, name="three"),
    )
    assert names(page(connection, owner, "word", **filters)) == expected


def test_only_memories_are_searched(shared: TestLedger, connection: Connection) -> None:
    owner = someone()
    put(shared, sealed(owner, metadata={"content": "word"}), memory(owner, "word", name="a memory"))
    put(shared, sealed(owner, entity_type="memory", metadata=None), sealed(owner, entity_type="memory", metadata={}))
    assert names(page(connection, owner, "word")) == {"a memory"}
