"""What is appended comes back with the same canonical bytes: through the real `jsonb`, `timestamptz`, `uuid[]`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.append import append
from ledger.canonical import canonical_bytes
from ledger.database import Database, Identity
from ledger.errors import InvalidInput
from ledger.ids import new_id
from ledger.proof import span_hash, verify
from ledger.read import versions
from ledger.span import ASSIGNED_COLUMNS, PROOF_COLUMNS, Span, canonical_span, format_instant, parse_span
from tests.conftest import LOADER_KEY, TestLedger
from tests.ledger.json_values import anything, objects, texts
from tests.ledger.kit import draft, someone

quickly = settings(
    max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
OWNER = someone()
PLACE = (*ASSIGNED_COLUMNS, *PROOF_COLUMNS)


@pytest.fixture(scope="module")
def database(shared: TestLedger) -> Iterator[Database]:
    database = shared.database()
    yield database
    database.close()


def stored(database: Database, span: Span, owner: Identity = OWNER) -> Span:
    """The span as it is read back after the library appended it; its proof holds."""
    (done,) = append(database, owner, [span], LOADER_KEY)
    (back,) = versions(database, owner, span.id)
    assert done.inserted
    assert canonical_span(back.columns()) == canonical_span(done.span.columns())
    assert [getattr(back, name) for name in PLACE] == [getattr(done.span, name) for name in PLACE]
    assert span_hash(back.columns()) == back.curr_hash
    assert verify(back, {str(back.public_key)})
    return back


@quickly
@given(given_input=anything, output=anything, error=anything, metadata=objects)
def test_json_keeps_its_bytes(database: Database, given_input: Any, output: Any, error: Any, metadata: Any) -> None:
    values = {"input": given_input, "output": output, "error": error, "metadata": metadata}
    back = stored(database, draft(OWNER, **values))
    for name, value in values.items():
        assert canonical_bytes(getattr(back, name)) == canonical_bytes(value)


_TEXTS = ("status", "name", "description", "code", "language", "runtime")


@quickly
@given(
    values=st.fixed_dictionaries(
        {}, optional={**dict.fromkeys(_TEXTS, texts), "trace_id": texts.filter(lambda text: len(text) <= 200)}
    )
)
def test_texts_come_back_as_they_were(database: Database, values: dict[str, str]) -> None:
    back = stored(database, draft(OWNER, **values))
    assert {name: getattr(back, name) for name in values} == values


_OFFSETS = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@quickly
@given(at=st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 30), timezones=_OFFSETS | st.just(UTC)))
def test_times_come_back_in_utc_to_the_microsecond(database: Database, at: datetime) -> None:
    back = stored(database, draft(OWNER, at=at.isoformat()))
    assert back.at == at
    assert back.at.utcoffset() == timedelta(0)
    assert format_instant(back.at).endswith("Z")


@pytest.mark.parametrize("related", [None, [], [new_id()], [new_id(), new_id()], [UUID(int=0)] * 3])
def test_lists_of_ids_come_back_even_when_they_are_empty(database: Database, related: list[UUID] | None) -> None:
    back = stored(database, draft(OWNER, related_to=related, parent_id=new_id()))
    assert back.related_to == related


def test_no_list_and_an_empty_one_are_not_the_same_span() -> None:
    span = draft(OWNER)
    assert span_hash(span.columns()) != span_hash(span.with_values(related_to=[]).columns())


@pytest.mark.parametrize(
    "values",
    [
        {"seq": 2**31 - 1, "duration_ms": 2**31 - 1},
        {"duration_ms": 0, "is_deleted": True, "visibility": "tenant"},
        {"metadata": {}, "input": [], "output": "", "error": False},
        {"input": 0, "output": 0.0, "error": -0.0},
        {"metadata": {"a": None, "b": [None]}},
        {"metadata": {"k" * 1000: "v" * 100_000}},
        {"at": "0001-01-01T00:00:00Z"},
        {"at": "9999-12-31T23:59:59.999999Z"},
        {"id": str(new_id()).upper()},
    ],
)
def test_the_edges_of_a_span_round_trip(database: Database, values: dict[str, Any]) -> None:
    back = stored(database, draft(OWNER, **values))
    for name, value in values.items():
        if name not in ("at", "id"):
            assert canonical_bytes(getattr(back, name)) == canonical_bytes(value)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"at": "0001-01-01T00:00:00+14:00"}, "span.at"),
        ({"at": "9999-12-31T23:59:59-14:00"}, "span.at"),
        ({"at": "2026-01-31T12:00:00"}, "span.at"),
        ({"at": "yesterday"}, "span.at"),
        ({"at": 5}, "span.at"),
        ({"id": "x"}, "span.id"),
        ({"id": 5}, "span.id"),
        ({"related_to": ["x"]}, "span.related_to.0"),
        ({"seq": -1}, "span.seq"),
        ({"seq": True}, "span.seq"),
        ({"seq": 1.0}, "span.seq"),
        ({"seq": 2**31}, "span.seq"),
        ({"duration_ms": -1}, "span.duration_ms"),
        ({"who": ""}, "span.who"),
        ({"who": "a\x00"}, "span.who"),
        ({"code": "\ud800"}, "span.code"),
        ({"tenant_id": ""}, "span.tenant_id"),
        ({"owner_id": None}, "span.owner_id"),
        ({"visibility": "secret"}, "span.visibility"),
        ({"is_deleted": 1}, "span.is_deleted"),
        ({"metadata": []}, "span.metadata"),
        ({"metadata": {"a": [float("nan")]}}, "span.metadata.a[0]"),
        ({"input": {"n": 2**53}}, "span.input.n"),
        ({"prev_hash": "AB" * 32}, "span.prev_hash"),
        ({"when": "now"}, "span.when"),
        ({"metadatas": {}}, "span.metadatas"),
    ],
)
def test_a_wrong_value_is_refused_by_its_path(changes: dict[str, Any], field: str) -> None:
    values = {"id": str(new_id()), "entity_type": "note", "who": "w", "did": "d", "this": "t", "owner_id": "o"}
    with pytest.raises(InvalidInput) as refusal:
        parse_span({**values, "at": "2026-01-31T12:00:00Z", **changes})
    assert refusal.value.details["field"] == field
