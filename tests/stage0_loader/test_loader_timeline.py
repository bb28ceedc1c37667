"""The `timeline` action: pages in both directions, that miss and repeat nothing and can be verified."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from db_migration.rows import read_rows
from ledger.proof import verify
from ledger.settings import asset_directory
from ledger.span import parse_span
from tests.stage0_loader.stage import Answer, Stage

NOTE: dict[str, Any] = {"entity_type": "note", "did": "wrote", "this": "it"}


def page(stage: Stage, tenant: str, **fields: Any) -> Answer:
    """A page of alice's timeline, unless `user_id` says whose."""
    return stage.send({"action": "timeline", "user_id": "alice", "tenant_id": tenant, **fields})


def walk(stage: Stage, tenant: str, direction: str, start: str | None, limit: int, **fields: Any) -> list[str]:
    """All names, page by page until a page is empty."""
    names: list[str] = []
    cursor = start
    while True:
        answer = page(stage, tenant, limit=limit, **fields, **({direction: cursor} if cursor else {}))
        if not answer.body["spans"]:
            assert cursor is None or direction == "before" or answer.body["cursor"]
            return names
        assert len(answer.body["spans"]) <= limit
        names += [span["name"] for span in answer.body["spans"]]
        cursor = answer.body["cursor"]


def written(stage: Stage, tenant: str, count: int) -> list[str]:
    """Append notes, some of them together, and answer their names in the ledger's order."""
    names = [f"{n:03}" for n in range(count)]
    for start in range(0, count, 3):
        stage.append(*({**NOTE, "name": name} for name in names[start : start + 3]), tenant=tenant)
    return [str(span.name) for span in stage.spans(tenant_id=tenant)]


@pytest.mark.parametrize("limit", [1, 4, 20, 1000])
def test_pages_in_both_directions_miss_and_repeat_nothing(stage: Stage, tenant: str, limit: int) -> None:
    names = written(stage, tenant, 20)
    assert walk(stage, tenant, "after", "beginning", limit, entity_type="note") == names
    assert walk(stage, tenant, "before", None, limit, entity_type="note") == names[::-1]


def test_a_page_has_spans_and_a_cursor_and_fifty_spans_at_most_by_default(stage: Stage, tenant: str) -> None:
    names = written(stage, tenant, 60)
    answer = page(stage, tenant)
    assert set(answer.body) == {"ok", "spans", "cursor", "trace_id"}
    assert [span["name"] for span in answer.body["spans"]] == names[:9:-1]
    assert len(page(stage, tenant, limit=1000).body["spans"]) > 60  # with the public rows


def test_a_follower_gets_what_comes_after_its_cursor(stage: Stage, tenant: str) -> None:
    written(stage, tenant, 3)
    cursor = page(stage, tenant, after="beginning", limit=1000).body["cursor"]
    nothing = page(stage, tenant, after=cursor).body
    assert (nothing["spans"], nothing["cursor"]) == ([], cursor)
    stage.append({**NOTE, "name": "new"}, tenant=tenant)
    assert [span["name"] for span in page(stage, tenant, after=cursor).body["spans"]] == ["new"]


def test_a_follower_waits_for_a_transaction_that_began_earlier(stage: Stage, tenant: str) -> None:
    cursor = page(stage, tenant, after="beginning", limit=1000).body["cursor"]
    with stage.ledger.connect("admin") as other, other.transaction():
        other.execute("SELECT pg_current_xact_id()")
        stage.append({**NOTE, "name": "later"}, tenant=tenant)
        assert page(stage, tenant, after=cursor).body["spans"] == []
        assert [span["name"] for span in page(stage, tenant, limit=1).body["spans"]] == ["later"]
    assert [span["name"] for span in page(stage, tenant, after=cursor).body["spans"]] == ["later"]


def test_every_span_verifies_from_the_json_that_was_answered(stage: Stage, tenant: str) -> None:
    odd = {"metadata": {"f": 1e21, "g": -0.0, "i": 2**53 - 1, "k": {"\U0001f319": 1, "é": [0.1, 1e-7]}}, "input": 1.0}
    stage.append({**NOTE, **odd}, tenant=tenant)
    stage.memory({"action": "store", "content": "用户 \u2028"}, tenant=tenant)
    spans = page(stage, tenant, after="beginning", limit=1000).body["spans"]
    seeded = {row.entity_type for versions in read_rows(asset_directory("row")).values() for row in versions}
    assert {span["entity_type"] for span in spans} == seeded | {"note", "memory", "boot_event", "execution"}
    for span in spans:
        assert None not in span.values()
        assert verify(parse_span(span), None)


