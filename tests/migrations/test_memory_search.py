"""search_memory finds what contains the terms, in any script, and takes no character for a command."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.append import append
from ledger.connection import Connection
from ledger.database import Identity
from tests.conftest import TestLedger
from tests.ledger.kit import draft, set_context, someone

_SEARCH = """
SELECT m.metadata ->> 'content' AS content, found.score
  FROM ledger.search_memory(%s, 100) found JOIN ledger.universal_registry m USING (id, seq)
 ORDER BY found.score DESC, m.era DESC, m.xid DESC, m.position DESC
"""


@pytest.fixture(scope="module")
def connection(shared: TestLedger) -> Iterator[Connection]:
    with shared.connect("lambda_exec") as connection:
        yield connection


def remember(ledger: TestLedger, owner: Identity, *contents: str, **values: Any) -> None:
    """Memories of the owner's, one transaction each, in this order."""
    database = ledger.database()
    for content in contents:
        append(database, owner, [draft(owner, entity_type="memory", metadata={"content": content}, **values)], None)
    database.close()


def search(connection: Connection, caller: Identity, terms: Sequence[str | None]) -> list[tuple[str, int]]:
    with connection.transaction():
        set_context(connection, caller)
        return [(row["content"], row["score"]) for row in connection.execute(_SEARCH, [list(terms)])]


def contents(connection: Connection, caller: Identity, *terms: str) -> set[str]:
    return {content for content, _ in search(connection, caller, terms)}


# What any of these terms finds is what contains it: Python's `in`, of all the texts together.
LITERALS = [
    "100% sure", "100 percent", "snake_case", "snakeXcase", "a.*b", "axxb", "C:\\new\\table", "C:newtable",
    "(unclosed", "[bracket", "{2,3}", "a{2}", "aa", "^start$", "start", "it's; DROP TABLE spans; --", "\\m \\M \\y",
    "a|b", "?*+", "$1 %s %(x)s {0}", "tab\there", "new\nline", '"quoted"', "/slash/", "***=literal", "(?i)flag",
    "~#&<>",
]  # fmt: skip
TERMS = [
    "%", "_", ".*", "\\", "(", "[", "{2", "^", "$", "'", "; DROP", "\\m", "a|b", "?*", "%s", "\t", "\n", '"', "/",
    "***=", "(?i)", "$1", "e_c", "0%", "a.*b", "\\\\", "%%", "__", "~#&<>", "--", "start", "aa", "",
]  # fmt: skip


@pytest.fixture(scope="module")
def librarian(shared: TestLedger) -> Identity:
    owner = someone("librarian")
    remember(shared, owner, *LITERALS)
    return owner


@pytest.mark.parametrize("term", TERMS)
def test_every_character_stands_for_itself(connection: Connection, librarian: Identity, term: str) -> None:
    assert contents(connection, librarian, term) == {text for text in LITERALS if term and term in text}


@pytest.mark.parametrize(
    ("content", "term"),
    [
        ("photosynthesis at noon", "synth"),
        ("photosynthesis at noon", "photo"),
        ("photosynthesis at noon", "noon"),
        ("photosynthesis at noon", "s at n"),
        ("用户偏好深色模式 🌙", "用"),
        ("用户偏好深色模式 🌙", "用户"),
        ("用户偏好深色模式 🌙", "深色模式"),
        ("用户偏好深色模式 🌙", "🌙"),
        ("👩‍👩‍👧 family", "👩‍👩‍👧"),
        ("日本語のテキスト", "本語"),
        ("ﾃｷｽﾄ in half width", "テキスト"),
        ("한국어 기억", "국어"),
        ("caf\u00e9 au lait", "cafe\u0301"),
        ("cafe\u0301 au lait", "caf\u00e9"),
        ("Ångström", unicodedata.normalize("NFD", "ångström")),
        ("The QUICK Fox", "quick fox"),
        ("shouting", "SHOUT"),
        ("ÉCOLE", "école"),
        ("STRAẞE", "straße"),
        ("Straße", "STRAẞE"),
        ("МОСКВА", "москва"),
        ("ΣΟΦΙΑ", "σοφια"),
        ("ＦＵＬＬ ｗｉｄｔｈ", "full width"),
        ("of\ufb01ce", "office"),
        ("x²", "x2"),
        ("naïve‑hyphen", "naïve"),
        ("مرحبا بالعالم", "بالعالم"),
        ("हिन्दी में", "हिन्दी"),
        ("a", "a"),
        ("it is 3.14", "3.14"),
    ],
)
def test_a_term_is_found_in(shared: TestLedger, connection: Connection, content: str, term: str) -> None:
    owner = someone()
    remember(shared, owner, content, "something else 别的")
    assert contents(connection, owner, term) == {content}


def test_the_two_small_sigmas_are_one_letter(shared: TestLedger, connection: Connection) -> None:
    owner = someone()
    remember(shared, owner, "Ο ΔΡΟΜΟΣ")
    assert contents(connection, owner, "δρομος") == {"Ο ΔΡΟΜΟΣ"}


@pytest.mark.parametrize(
    ("content", "term"),
    [("cafe", "café"), ("用户", "户用"), ("a b", "ab"), ("ısı", "isi"), ("abc", "abcd"), ("x", "🌙")],
)
def test_a_term_is_not_found_in(shared: TestLedger, connection: Connection, content: str, term: str) -> None:
    owner = someone()
    remember(shared, owner, content)
    assert contents(connection, owner, term) == set()
    assert contents(connection, owner, content) == {content}


def test_a_word_scores_above_a_beginning_above_anything_else(shared: TestLedger, connection: Connection) -> None:
    owner = someone()
    remember(shared, owner, "a cat", "concatenate", "catalogue", "the Cat sat", "cats and a cat")
    assert search(connection, owner, ["cat"]) == [
        ("cats and a cat", 3),
        ("the Cat sat", 3),
        ("a cat", 3),
        ("catalogue", 2),
        ("concatenate", 1),
    ]
    assert search(connection, owner, ["cat", "AND"]) == [("cats and a cat", 6)]


def test_every_term_has_to_be_there(shared: TestLedger, connection: Connection) -> None:
    owner = someone()
    remember(shared, owner, "red apple", "green apple", "red pear")
    assert contents(connection, owner, "apple", "red") == {"red apple"}
    assert contents(connection, owner, "apple", "") == {"red apple", "green apple"}
    assert contents(connection, owner) == set()
    assert search(connection, owner, [None]) == []


@pytest.mark.parametrize("length", [1_000, 50_000])
def test_a_very_long_term_is_an_ordinary_one(shared: TestLedger, connection: Connection, length: int) -> None:
    owner = someone()
    text = ("lorem-ipsum " * length)[:length].strip()
    remember(shared, owner, f"before {text} after", "lorem")
    assert contents(connection, owner, text) == {f"before {text} after"}


_ALPHABET = st.sampled_from("abAB019 .*+?^$(){}[]|\\/%_'\"-:;,<>=!@#&~`\t用户深🌙ß")


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.text(_ALPHABET, max_size=8), term=st.text(_ALPHABET, min_size=1, max_size=6), after=st.text(_ALPHABET))
def test_a_text_is_found_by_any_part_of_it(
    shared: TestLedger, connection: Connection, before: str, term: str, after: str
) -> None:
    owner = someone()
    remember(shared, owner, before + term + after)
    assert contents(connection, owner, term) == {before + term + after}
    assert contents(connection, owner, term, "absent") == set()
