"""What the notary seals, when it does, and what it answers."""

from __future__ import annotations

import pytest

from db_migration.notary import seal as seal_module
from ledger.ids import derived_id, is_callers_id
from ledger.proof import public_key_of, verify
from ledger.read import Cursor, cursor_of
from tests.conftest import ALICE
from tests.ledger.kit import insert, sealed, set_context
from tests.notary.kit import CHECKPOINT_KEY, KEY, ORIGIN, Notary


def test_the_ledger_is_sealed_in_commit_order(notary: Notary) -> None:
    notary.write(300)
    rows = notary.rows()
    said = notary.seal()
    assert [(one["size"], one["spans"]) for one in said["sealed"]] == [(len(rows), len(rows))]
    assert (said["newest"]["size"], said["newest"]["seq"]) == (len(rows), 0)
    assert (said["origin"], said["public_key"]) == (ORIGIN, str(KEY))
    assert not said["busy"]
    assert not said["more"]
    notary.require_whole()


def test_a_checkpoint_is_a_span_that_its_key_signed(notary: Notary) -> None:
    last = notary.rows()[-1]
    said = notary.seal()
    (span,) = notary.chain()
    assert span.id == derived_id("checkpoint", ORIGIN)
    assert (span.who, span.did, span.this, span.status) == ("notary", "sealed", "ledger", "active")
    assert (span.owner_id, span.tenant_id, span.visibility) == ("notary", "system", "tenant")
    assert verify(span, {public_key_of(CHECKPOINT_KEY)})
    metadata = span.metadata or {}
    assert (metadata["origin"], metadata["size"], metadata["root"]) == (ORIGIN, said["newest"]["size"],
                                                                        said["newest"]["root"])  # fmt: skip
    assert Cursor.parse(metadata["end"]) == cursor_of(last)


def test_nothing_new_and_checkpoints_alone_make_no_checkpoint(notary: Notary) -> None:
    notary.seal()
    assert notary.seal()["sealed"] == []
    assert len(notary.chain()) == 1
    notary.write(1)
    said = notary.seal()
    assert [one["spans"] for one in said["sealed"]] == [2], "the note, and the checkpoint before it"
    notary.require_whole()


def test_many_spans_take_several_checkpoints(notary: Notary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal_module, "MAX_SPANS", 300)
    notary.write(1000)
    size = len(notary.rows())
    said = notary.seal()
    assert [one["spans"] for one in said["sealed"]][:3] == [300, 300, 300]
    assert sum(one["spans"] for one in said["sealed"]) >= size
    notary.require_whole()


def test_it_stops_in_time_and_goes_on_later(notary: Notary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal_module, "MAX_SPANS", 300)
    notary.write(700)
    said = notary.seal(seconds=0)
    assert said["more"]
    assert [one["size"] for one in said["sealed"]] == [300]
    while said["more"]:
        said = notary.seal(seconds=0)
    assert notary.newest().size >= 700
    notary.require_whole()


def test_what_an_open_transaction_may_precede_waits(notary: Notary) -> None:
    notary.seal()
    size = notary.newest().size
    with notary.ledger.connect("lambda_exec") as connection, connection.transaction():
        set_context(connection, ALICE)
        insert(connection, sealed(ALICE))
        notary.write(3)
        assert notary.seal()["sealed"] == [], "the three came later, and would stand behind it"
    notary.seal()
    assert notary.newest().size == size + 1 + 1 + 3
    notary.require_whole()


def test_spans_of_an_earlier_era_are_sealed_whole(notary: Notary) -> None:
    notary.write(5)
    notary.ledger.execute("rdsadmin", "INSERT INTO ledger_idx.era (era, reason) VALUES (2, 'restored')")
    notary.write(5)
    # Their transactions are of another cluster, far ahead of this one's.
    notary.tamper("UPDATE ledger.universal_registry SET xid = '99999999999' WHERE era = 1 AND entity_type = 'note'")
    notary.seal()
    assert notary.newest().size == len(notary.rows()) - 1
    notary.require_whole()


@pytest.mark.parametrize("change", [
    "name = 'another'",
    "metadata = '{\"n\": 7}'",
    "metadata = jsonb_build_object('n', repeat('9', 5000)::numeric)",
    "metadata = (repeat('[', 3000) || repeat(']', 3000))::jsonb",
    "at = '20000-01-01Z'",
], ids=["text", "JSON", "digits", "levels", "year"])  # fmt: skip
def test_a_span_that_was_changed_stops_it(notary: Notary, change: str) -> None:
    victim = notary.write(3)[1]
    notary.tamper(f"UPDATE ledger.universal_registry SET {change} WHERE id = %s", victim.id)
    said = notary.refusal()
    assert str(victim.id) in said
    assert "loglineos fsck" in said
    assert notary.chain() == []
    assert notary.log.read("checkpoint") is None


def test_its_spans_spend_no_quota(notary: Notary) -> None:
    notary.seal()
    assert notary.ledger.execute("admin", "SELECT * FROM ledger_idx.usage") == []


@pytest.mark.parametrize(
    ("setting", "value", "named"),
    [
        ("LOG_ORIGIN", "", "LOG_ORIGIN"),
        ("LOG_ORIGIN", "two words", "LOG_ORIGIN"),
        ("ARCHIVE_LOCATION", "", "ARCHIVE_LOCATION"),
        ("ARCHIVE_LOCATION", "ftp://host/log", "s3://bucket"),
        ("CHECKPOINT_KEY_HEX", "", "loglineos-db-deploy"),
        ("CHECKPOINT_KEY_HEX", "abc", "CHECKPOINT_KEY"),
        ("CHECKPOINT_KEYS_BEFORE", "abc", "CHECKPOINT_KEYS_BEFORE"),
        ("CHECKPOINT_KEYS_BEFORE", str(KEY).replace("tests", "other"), "CHECKPOINT_KEYS_BEFORE"),
    ],
)
def test_settings_that_are_wrong_are_named(notary: Notary, setting: str, value: str, named: str) -> None:
    notary.settings[setting] = value
    said = notary.answer()
    assert said["error"]["code"] == "misconfigured"
    assert named in said["error"]["message"]


def test_an_event_that_is_wrong_is_named(notary: Notary) -> None:
    assert notary.answer(seconds=721)["error"]["field"] == "seconds"
    assert notary.answer(size=1)["error"]["field"] == "size"


def test_the_checkpoints_id_is_no_callers_to_choose() -> None:
    """So nobody can take it before the first checkpoint: the loader refuses what this refuses."""
    assert not is_callers_id(derived_id("checkpoint", ORIGIN))
