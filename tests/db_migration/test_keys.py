"""`keys` tells what counts and what signed how much; the seeder takes no manifest that would say nothing of keys."""

from __future__ import annotations

from typing import Any

import pytest
from nacl.signing import SigningKey

from db_migration.handler import answer
from db_migration.rows import read_rows
from ledger.append import insert_sealed
from ledger.database import Identity
from ledger.ids import MANIFEST_ID, derived_id
from ledger.keys import NOTHING_COUNTS
from ledger.proof import public_key_of, seal
from ledger.read import END, cursor_of, span_of
from ledger.settings import asset_directory
from ledger.span import Span, parse_span
from tests.conftest import LOADER_KEY, ROW_KEY, TestLedger
from tests.db_migration.kit import Rows, row, seqs
from tests.ledger.kit import draft, someone

NEXT, CHECKPOINT = SigningKey(b"n" * 32), SigningKey(b"c" * 32)
R, N, L, C = (public_key_of(key) for key in (ROW_KEY, NEXT, LOADER_KEY, CHECKPOINT))
LOG = {"LOG_ORIGIN": "loglineos-test", "CHECKPOINT_KEY_HEX": bytes(CHECKPOINT).hex()}


def manifest(seq: int, *keys: dict[str, Any]) -> dict[str, Any]:
    released = read_rows(asset_directory("row"))[MANIFEST_ID][-1]
    values = row(201, seq, entity_type="manifest", name="manifest", status="active")
    return {**values, "metadata": {**(released.metadata or {}), "keys": list(keys)}}


def last(ledger: TestLedger) -> Span:
    """The span that was appended last."""
    rows = ledger.execute("readonly", "SELECT * FROM ledger.universal_registry ORDER BY era, xid, position")
    return span_of(rows[-1])


def keys(ledger: TestLedger, **event: Any) -> dict[str, Any]:
    return answer({"action": "keys", **event}, ledger.environment | LOG)


def checkpoint(ledger: TestLedger, seq: int, size: int, end: str, key: SigningKey = CHECKPOINT) -> None:
    """A checkpoint span as the notary leaves it."""
    span_id = derived_id("checkpoint", LOG["LOG_ORIGIN"])
    with ledger.connect("admin") as connection:
        before = connection.execute(
            "SELECT curr_hash FROM ledger.universal_registry WHERE id = %s ORDER BY seq DESC LIMIT 1", [span_id]
        ).fetchall()
        span = parse_span(
            {
                "id": span_id, "seq": seq, "entity_type": "checkpoint", "who": "notary", "did": "sealed",
                "this": "ledger", "at": "2026-01-31T12:00:00Z", "owner_id": "notary", "tenant_id": "system",
                "visibility": "tenant", "status": "active", "metadata": {"size": size, "end": end},
                "prev_hash": before[0]["curr_hash"] if before else None,
            }
        )  # fmt: skip
        insert_sealed(connection, [seal(span, key)])


def test_what_is_known_and_who_signed_what(ledger: TestLedger, rows: Rows) -> None:
    rows.write(manifest(9, {"public_key": N, "use": "row"}, {"public_key": L, "use": "loader", "name": "test"}))
    assert rows.seed(ledger)["ok"]
    checkpoint(ledger, 0, 5, str(END))
    with ledger.connect("admin") as connection:
        owner = someone()
        insert_sealed(connection, [seal(draft(owner), LOADER_KEY), seal(draft(owner), None)])
    said = keys(ledger)
    assert (said["rows_must_be_signed"], said["unheard"]) == (True, [])
    known = {key["public_key"]: (key["use"], key["announced_seq"], key["name"]) for key in said["keys"]}
    assert known == {
        R: ("row", None, None), N: ("row", 9, None), L: ("loader", 9, "test"), C: ("checkpoint", None, None)
    }  # fmt: skip
    assert said["log_key"].startswith("loglineos-test+")
    signed = {(one["use"], one["public_key"]): one["spans"] for one in said["signed"]}
    assert signed[("loader", L)] == signed[("loader", None)] == signed[("checkpoint", C)] == 1
    assert signed[("row", R)] > 10


def test_an_announced_key_signs_the_rows_of_the_same_seed(ledger: TestLedger, rows: Rows) -> None:
    rows.write(manifest(9, {"public_key": N, "use": "row"}))
    assert rows.seed(ledger)["ok"]
    rows.write(manifest(9, {"public_key": N, "use": "row"}), row(700))
    assert seqs(rows.seed(ledger, ROW_SIGNING_KEY_HEX=bytes(NEXT).hex())["inserted"]) == [("700", 1)]


