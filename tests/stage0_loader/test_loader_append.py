"""The `append` action: one or many, defaults, chains, repeats, conflicts, limits and the daily quota."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from ledger.ids import new_id
from ledger.proof import public_key_of, verify
from ledger.span import COLUMNS, parse_span
from tests.conftest import LOADER_KEY
from tests.stage0_loader.stage import Stage, manifest

NOTE: dict[str, Any] = {"entity_type": "note", "did": "wrote", "this": "it"}
FIXED = {**NOTE, "at": "2026-01-31T12:00:00Z", "trace_id": "fixed"}


def test_a_minimal_span_gets_its_defaults_and_comes_back_whole(stage: Stage, tenant: str) -> None:
    before = datetime.now(UTC)
    event = {"action": "append", "span": NOTE, "user_id": "ana", "tenant_id": tenant, "trace_id": "t-1"}
    answer = stage.send(event)
    assert answer.status == 200
    assert set(answer.body) == {"ok", "spans", "trace_id"}
    (shown,) = answer.body["spans"]
    assert shown.pop("inserted") is True
    assert set(shown) <= set(COLUMNS)
    assert None not in shown.values()
    span = parse_span(shown)
    assert verify(span, [public_key_of(LOADER_KEY)])
    assert (span.who, span.owner_id, span.tenant_id, span.trace_id) == ("ana", "ana", tenant, "t-1")
    assert (span.seq, span.visibility, span.is_deleted) == (0, "private", False)
    assert before <= span.at <= datetime.now(UTC)
    assert span.id.version == 7
    stored = stage.one(tenant_id=tenant)
    assert (stored.id, stored.curr_hash, stored.position) == (span.id, span.curr_hash, span.position)


FULL: dict[str, Any] = {
    **NOTE,
    "id": str(new_id()),
    "seq": 7,
    "who": "somebody",
    "at": "2026-01-31T12:00:00.123456+05:30",
    "parent_id": str(new_id()),
    "related_to": [str(new_id()), str(new_id())],
    "visibility": "tenant",
    "status": "active",
    "is_deleted": False,
    "name": "name",
    "description": "",
    "code": "def main(input):\n    return 1\n",
    "language": "python",
    "runtime": "monty",
    "input": [1, {"a": None}],
    "output": "text",
    "error": 0,
    "metadata": {"é": 1.5, "用户": "🌙"},
    "duration_ms": 12,
    "trace_id": "trace",
}


def test_every_column_a_caller_may_give_is_kept(stage: Stage, tenant: str) -> None:
    answer = stage.append(FULL, tenant=tenant)
    (shown,) = answer.body["spans"]
    expected = {**FULL, "at": "2026-01-31T06:30:00.123456Z", "owner_id": "alice", "tenant_id": tenant}
    assert {name: shown[name] for name in expected} == expected
    assert verify(stage.one(id=UUID(FULL["id"])), None)


def test_many_spans_are_appended_together_and_answered_in_the_order_of_the_request(stage: Stage, tenant: str) -> None:
    ids = [str(new_id()) for _ in range(5)][::-1]
    answer = stage.append(*({**NOTE, "id": span_id, "name": span_id} for span_id in ids), tenant=tenant)
    assert len({span["xid"] for span in answer.body["spans"]}) == 1
    assert [span["id"] for span in answer.body["spans"]] == ids


def test_later_versions_need_no_prev_hash(stage: Stage, tenant: str) -> None:
    span_id = str(new_id())
    stage.append({**NOTE, "id": span_id}, tenant=tenant)
    versions = [{**NOTE, "id": span_id, "seq": seq} for seq in (5, 1, 9)]
    assert stage.append(*versions, tenant=tenant).status == 200
    chain = stage.spans(id=UUID(span_id))
    assert [span.seq for span in chain] == [0, 1, 5, 9]
    assert [span.prev_hash for span in chain] == [None, *(span.curr_hash for span in chain[:-1])]


@pytest.mark.parametrize("seq", [0, 1])
def test_the_same_span_again_is_a_success_that_inserts_nothing(stage: Stage, tenant: str, seq: int) -> None:
    span_id = str(new_id())
    spans = [{**FIXED, "id": span_id, "seq": n} for n in range(seq + 1)]
    first = stage.append(*spans, tenant=tenant)
    again = stage.append(spans[seq], tenant=tenant)
    assert (first.status, again.status) == (200, 200)
    assert again.body["spans"][0]["inserted"] is False
    assert again.body["spans"][0]["curr_hash"] == first.body["spans"][seq]["curr_hash"]
    assert len(stage.spans(id=UUID(span_id))) == seq + 1


def test_another_span_under_the_same_id_and_seq_is_409_with_both_hashes(stage: Stage, tenant: str) -> None:
    span_id = str(new_id())
    first = stage.append({**FIXED, "id": span_id}, tenant=tenant).body["spans"][0]
    answer = stage.append({**FIXED, "id": span_id, "name": "other"}, NOTE, tenant=tenant)
    assert answer.status == 409
    assert answer.error["message"] == f"span {span_id} seq 0 is in the ledger with another hash"
    assert answer.error["stored_hash"] == first["curr_hash"] != answer.error["given_hash"]
    assert (answer.error["code"], answer.error["id"], answer.error["seq"]) == ("version_conflict", span_id, 0)
    assert len(stage.spans(tenant_id=tenant)) == 1


def test_a_version_below_the_latest_is_409_and_names_it(stage: Stage, tenant: str) -> None:
    span_id = str(new_id())
    stage.append({**NOTE, "id": span_id, "seq": 5}, tenant=tenant)
    answer = stage.append({**NOTE, "id": span_id, "seq": 4}, tenant=tenant)
    assert answer.status == 409
    assert (answer.error["seq"], answer.error["latest_seq"]) == (4, 5)


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"entity_type": None}, "entity_type", "expected text"),
    ({"entity_type": ""}, "entity_type", "expected"),
    ({"colour": "red"}, "colour", "unknown field; the known ones are id, seq, entity_type"),
    ({"seq": -1}, "seq", "expected greater than or equal to 0"),
    ({"seq": 2**31}, "seq", "expected less than or equal to 2147483647"),
    ({"seq": "1"}, "seq", "expected a valid integer"),
    ({"seq": 1.0}, "seq", "expected a valid integer"),
    ({"id": "x"}, "id", "expected a UUID"),
    ({"related_to": ["x"]}, "related_to.0", "expected a UUID"),
    ({"at": "yesterday"}, "at", "expected an RFC 3339 time with offset"),
    ({"at": "2026-01-31T12:00:00"}, "at", "expected an RFC 3339 time with offset"),
    ({"at": 0}, "at", "expected an RFC 3339 time with offset"),
    ({"at": "0001-01-01T00:00:00+14:00"}, "at", "expected an RFC 3339 time with offset"),
    ({"at": "9999-12-31T23:59:59-14:00"}, "at", "expected an RFC 3339 time with offset"),
    ({"visibility": "secret"}, "visibility", "expected 'private', 'tenant' or 'public'"),
    ({"is_deleted": "no"}, "is_deleted", "expected a valid boolean"),
    ({"duration_ms": -1}, "duration_ms", "expected greater than or equal to 0"),
    ({"metadata": []}, "metadata", "expected a JSON object"),
    ({"metadata": {"n": 2**53}}, "metadata.n", "an integer within"),
    ({"input": {"a": ["\0"]}}, "input.a[0]", "text without NUL"),
    ({"name": "\ud800"}, "name", "expected valid Unicode text"),
    ({"prev_hash": "x"}, "prev_hash", "expected"),
    ({"code": 7}, "code", "expected text"),
]


@pytest.mark.parametrize(("change", "field", "message"), WRONG, ids=[f"{n}-{w[1]}" for n, w in enumerate(WRONG)])
def test_a_wrong_value_is_400_and_names_span_and_field(
    stage: Stage, tenant: str, change: dict[str, Any], field: str, message: str
) -> None:
    event = {"action": "append", "user_id": "alice", "tenant_id": tenant}
    alone = stage.send({**event, "span": {**NOTE, **change}})
    batch = stage.send({**event, "spans": [NOTE, {**NOTE, **change}]})
    for answer, place in ((alone, f"span.{field}"), (batch, f"spans[1].{field}")):
        assert answer.status == 400, answer.raw
        assert answer.error["field"] == place
        assert answer.error["message"].startswith(f"{place}: {message}")
    assert stage.spans(tenant_id=tenant) == []


@pytest.mark.parametrize("missing", ["entity_type", "did", "this"])
def test_a_missing_value_is_400_and_named(stage: Stage, missing: str) -> None:
    answer = stage.append({name: value for name, value in NOTE.items() if name != missing})
    assert answer.error["message"] == f"spans[0].{missing}: is required"


def test_a_thousand_spans_are_one_batch_and_one_more_are_too_many(stage: Stage, tenant: str) -> None:
    assert stage.append(*[NOTE] * 1001, tenant=tenant).error["message"] == (
        "spans: at most 1000 in one append, got 1001"
    )
    assert stage.spans(tenant_id=tenant) == []
    assert len(stage.append(*[NOTE] * 1000, tenant=tenant).body["spans"]) == 1000
    assert len(stage.spans(tenant_id=tenant)) == 1000


def test_a_span_may_have_a_megabyte_and_no_more(stage: Stage, tenant: str) -> None:
    assert stage.append({**NOTE, "code": "x" * 1_048_000}, tenant=tenant).status == 200
    answer = stage.append(NOTE, {**NOTE, "code": "x" * 1_048_576}, NOTE, tenant=tenant)
    assert answer.status == 400
    assert "at most 1048576 bytes in canonical form, got 1048" in answer.error["message"]
    assert answer.error["field"] == "spans[1]"
    assert len(stage.spans(tenant_id=tenant)) == 1


def with_quota(own: Stage, limit: int) -> None:
    """A manifest that lets a tenant append so much a day."""
    own.seed(manifest(seq=1001, throttle={"per_tenant_daily_append_limit": limit}))


def test_over_the_daily_quota_is_429_with_limit_used_and_when_it_resets(own: Stage) -> None:
    with_quota(own, 5)
    assert own.append(NOTE, NOTE, NOTE).status == 200
    answer = own.append(NOTE, NOTE, NOTE)
    assert answer.status == 429
    midnight = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT00:00:00Z")
    assert answer.error == {
        "code": "quota_exceeded",
        "message": "the daily quota of append.per_tenant.daily is used up",
        "quota": "append.per_tenant.daily",
        "limit": 5,
        "used": 3,
        "resets_at": midnight,
    }
    assert answer.errors == []
    assert own.append(NOTE, NOTE).status == 200
    assert own.append(NOTE, user="bob").status == 429  # the quota is the tenant's
    assert own.append(NOTE, tenant="another").status == 200
    assert len(own.spans(tenant_id="acme")) == 5


def test_what_is_refused_costs_no_quota_and_yesterdays_use_is_forgotten(own: Stage) -> None:
    with_quota(own, 2)
    span_id = str(new_id())
    assert own.append({**FIXED, "id": span_id}).status == 200
    for _ in range(3):
        assert own.append({**FIXED, "id": span_id, "name": "conflict"}).status == 409
        assert own.append({**NOTE, "visibility": "public"}).status == 403
    assert own.append(NOTE).status == 200
    assert own.append(NOTE).status == 429
    own.superuser.execute("UPDATE ledger_idx.usage SET day = day - 1")
    assert own.append(NOTE).status == 200


def test_a_limit_of_nothing_stops_appends_and_leaves_boots_alone(own: Stage) -> None:
    with_quota(own, 0)
    assert own.append(NOTE).error["used"] == 0
    assert own.memory({"action": "list"}).status == 200
