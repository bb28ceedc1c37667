"""Seeding appends what the ledger does not have, all or nothing, and a second time nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from db_migration.handler import answer
from ledger.proof import public_key_of, seal, verify
from ledger.read import span_of
from ledger.span import Span, parse_span
from tests.conftest import LOADER_KEY, ROW_KEY, TestLedger
from tests.db_migration.kit import Rows, row, seqs
from tests.ledger.kit import ask

UNSIGNED = {"ROW_SIGNING_KEY_HEX": "", "TRUSTED_ROW_KEYS": ""}
OTHER_KEY = bytes(LOADER_KEY).hex()
NEXT_NUMBER = iter(range(600, 999))  # the manual has none of these


@pytest.fixture
def number() -> int:
    """Of a row that no other test of the module has."""
    return next(NEXT_NUMBER)


def stored(ledger: TestLedger, number: int) -> list[Span]:
    span_id = row(number)["id"]
    return [
        span_of(found)
        for found in ask(
            ledger, "readonly", "SELECT * FROM ledger.universal_registry WHERE id = %s ORDER BY seq", [span_id]
        )
    ]


def test_the_real_rows_are_inserted_once_signed_and_chained(empty: TestLedger) -> None:
    assert answer({"action": "migrate"}, empty.environment)["ok"]
    first, second = (answer({"action": "seed"}, empty.environment) for _ in range(2))
    assert first["inserted"]
    assert first["unchanged"] == first["skipped"] == second["inserted"] == second["skipped"] == []
    assert sorted(map(str, second["unchanged"])) == sorted(map(str, first["inserted"]))
    for found in empty.execute("readonly", "SELECT * FROM ledger.universal_registry"):
        span = span_of(found)
        assert verify(span, {public_key_of(ROW_KEY)})
        assert (span.owner_id, span.tenant_id, span.visibility) == ("system", "system", "public")


def test_a_higher_seq_becomes_a_new_version(shared: TestLedger, rows: Rows, number: int) -> None:
    rows.write(row(number, 2))
    assert seqs(rows.seed(shared)["inserted"]) == [(str(number), 2)]
    rows.write(row(number, 2), row(number, 5, name="newer"))
    result = rows.seed(shared)
    assert (seqs(result["unchanged"]), seqs(result["inserted"])) == ([(str(number), 2)], [(str(number), 5)])
    before, after = stored(shared, number)
    assert after.prev_hash == before.curr_hash
    assert (after.seq, after.name) == (5, "newer")


@pytest.mark.parametrize("known", [0, 1, 2, 3])
def test_all_that_are_missing_are_appended_in_order(shared: TestLedger, rows: Rows, number: int, known: int) -> None:
    released = [row(number, seq, name=f"version {seq}") for seq in (1, 2, 4, 7)]
    if known:
        rows.write(*released[:known])
        assert len(rows.seed(shared)["inserted"]) == known
    rows.write(*reversed(released))
    result = rows.seed(shared)
    assert result["ok"], result
    assert [seq for _, seq in seqs(result["inserted"])] == [1, 2, 4, 7][known:]
    chain = stored(shared, number)
    assert [span.seq for span in chain] == [1, 2, 4, 7]
    assert [span.prev_hash for span in chain] == [None, *(span.curr_hash for span in chain[:-1])]


@pytest.mark.parametrize(
    "change", [{"name": "other"}, {"metadata": {"a": 1}}, {"at": "2026-01-01T00:00:00.000001Z"}, {"code": ""}]
)
def test_the_same_seq_with_other_content_is_an_error_that_says_what_to_do(
    shared: TestLedger, rows: Rows, number: int, change: dict[str, Any]
) -> None:
    other = next(NEXT_NUMBER)
    rows.write(row(number))
    rows.seed(shared)
    (before,) = stored(shared, number)
    rows.write(row(other), row(number, **change))
    error = rows.seed(shared)["error"]
    assert error["code"] == "seed_conflict"
    assert row(number)["id"] in error["message"]
    assert "seq 1" in error["message"]
    assert "raise its seq" in error["message"]
    assert error["stored_hash"] == before.curr_hash != error["given_hash"]
    assert stored(shared, other) == [], "all or nothing"
    assert stored(shared, number) == [before]


def test_a_lower_seq_than_the_ledgers_is_reported_and_skipped(shared: TestLedger, rows: Rows, number: int) -> None:
    rows.write(row(number, 5))
    rows.seed(shared)
    rows.write(row(number, 3))
    result = rows.seed(shared)
    assert (seqs(result["skipped"]), result["inserted"], result["unchanged"]) == ([(str(number), 3)], [], [])
    rows.write(row(number, 3), row(number, 5), row(number, 6))
    result = rows.seed(shared)
    assert [seqs(result[key]) for key in ("skipped", "unchanged", "inserted")] == [
        [(str(number), 3)], [(str(number), 5)], [(str(number), 6)],
    ]  # fmt: skip
    assert [span.seq for span in stored(shared, number)] == [5, 6]


def test_a_row_that_the_database_refuses_takes_all_others_with_it(shared: TestLedger, rows: Rows, number: int) -> None:
    other = next(NEXT_NUMBER)
    rows.write(row(number))
    rows.seed(shared)
    rows.write(row(other), row(number, 2, entity_type="function"))
    error = rows.seed(shared)["error"]
    assert error["code"] == "version_conflict"
    assert stored(shared, other) == []


def test_two_seeds_at_once_both_succeed_and_append_once(shared: TestLedger, rows: Rows) -> None:
    numbers = [next(NEXT_NUMBER) for _ in range(20)]
    rows.write(*(row(number, seq) for number in numbers for seq in (1, 2)))
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda _: rows.seed(shared), range(3)))
    assert [result["ok"] for result in results] == [True] * 3, results
    for number in numbers:
        assert [span.seq for span in stored(shared, number)] == [1, 2]


def signed_offline(values: dict[str, Any], before: Span | None = None) -> tuple[dict[str, Any], Span]:
    """The row as it would be signed on a desk, away from any ledger."""
    owner = {"owner_id": "system", "tenant_id": "system", "visibility": "public"}
    span = seal(parse_span({**owner, **values, "prev_hash": before.curr_hash if before else None}), ROW_KEY)
    return {**values, "signature": span.signature, "public_key": span.public_key}, span


def test_rows_that_were_signed_offline_keep_their_signature(shared: TestLedger, rows: Rows, number: int) -> None:
    first, first_span = signed_offline(row(number, 1))
    second, second_span = signed_offline(row(number, 2, name="next"), first_span)
    settings = {"ROW_SIGNING_KEY_HEX": "", "REQUIRE_SIGNED_ROWS": "1"}
    rows.write(first, second)
    assert rows.seed(shared, **settings)["ok"]
    assert [span.signature for span in stored(shared, number)] == [first_span.signature, second_span.signature]
    for span in stored(shared, number):
        assert verify(span, {public_key_of(ROW_KEY)})
    assert seqs(rows.seed(shared, **settings)["unchanged"]) == [(str(number), 1), (str(number), 2)]


@pytest.mark.parametrize(
    "changes", [{"name": "other"}, {"signature": "ab" * 64}, {"public_key": public_key_of(LOADER_KEY)}]
)
def test_a_signature_of_something_else_is_refused(
    shared: TestLedger, rows: Rows, number: int, changes: dict[str, str]
) -> None:
    values, _ = signed_offline(row(number))
    rows.write({**values, **changes})
    error = rows.seed(shared)["error"]
    assert error["code"] == "verification_failed"
    assert row(number)["id"] in error["span_id"]
    assert stored(shared, number) == []


@pytest.mark.parametrize(
    ("settings", "code", "word"),
    [
        ({"ROW_SIGNING_KEY_HEX": "", "REQUIRE_SIGNED_ROWS": "1"}, "verification_failed", "not signed"),
        ({"ROW_SIGNING_KEY_HEX": ""}, "verification_failed", "not signed"),
        ({"ROW_SIGNING_KEY_HEX": OTHER_KEY, "REQUIRE_SIGNED_ROWS": "1"}, "verification_failed", "trusted"),
        ({**UNSIGNED, "REQUIRE_SIGNED_ROWS": "1"}, "misconfigured", "TRUSTED_ROW_KEYS"),
        ({"ROW_SIGNING_KEY_HEX": "not a key"}, "misconfigured", "ROW_SIGNING_KEY_HEX"),
        ({"TRUSTED_ROW_KEYS": "not a key"}, "misconfigured", "TRUSTED_ROW_KEYS"),
    ],
)  # fmt: skip
def test_what_no_trusted_key_signs_is_not_seeded(
    shared: TestLedger, rows: Rows, number: int, settings: dict[str, str], code: str, word: str
) -> None:
    rows.write(row(number))
    error = rows.seed(shared, **settings)["error"]
    assert error["code"] == code
    assert word in str(error)
    assert "not a key" not in str(error)
    assert stored(shared, number) == []


def test_without_any_keys_rows_are_seeded_unsigned_and_distrusted_later(
    shared: TestLedger, rows: Rows, number: int
) -> None:
    rows.write(row(number))
    assert seqs(rows.seed(shared, **UNSIGNED)["inserted"]) == [(str(number), 1)]
    error = rows.seed(shared)["error"]
    assert error["code"] == "seed_conflict"
    assert "raise the row's seq" in error["message"]
    rows.write(row(number), row(number, 2))
    assert rows.seed(shared, **UNSIGNED)["ok"]