def test_after_its_retirement_a_key_seeds_nothing_and_what_it_seeded_before_stays(
    ledger: TestLedger, rows: Rows
) -> None:
    first = [row(700), manifest(9, {"public_key": N, "use": "row"})]
    rows.write(*first)
    assert rows.seed(ledger)["ok"]
    end = str(cursor_of(last(ledger)))
    retiring = manifest(10, {"public_key": R, "use": "row", "retired_at": {"size": 3, "end": end}})
    rows.write(*first, retiring)
    refused = rows.seed(ledger)["error"]
    assert "was retired" in refused["reason"], "a key cannot retire itself"
    assert seqs(rows.seed(ledger, ROW_SIGNING_KEY_HEX=bytes(NEXT).hex())["inserted"]) == [("201", 10)]
    rows.write(*first, retiring, row(701))
    error = rows.seed(ledger)["error"]
    assert "was retired from checkpoint size 3 on" in error["reason"]
    assert "loglineos keys sign" in error["reason"]


def test_with_all_signatures_taken_back_only_the_latest_versions_have_to_be_signed_anew(
    ledger: TestLedger, rows: Rows
) -> None:
    next_key = {"ROW_SIGNING_KEY_HEX": bytes(NEXT).hex()}
    first = [row(700), manifest(9, {"public_key": N, "use": "row"})]
    rows.write(*first)
    assert rows.seed(ledger)["ok"]
    first.append(manifest(10, {"public_key": R, "use": "row", "retired_at": NOTHING_COUNTS.as_json()}))
    rows.write(*first)
    error = rows.seed(ledger, **next_key)["error"]
    assert (error["code"], "raise the row's seq" in error["message"]) == ("seed_conflict", True)
    rows.write(*first, row(700, 2))
    assert rows.seed(ledger, **next_key)["ok"]
    assert rows.seed(ledger, **next_key)["inserted"] == []


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"public_key": "beef", "use": "row"}, "manifest seq 9: metadata.keys.0.public_key"),
        ({"public_key": N, "use": "rows"}, "expected 'row', 'loader' or 'checkpoint'"),
        ({"public_key": N, "use": "row", "retired": 1}, "metadata.keys.0.retired: unknown field"),
        ({"public_key": R, "use": "loader"}, "it cannot become a loader key"),
    ],
)
def test_a_manifest_that_would_announce_nothing_is_not_seeded(
    shared: TestLedger, rows: Rows, entry: dict[str, Any], said: str
) -> None:
    rows.write(manifest(9, entry))
    error = rows.seed(shared)["error"]
    assert said in error["message"] + str(error.get("reason")), error


def test_a_retirement_is_placed_by_a_checkpoint_and_says_what_it_would_undo(ledger: TestLedger) -> None:
    owner = Identity("alice", "acme")
    with ledger.connect("admin") as connection:
        early, late = (insert_sealed(connection, [seal(draft(owner), LOADER_KEY)])[0].span for _ in range(2))
    checkpoint(ledger, 0, 30, str(cursor_of(early)))
    checkpoint(ledger, 1, 31, str(cursor_of(late)))
    at = {30: str(cursor_of(early)), 31: str(cursor_of(late))}
    for size, later in ((30, 1), (31, 0)):
        said = keys(ledger, retire=L, from_size=size)
        assert (said["retired_at"], said["later"]) == ({"size": size, "end": at[size]}, later)
    assert keys(ledger, retire=L)["retired_at"]["size"] == 31, "the newest"
    replica = {"READONLY_DATABASE_URL": "postgresql://readonly@127.0.0.1:1/gone"}
    said = answer({"action": "keys", "retire": L}, ledger.environment | LOG | replica)
    assert said["ok"], "a replica has no part in what is signed"
    assert keys(ledger, retire=L, from_size=0) == {
        "ok": True, "action": "keys", "retired_at": NOTHING_COUNTS.as_json(), "later": 2, "of_log": 0
    }  # fmt: skip
    of_log = [keys(ledger, retire=C, from_size=size)["of_log"] for size in (0, 30, 31)]
    assert of_log == [2, 2, 2], "a checkpoint's own span stands behind what it seals"
    error = keys(ledger, retire=L, from_size=29)["error"]
    assert (error["field"], "loglineos checkpoint" in error["message"]) == ("from_size", True)
    checkpoint(ledger, 2, 32, str(END), key=NEXT)
    assert keys(ledger, retire=L)["error"]["code"] == "verification_failed", "another key has signed it"
    known = answer({"action": "keys", "retire": L}, ledger.environment | LOG | {"CHECKPOINT_KEYS_BEFORE": N})
    assert known["retired_at"]["size"] == 32
