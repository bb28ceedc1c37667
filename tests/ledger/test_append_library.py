"""Appending by the library: one round trip, all or nothing, twice is once, and errors with a type and a reason."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ledger.append import MAX_BATCH, append, append_within
from ledger.database import Database, Identity
from ledger.errors import InvalidInput, LedgerError, NotPermitted, VersionConflict
from ledger.ids import new_id
from ledger.proof import verify
from ledger.read import latest, newest_page, versions
from ledger.span import MAX_SPAN_BYTES, Span
from tests.conftest import LOADER_KEY, TestLedger
from tests.ledger.kit import draft, following, put, sealed, someone


@pytest.fixture(scope="module")
def database(shared: TestLedger) -> Iterator[Database]:
    database = shared.database()
    yield database
    database.close()


@pytest.fixture
def me() -> Identity:
    return someone()


def kept(database: Database, who: Identity) -> int:
    return len(newest_page(database, who, entity_type="note", limit=1000).spans)


def traffic(path: Path) -> list[str]:
    """Directions and messages of a libpq trace: `F Sync`, `B DataRow`, …"""
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    return [f"{line[1]} {line[3]}" for line in lines if len(line) > 3 and line[1] in ("F", "B")]


@pytest.mark.parametrize("count", [1, 5, 300])
def test_an_append_is_one_round_trip(database: Database, me: Identity, tmp_path: Path, count: int) -> None:
    append(database, me, [draft(me)], LOADER_KEY)  # a new connection is asked whether it lives, and prepares
    pgconn = database.connection().pgconn
    with (tmp_path / "trace").open("w") as file:
        pgconn.trace(file.fileno())
        append(database, me, [draft(me) for _ in range(count)], LOADER_KEY)
        pgconn.untrace()
    messages = traffic(tmp_path / "trace")
    turns = ["".join(pair) for pair in pairwise(message[0] for message in messages)]
    assert messages.count("F Sync") == 1
    assert (turns.count("FB"), turns.count("BF")) == (1, 0), "all is sent before anything is answered"
    assert messages[-1] == "B ReadyForQuery"


def test_an_append_tells_what_the_database_gave(database: Database, me: Identity) -> None:
    spans = [draft(me, name=str(number)) for number in range(5)]
    random.Random(5).shuffle(spans)
    done = append(database, me, spans, LOADER_KEY)
    assert [one.span.name for one in done] == [span.name for span in spans], "in the order they were given"
    for one in done:
        assert one.inserted
        assert verify(one.span, {str(one.span.public_key)})
        assert one.span == latest(database, me, [one.span.id])[one.span.id]


def test_the_same_span_again_is_a_success(database: Database, me: Identity) -> None:
    span, new = draft(me), draft(me)
    (first,) = append(database, me, [span], LOADER_KEY)
    again, other = append(database, me, [span, new], LOADER_KEY)
    assert (again.inserted, other.inserted) == (False, True)
    assert again.span.curr_hash == first.span.curr_hash
    # Later versions do not change that.
    append(database, me, [following(first.span)], LOADER_KEY)
    assert append(database, me, [span], LOADER_KEY)[0].inserted is False
    assert kept(database, me) == 3


def test_the_same_span_twice_in_one_batch_is_one(database: Database, me: Identity) -> None:
    span = draft(me)
    append(database, me, [span, span], None)
    assert kept(database, me) == 1


def test_a_conflict_names_both_hashes(database: Database, me: Identity) -> None:
    span = draft(me)
    (first,) = append(database, me, [span], LOADER_KEY)
    rival = sealed(me, id=span.id, name="other")
    with pytest.raises(VersionConflict) as conflict:
        append(database, me, [rival], LOADER_KEY)
    assert conflict.value.details == {
        "id": str(span.id),
        "seq": 0,
        "stored_hash": first.span.curr_hash,
        "given_hash": rival.curr_hash,
    }


def test_a_version_that_does_not_follow_names_the_latest(database: Database, me: Identity) -> None:
    (first,) = append(database, me, [draft(me)], None)
    append(database, me, [following(first.span)], None)
    with pytest.raises(VersionConflict) as conflict:
        append(database, me, [following(first.span, seq=2)], None)
    assert conflict.value.details["latest_seq"] == 1
    assert conflict.value.details["latest_hash"] == versions(database, me, first.span.id)[-1].curr_hash


def test_a_conflict_tells_a_stranger_nothing(shared: TestLedger, database: Database, me: Identity) -> None:
    victim = sealed(someone("victim"))
    put(shared, victim)
    tries = [following(victim), sealed(me, id=victim.id), victim, sealed(me, id=new_id(), prev_hash="ab" * 32, seq=1)]
    for span in tries:
        with pytest.raises(NotPermitted) as refusal:
            append(database, me, [span], None)
        assert refusal.value.details == {}
        assert refusal.value.message == f"span {span.id} is not yours to append to"


def test_several_versions_go_in_one_batch(database: Database, me: Identity) -> None:
    first = sealed(me)
    second = following(first)
    third = following(second, seq=9)
    done = append(database, me, [third, first, second], None)
    assert all(one.inserted for one in done)
    assert [span.seq for span in versions(database, me, first.id)] == [0, 1, 9]


def faulty(me: Identity, fault: str) -> Span:
    return {
        "foreign owner": draft(me, owner_id="somebody else"),
        "foreign tenant": draft(me, tenant_id="elsewhere"),
        "reserved type": draft(me, entity_type="manifest"),
        "reserved id": draft(me, id="00000000-0000-4000-8000-000000000007"),
        "public": draft(me, visibility="public"),
        "broken chain": draft(me, seq=1, prev_hash="ab" * 32),
        "too large": draft(me, code="x" * MAX_SPAN_BYTES),
    }[fault]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("foreign owner", NotPermitted),
        ("foreign tenant", NotPermitted),
        ("reserved type", NotPermitted),
        ("reserved id", NotPermitted),
        ("public", NotPermitted),
        ("broken chain", NotPermitted),
        ("too large", InvalidInput),
    ],
)
def test_one_bad_span_takes_the_whole_batch_with_it(
    database: Database, me: Identity, fault: str, kind: type[LedgerError]
) -> None:
    good = [draft(me) for _ in range(3)]
    with pytest.raises(kind):
        append(database, me, [good[0], faulty(me, fault), *good[1:]], None)
    assert kept(database, me) == 0
    assert all(one.inserted for one in append(database, me, good, None)), "the connection is in order"


def test_nothing_is_appended_without_a_context(database: Database) -> None:
    span = draft(someone())
    for nobody in (Identity("", None), Identity("", ""), Identity("", span.tenant_id)):
        with pytest.raises(NotPermitted):
            append(database, nobody, [span], None)


def test_an_empty_append_is_nothing(database: Database, me: Identity) -> None:
    assert append(database, me, [], None) == []
    with database.transaction(me) as connection:
        assert append_within(connection, [], None) == []


@pytest.mark.parametrize(("count", "allowed"), [(MAX_BATCH, True), (MAX_BATCH + 1, False)])
def test_a_batch_has_a_limit(database: Database, me: Identity, count: int, allowed: bool) -> None:
    spans = [draft(me) for _ in range(count)]
    if allowed:
        assert len(append(database, me, spans, None)) == kept(database, me) == count
    else:
        with pytest.raises(InvalidInput, match="at most 1000"):
            append(database, me, spans, None)


@pytest.mark.parametrize("character", ["x", "🌙", '"'])
def test_a_span_may_be_as_large_as_one_megabyte_of_canonical_bytes(
    database: Database, me: Identity, character: str
) -> None:
    spare = MAX_SPAN_BYTES - 500
    width = len(character.encode()) if character != '"' else 2
    assert append(database, me, [draft(me, code=character * (spare // width))], None)[0].inserted
    with pytest.raises(InvalidInput, match="1048576 bytes"):
        append(database, me, [draft(me, code=character * (MAX_SPAN_BYTES // width))], None)


UNFIT: list[tuple[dict[str, Any], str]] = [
    ({"metadata": {"a": [float("nan")]}}, "metadata.a[0]"),
    ({"input": {"a": float("inf")}}, "input.a"),
    ({"output": "a\x00b"}, "output"),
    ({"error": {"a": "\ud800"}}, "error.a"),
    ({"input": {1: 2}}, "input"),
    ({"input": {"n": 2**70}}, "input.n"),
]


@pytest.mark.parametrize(("values", "path"), UNFIT)
def test_what_was_never_validated_is_refused_on_append_by_its_path(
    database: Database, me: Identity, values: dict[str, Any], path: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        append(database, me, [draft(me).with_values(**values)], None)
    assert path in refusal.value.details["field"]
    assert kept(database, me) == 0


@pytest.mark.parametrize("column", ["entity_type", "owner_id", "tenant_id"])
def test_a_name_too_long_for_an_index_is_an_invalid_input(database: Database, column: str) -> None:
    long = "".join(random.Random(column).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=20_000))
    me = Identity(long if column == "owner_id" else "short", long if column == "tenant_id" else "short")
    with pytest.raises(InvalidInput) as refusal:
        append(database, me, [draft(me, **({"entity_type": long} if column == "entity_type" else {}))], None)
    assert column in refusal.value.details["field"]
