"""After a point in time the replica goes on following the database that was lost: nothing of it is sealed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from db_migration.handler import answer
from tests.ledger.kit import copied_database
from tests.notary.kit import Notary

HOSTS = {"DATABASE_URL": "", "DATABASE_HOST": "primary.example", "READONLY_DATABASE_HOST": "replica.example"}


@pytest.fixture
def restored(notary: Notary) -> Iterator[Notary]:
    """The restored database of `notary`, which was lost, and of which the replica has all."""
    notary.write(300)
    notary.seal()
    with copied_database(notary.ledger.server, notary.ledger.name) as ledger:
        replica = {"READONLY_DATABASE_URL": notary.ledger.url("readonly")}
        yield replace(notary, ledger=ledger, settings=replica)


def begin_era(restored: Notary) -> None:
    assert answer({"action": "era", "reason": "PITR"}, restored.environment)["ok"]


def test_what_only_the_lost_database_has_is_not_sealed(notary: Notary, restored: Notary) -> None:
    lost = {span.id for span in notary.write(300)}
    begin_era(restored)
    kept = restored.write(4)
    assert restored.seal()["sealed"][0]["spans"] == len(kept) + 1, "the first checkpoint and what came since"
    restored.require_whole()
    assert lost.isdisjoint(span.id for span in restored.rows())


def test_a_log_that_is_ahead_is_not_continued_from_the_lost_database(notary: Notary, restored: Notary) -> None:
    notary.write(3)
    notary.seal()
    begin_era(restored)
    restored.write(3)
    assert "the log is ahead of the ledger" in restored.refusal()
    assert len(restored.chain()) == 1


def test_a_database_that_is_replaced_between_two_connections_spoils_no_file(notary: Notary, restored: Notary) -> None:
    notary.write(300)
    before = {path for path in notary.folder.rglob("*") if path.is_file()}
    switched = {"READONLY_DATABASE_URL": "", "DATABASE_URL": notary.ledger.url("postgres"),
                "LAMBDA_EXEC_DATABASE_URL": restored.ledger.url("lambda_exec")}  # fmt: skip
    said = replace(restored, settings=switched).refusal()
    assert said.startswith("two databases: ")
    assert "run `loglineos checkpoint` again" in said
    assert {path for path in notary.folder.rglob("*") if path.is_file()} == before
    restored.write(300)
    restored.seal()
    restored.require_whole()


def test_a_checkpoint_is_not_taken_over_into_another_database(notary: Notary, restored: Notary) -> None:
    notary.write(3)
    notary.seal()
    notary.tamper(
        "DELETE FROM ledger.universal_registry WHERE entity_type = 'checkpoint' AND seq ="
        " (SELECT max(seq) FROM ledger.universal_registry WHERE entity_type = 'checkpoint')"
    )
    switched = {"DATABASE_URL": notary.ledger.url("postgres"),
                "LAMBDA_EXEC_DATABASE_URL": restored.ledger.url("lambda_exec")}  # fmt: skip
    assert replace(restored, settings=switched).refusal().startswith("two databases: ")
    assert len(restored.chain()) == 1


def test_one_that_is_lost_with_its_primary_keeps_nobody_from_sealing(notary: Notary) -> None:
    notary.settings["READONLY_DATABASE_URL"] = "postgresql://readonly@127.0.0.1:1/gone"
    notary.write(3)
    notary.seal()
    notary.require_whole()


def test_the_notary_reads_the_host_that_it_appends_to(notary: Notary) -> None:
    notary.settings |= HOSTS
    parsed = notary.parsed()
    assert (parsed.spans.host, parsed.spans.role) == ("primary.example", "readonly")
    assert parsed.appends.host == "primary.example"
    assert parsed.reports.host == "replica.example"
