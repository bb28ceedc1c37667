"""What is backed up comes back: every column of every span, under the same guards."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from db_migration.migrations import migrate, read_migrations
from db_migration.queue import rebuild_queue
from ledger.connection import Target
from ledger.read import Cursor
from ledger.settings import asset_directory
from loglineos.backup.errors import BackupFailed, NotEmpty
from loglineos.backup.manifest import read_chain
from loglineos.backup.take import take_backup
from loglineos.local.postgres import Server
from tests.backup.kit import ALL, fill, findings, proved, quiet, restore, rows_of, seeded, take
from tests.conftest import TestLedger
from tests.db_migration.test_fresh_and_upgraded import schema
from tests.ledger.kit import assigned, copied_database, insert, put, sealed, session, someone


def test_everything_comes_back_and_nothing_else_changes(
    filled: TestLedger, backed_up: Path, empty: TestLedger, cluster: Server
) -> None:
    assert findings(backed_up) == []
    restored = restore(backed_up, empty)
    before = rows_of(filled)
    assert rows_of(empty) == before
    assert restored.spans == len(before) == read_chain(backed_up)[-1].manifest.total
    assert restored.signed == sum(row["signature"] is not None for row in before)
    with empty.connect("readonly") as connection:
        assert proved(connection) == len(before)
    with copied_database(cluster, "template1") as fresh:
        with fresh.connect("postgres") as connection:
            migrate(connection, read_migrations(asset_directory("migrations")))
        expected, found = schema(fresh), schema(empty)
    eras = found.pop("eras")
    assert expected.pop("eras") == eras[:1]
    assert found == expected
    assert "restored from the backup of" in eras[1]


def test_after_it_the_ledger_goes_on(backed_up: Path, empty: TestLedger) -> None:
    restored = restore(backed_up, empty)
    assert seeded(empty) == []
    span = sealed(someone())
    put(empty, span)
    place = assigned(empty, span)
    newest = restored.manifest.newest
    assert newest is not None
    assert place["era"] == restored.era == 2
    assert place["position"] > newest.place.position
    assert Cursor(**place) > newest.place.cursor
    # What is at the end of the cursor that a follower had before is what was appended since, and nothing else.
    follow = "SELECT id FROM ledger.committed_after(%s, %s::text::xid8, %s, '{note}', 1000, 1000)"
    cursor = newest.place.cursor
    found = empty.execute("lambda_exec", follow, [cursor.era, str(cursor.xid), cursor.position])
    assert [row["id"] for row in found] == [span.id]


def test_the_indexes_are_those_of_the_spans(filled: TestLedger, backed_up: Path, empty: TestLedger) -> None:
    restored = restore(backed_up, empty)
    counts = {row["index"]: row["entries"] for row in restored.rebuilt}
    with filled.connect("postgres") as source, empty.connect("postgres") as connection:
        assert {row["index"]: row["entries"] for row in rebuild_queue(source)["rebuilt"]} == counts
        assert all(
            row["missing"] == row["wrong"] == row["surplus"] == 0 for row in rebuild_queue(connection)["rebuilt"]
        )
    assert len(counts) == 3
    assert all(counts.values())


def test_the_guards_are_back(backed_up: Path, empty: TestLedger) -> None:
    restore(backed_up, empty)
    span = sealed(someone())
    with session(empty, "admin") as connection, connection.transaction():
        insert(connection, span, clause="OVERRIDING SYSTEM VALUE", era=7, xid="7", position=7)
    assert assigned(empty, span)["era"] == 2
    for statement in ("UPDATE ledger.universal_registry SET name = 'x'", "TRUNCATE ledger.universal_registry"):
        with pytest.raises(Exception, match="append-only"):
            empty.execute("admin", statement)
    assert empty.execute("lambda_exec", "SELECT FROM ledger.universal_registry WHERE visibility = 'private'") == []


def test_a_second_time_it_is_refused(backed_up: Path, empty: TestLedger) -> None:
    restore(backed_up, empty)
    before = rows_of(empty)
    with pytest.raises(NotEmpty, match=rf"a ledger of {len(before)} spans already.*DROP DATABASE"):
        restore(backed_up, empty)
    assert rows_of(empty) == before


def test_a_database_of_somebody_else_is_left_alone(backed_up: Path, empty: TestLedger) -> None:
    empty.execute("postgres", "CREATE SCHEMA shop")
    empty.execute("postgres", "CREATE TABLE shop.orders ()")
    with pytest.raises(NotEmpty, match=r"shop\.orders"):
        restore(backed_up, empty)
    assert empty.execute("postgres", "SELECT to_regnamespace('ledger') AS it") == [{"it": None}]


def test_a_migrated_database_is_empty(backed_up: Path, empty: TestLedger) -> None:
    with empty.connect("postgres") as connection:
        migrate(connection, read_migrations(asset_directory("migrations")))
    assert restore(backed_up, empty).spans == len(rows_of(empty))


def test_an_empty_ledger_comes_back_too(empty: TestLedger, cluster: Server, tmp_path: Path) -> None:
    with empty.connect("postgres") as connection:
        migrate(connection, read_migrations(asset_directory("migrations")))
    take(empty, tmp_path / "none")
    take(empty, tmp_path / "none", incremental=True)
    assert findings(tmp_path / "none") == []
    with copied_database(cluster, "template1") as fresh:
        assert restore(tmp_path / "none", fresh).spans == 0
        assert fill(fresh)


def test_only_its_owner_reads_it(backed_up: Path) -> None:
    assert stat.S_IMODE(backed_up.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in backed_up.iterdir()} == {0o600}


def test_the_manifest_says_what_it_is(filled: TestLedger, backed_up: Path) -> None:
    full, incremental = (backup.manifest for backup in read_chain(backed_up))
    assert [row.name for row in full.migrations] == [
        migration.name for migration in read_migrations(asset_directory("migrations"))
    ]
    assert (full.kind, incremental.kind) == ("full", "incremental")
    assert full.count + incremental.count == incremental.total == len(rows_of(filled))
    assert incremental.after == full.horizon
    assert full.postgresql == filled.server.version
    for manifest in (full, incremental):
        assert manifest.file.bytes == (backed_up / manifest.file.name).stat().st_size
    assert json.loads((backed_up / full.name).read_text())["format"] == "loglineos-backup/1"


@pytest.mark.parametrize("role", ["lambda_exec", "readonly"])
def test_other_logins_are_told_which_one_it_takes(filled: TestLedger, tmp_path: Path, role: str) -> None:
    with pytest.raises(BackupFailed, match="the login that owns the database"):
        take_backup(tmp_path / "x", Target(role=None, url=filled.url(role)), incremental=False, tell=quiet)
    assert list((tmp_path / "x").glob("0000*")) == []


def test_a_database_without_a_ledger_has_nothing_to_back_up(empty: TestLedger, tmp_path: Path) -> None:
    with pytest.raises(BackupFailed, match="no ledger in this database"):
        take(empty, tmp_path / "x")


def test_statements_see_all_rows(filled: TestLedger, backed_up: Path) -> None:
    """Forced row-level security filters silently: the count is of what a superuser sees."""
    assert len(filled.execute("postgres", ALL)) == len(rows_of(filled)) == read_chain(backed_up)[-1].manifest.total
