"""A backup of an older release is restored by this one; one of a newer release is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from db_migration.migrations import migrate, read_migrations
from ledger.settings import asset_directory
from loglineos.backup.errors import BackupFailed
from tests.backup.kit import fill, findings, restore, rewrite_manifest, rows_of, seeded, take
from tests.conftest import TestLedger
from tests.ledger.kit import copied_database

OURS = read_migrations(asset_directory("migrations"))
OLDER = 7  # before there were a queue, policies, devices


def test_a_backup_of_an_older_release(empty: TestLedger, tmp_path: Path) -> None:
    with empty.connect("postgres") as connection:
        migrate(connection, OURS[:OLDER])
    fill(empty)
    taken = take(empty, tmp_path / "x")
    assert len(taken.manifest.migrations) == OLDER
    assert findings(tmp_path / "x") == []
    before = rows_of(empty)
    with copied_database(empty.server, "template1") as fresh:
        restored = restore(tmp_path / "x", fresh)
        assert rows_of(fresh) == before
        applied = fresh.execute("postgres", "SELECT name FROM app.schema_migration ORDER BY name")
        assert [row["name"] for row in applied] == [migration.name for migration in OURS]
        assert all(row["entries"] for row in restored.rebuilt)  # of tables that the older release did not have
        assert seeded(fresh)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"name": "9999_future.sql"}, "does not have the migration 9999_future"), ({"sha256": "0" * 64}, "has another")],
)
def test_a_backup_of_a_newer_release_is_refused(
    filled: TestLedger, empty: TestLedger, tmp_path: Path, change: dict[str, str], said: str
) -> None:
    take(filled, tmp_path / "x")
    rewrite_manifest(tmp_path / "x", 0, lambda manifest: manifest["migrations"][-1].update(change))
    with pytest.raises(BackupFailed, match=f"{said}.*restore with that release or a newer one"):
        restore(tmp_path / "x", empty)
    assert empty.execute("postgres", "SELECT to_regnamespace('ledger') AS it") == [{"it": None}]
