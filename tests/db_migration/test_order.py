"""Settings and files that would be passed over in silence are refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from db_migration.handler import answer
from db_migration.migrations import MigrationFailed, migrate, read_migrations
from ledger.settings import asset_directory
from tests.conftest import TestLedger


def test_a_migration_numbered_below_the_applied_ones_is_refused_by_name(ledger: TestLedger, tmp_path: Path) -> None:
    directory = shutil.copytree(asset_directory("migrations"), tmp_path / "migrations")
    (directory / "0000_late.sql").write_text("-- phase: pre\nCREATE TABLE app.late (n int);\n")
    with ledger.connect("postgres") as connection, pytest.raises(MigrationFailed, match=r"0000_late\.sql comes before"):
        migrate(connection, read_migrations(directory))
    assert ledger.execute("rdsadmin", "SELECT to_regclass('app.late') AS t") == [{"t": None}]


def test_an_unknown_word_for_signed_rows_is_not_taken_for_no(ledger: TestLedger) -> None:
    refused = answer({"action": "seed"}, {**ledger.environment, "REQUIRE_SIGNED_ROWS": "true"})
    assert refused["error"]["message"] == "REQUIRE_SIGNED_ROWS must be 0 or 1, not 'true'"