def test_only_one_type_is_shown_where_one_is_asked_for(stage: Stage, tenant: str) -> None:
    stage.append(NOTE, {**NOTE, "entity_type": "other"}, tenant=tenant)
    for fields in ({}, {"after": "beginning"}):
        spans = page(stage, tenant, entity_type="other", **fields).body["spans"]
        assert [span["entity_type"] for span in spans] == ["other"]
    assert page(stage, tenant, entity_type="none such").body["spans"] == []


def test_a_tombstone_is_not_shown(stage: Stage, tenant: str) -> None:
    memory_id = stage.store("short lived", tenant=tenant)["memory_id"]
    stage.memory({"action": "delete", "memory_id": memory_id}, tenant=tenant)
    spans = page(stage, tenant, entity_type="memory").body["spans"]
    assert [span["seq"] for span in spans] == [0]


def cursor_of(text: str) -> str:
    """Text in a cursor's wrapping."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


BAD = ["x", "end", "Beginning", "1.2.3", "%%%", "ü", "🌙", "a" * 200, "=", "MS4y", "'; --"]
WRAPPED = ["1.2", "1.2.3.4", "a.b.c", "-1.2.3", "1.-2.3", "2147483648.1.1", "1.18446744073709551616.1", "1.1.1e3"]
WRAPPED += ["1.1.9223372036854775808", "..", "1..1", "nan.1.1"]


@pytest.mark.parametrize("cursor", [*BAD, *map(cursor_of, WRAPPED)])
@pytest.mark.parametrize("direction", ["before", "after"])
def test_a_bad_cursor_is_400(stage: Stage, tenant: str, direction: str, cursor: str) -> None:
    answer = page(stage, tenant, **{direction: cursor})
    assert answer.status == 400
    assert answer.error["message"] == f"{direction}: a cursor that an earlier page gave"


@pytest.mark.parametrize("text", ["0.0.0", "2147483647.18446744073709551615.9223372036854775807", "1.1.1"])
@pytest.mark.parametrize("direction", ["before", "after"])
def test_the_outermost_cursors_are_places_too(stage: Stage, tenant: str, direction: str, text: str) -> None:
    assert page(stage, tenant, **{direction: cursor_of(text)}).status == 200


def test_both_directions_at_once_are_400(stage: Stage, tenant: str) -> None:
    answer = page(stage, tenant, before=cursor_of("1.1.1"), after="beginning")
    assert (answer.status, answer.error["field"]) == (400, "after")


@pytest.mark.parametrize(("limit", "status"), [(1, 200), (1000, 200), (0, 400), (1001, 400), (-1, 400), (10**12, 400)])
def test_a_page_has_from_one_to_a_thousand_spans(stage: Stage, tenant: str, limit: int, status: int) -> None:
    assert page(stage, tenant, limit=limit).status == status


@pytest.mark.parametrize("fields", [{}, {"after": "beginning"}], ids=["newest", "oldest"])
def test_a_page_of_large_spans_fits_into_lambdas_answer_and_the_walk_misses_none(
    own: Stage, fields: dict[str, str]
) -> None:
    for n in range(9):
        assert own.append({**NOTE, "name": str(n), "code": "x" * 1_000_000}).status == 200
    answer = page(own, "acme", entity_type="note", **fields)
    assert len(answer.raw) < 6 * 1024 * 1024
    assert len(walk(own, "acme", "after", "beginning", 50, entity_type="note")) == 9


def test_latest_leaves_out_what_is_outdated_deleted_or_hidden(stage: Stage, tenant: str) -> None:
    ids = [
        stage.append({**NOTE, "name": name, "visibility": "tenant"}, tenant=tenant).body["spans"][0]["id"]
        for name in "abcd"
    ]
    for span_id, change in (
        (ids[0], {"name": "a2"}),
        (ids[1], {"is_deleted": True}),
        (ids[2], {"visibility": "private"}),
    ):
        later = {**NOTE, "id": span_id, "seq": 1, "name": "later", "visibility": "tenant", **change}
        assert stage.append(later, tenant=tenant).status == 200

    def seen(user: str, limit: int) -> list[str]:
        names, cursor = [], None
        while True:
            fields: dict[str, str] = {"before": cursor} if cursor else {}
            body = page(stage, tenant, user_id=user, limit=limit, entity_type="note", latest=True, **fields).body
            names += [span["name"] for span in body["spans"]]
            if body["cursor"] == cursor:
                return names
            cursor = body["cursor"]

    for limit in (1, 2, 100):
        assert seen("alice", limit) == ["later", "a2", "d"]
        assert seen("bob", limit) == ["a2", "d"]


def test_latest_does_not_follow(stage: Stage, tenant: str) -> None:
    error = page(stage, tenant, latest=True, after="beginning").error
    assert error["field"] == "latest"
    assert "not with after" in error["message"]
