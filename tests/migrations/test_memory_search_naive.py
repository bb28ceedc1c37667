"""search_memory finds, page by page, what going through all memories finds: short words, common ones, parts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.connection import Connection
from ledger.database import Identity
from ledger.span import Span
from tests.conftest import TestLedger
from tests.ledger.kit import following, put, sealed, set_context, someone

_PAGE = """
SELECT m.name, found.score, m.era, m.xid::text AS xid, m.position
  FROM ledger.search_memory(%(terms)s, %(limit)s, %(tags)s, NULL, NULL,
                            %(score)s, %(era)s, %(xid)s::text::xid8, %(position)s) found
  JOIN ledger.universal_registry m USING (id, seq)
 ORDER BY found.score DESC, m.era DESC, m.xid DESC, m.position DESC
"""
_FIRST = {"score": 2147483647, "era": 0, "xid": "0", "position": 0}
# One memory of so much text, and the index is asked before the walk goes on: it is done after 200 otherwise.
LONG = "filler " * 144_000
WORDS = ["a", "ab", "abc", "bab", "cab", "abcab", "b-a", "c_ab", "100%", "x.y", "ça", "Ab"]
TERMS = ["a", "b", "ab", "abc", "bab", "cab", "ca", "%", "_a", "-", ".", "b-a", "ab c", "0%", "ça", "AB", "q"]


@dataclass(frozen=True)
class Memory:
    """One to be stored: whose (an index into the people), its words, and what becomes of it."""

    owner: int
    visibility: str
    words: tuple[str, ...]
    tags: tuple[str, ...]
    then: str | None


_memories = st.lists(
    st.builds(
        Memory,
        owner=st.integers(0, 4),
        visibility=st.sampled_from(["private", "tenant", "public"]),
        words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(tuple),
        tags=st.sets(st.sampled_from(["t", "u"])).map(lambda tags: tuple(sorted(tags))),
        then=st.sampled_from([None, None, "changed", "hidden", "deleted"]),
    ),
    max_size=12,
)


@pytest.fixture(scope="module")
def connection(shared: TestLedger) -> Iterator[Connection]:
    with shared.connect("lambda_exec") as connection:
        yield connection


def people() -> list[Identity]:
    """The caller, a colleague, namesakes in another tenant and in none, a stranger. All new."""
    me, stranger = someone(), someone()
    return [
        me,
        Identity(f"colleague of {me.user_id}", me.tenant_id),
        Identity(me.user_id, stranger.tenant_id),
        Identity(me.user_id, None),
        stranger,
    ]


def versions(memories: Sequence[Memory], who: Sequence[Identity]) -> list[Span]:
    """Spans in the order in which they are stored; a name says which they are."""
    firsts = [
        sealed(
            who[memory.owner],
            entity_type="memory",
            visibility=memory.visibility,
            name=f"{number}.0",
            metadata={"content": " ".join(memory.words), "tags": list(memory.tags)},
        )
        for number, memory in enumerate(memories)
    ]
    seconds = [
        following(first, name=f"{number}.1", **_change(memory.then, first))
        for number, (first, memory) in enumerate(zip(firsts, memories, strict=True))
        if memory.then
    ]
    return firsts + seconds


def _change(then: str, first: Span) -> dict[str, Any]:
    if then == "deleted":
        return {"is_deleted": True, "metadata": None}
    if then == "hidden":
        return {"visibility": "private"}
    return {"metadata": {**(first.metadata or {}), "content": "abc changed"}}


def score(content: str, term: str) -> int:
    """3 as a word, 2 as the beginning of one, 1 elsewhere; 0 where it is not. Letters, digits and _ make words."""
    literal = re.escape(term)
    if re.search(rf"(?<!\w)(?=\w){literal}(?<=\w)(?!\w)", content):
        return 3
    if re.search(rf"(?<!\w)(?=\w){literal}", content):
        return 2
    return int(term in content)


def expected(
    spans: Sequence[Span], caller: Identity, terms: Sequence[str], tags: list[str] | None
) -> list[tuple[str, int]]:
    latest = {span.id: span for span in spans}
    matches = []
    for place, span in enumerate(spans):
        own = (span.owner_id, span.tenant_id) == (caller.user_id, caller.tenant_id)
        shared = span.tenant_id == caller.tenant_id is not None and span.visibility in ("tenant", "public")
        if latest[span.id] is not span or span.is_deleted or not (own or shared):
            continue
        metadata = span.metadata or {}
        scores = [score(metadata["content"].lower(), term.lower()) for term in terms]
        if all(scores) and set(tags or []) <= set(metadata["tags"]):
            matches.append((-sum(scores), -place, span.name or ""))
    return [(name, -total) for total, _, name in sorted(matches)]


def found(
    connection: Connection, caller: Identity, terms: Sequence[str], tags: list[str] | None, limit: int
) -> list[tuple[str, int]]:
    """All pages."""
    pages: list[tuple[str, int]] = []
    place: dict[str, Any] = dict(_FIRST)
    with connection.transaction():
        set_context(connection, caller)
        while True:
            rows = connection.execute(_PAGE, {"terms": terms, "tags": tags, "limit": limit, **place}).fetchall()
            pages += [(row["name"], row["score"]) for row in rows]
            if len(rows) < limit:
                return pages
            place = {name: rows[-1][name] for name in _FIRST}


@settings(max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    memories=_memories,
    terms=st.lists(st.sampled_from(TERMS), min_size=1, max_size=2),
    tags=st.sampled_from([None, None, ["t"], ["t", "u"]]),
    limit=st.sampled_from([1, 2, 5, 100]),
)
def test_pages_hold_what_a_walk_through_everything_finds(
    shared: TestLedger,
    connection: Connection,
    memories: list[Memory],
    terms: list[str],
    tags: list[str] | None,
    limit: int,
) -> None:
    who = people()
    spans = versions(memories, who)
    put(shared, *spans)
    for caller in who:
        assert found(connection, caller, terms, tags, limit) == expected(spans, caller, terms, tags)


@pytest.fixture(scope="module")
def behind_a_long_one(shared: TestLedger) -> tuple[list[Span], list[Identity]]:
    """Memories of every kind below one so long that the index is asked right after it."""
    who = people()
    kinds = [
        Memory(owner, visibility, (WORDS[place % 12], WORDS[place * 5 % 12]), ("t",) if place % 2 else (), then)
        for place, (owner, visibility, then) in enumerate(
            (owner, visibility, then)
            for owner in range(5)
            for visibility in ("private", "tenant", "public")
            for then in (None, "changed", "hidden", "deleted")
        )
    ]
    spans = versions(kinds, who)
    put(shared, *spans)
    for whose in who:
        long = sealed(whose, entity_type="memory", visibility="tenant", name="long", metadata={"content": LONG})
        put(shared, long)
    return spans, who


@pytest.mark.parametrize("terms", [[term] for term in TERMS] + [["a", "abc"], ["cab", "%"], ["abc", "changed"]])
def test_the_index_finds_the_same_as_the_walk(
    connection: Connection, behind_a_long_one: tuple[list[Span], list[Identity]], terms: list[str]
) -> None:
    spans, who = behind_a_long_one
    tags = ["t"] if len(terms) > 1 else None
    for caller in who:
        assert found(connection, caller, terms, tags, 15) == expected(spans, caller, terms, tags)
