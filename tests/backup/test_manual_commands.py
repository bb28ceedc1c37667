"""What the manual's own commands of 6.2 and 6.3 do against forced row-level security: why there is `loglineos backup`.

The programs are those that come with the embedded PostgreSQL. docs/backup.md and decision 0026 say the same in words.
"""

from __future__ import annotations

import csv
import io
import os
import subprocess
from pathlib import Path

import pytest

from loglineos.local import binaries
from tests.backup.kit import rows_of
from tests.conftest import TestLedger

DAY = "COPY (SELECT * FROM ledger.universal_registry WHERE at > now() - interval '24 hours') TO STDOUT CSV HEADER"


def run(ledger: TestLedger, role: str, program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`program -h hostname -U username -d dbname …`; the password is in the environment, as ~/.pgpass has it."""
    package = binaries.embedded()
    assert package is not None
    url = ledger.url(role)
    password = url.removeprefix("postgresql://").partition(":")[2].partition("@")[0]
    server = ledger.server
    command: list[str | Path] = [
        package / "pginstall/bin" / program,
        "-h",
        server.host,
        "-p",
        str(server.port),
        "-U",
        role,
    ]
    return subprocess.run(
        [*command, "-d", ledger.name, *arguments],
        env={**os.environ, "PGPASSWORD": password},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def dump(ledger: TestLedger, role: str, path: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """The full export of 6.2."""
    return run(ledger, role, "pg_dump", "-t", "ledger.universal_registry", "-F", "c", "-f", path, *more)


@pytest.mark.parametrize("role", ["postgres", "admin"])
def test_pg_dump_is_refused_and_says_why(filled: TestLedger, tmp_path: Path, role: str) -> None:
    done = dump(filled, role, tmp_path / "ledger.dump")
    assert done.returncode == 1
    assert 'query would be affected by row-level security policy for table "universal_registry"' in done.stderr


def test_with_row_security_it_dumps_and_the_manuals_restore_restores_nothing(
    filled: TestLedger, empty: TestLedger, tmp_path: Path
) -> None:
    """… and exits as if it had, which nobody notices before the day on which it matters."""
    path = tmp_path / "ledger.dump"
    done = dump(filled, "postgres", path, "--enable-row-security")
    assert done.returncode == 0, done.stderr
    assert path.stat().st_size > 10_000
    restored = run(empty, "postgres", "pg_restore", "-t", "ledger.universal_registry", path)
    assert (restored.returncode, restored.stderr) == (0, "")
    assert empty.execute("postgres", "SELECT to_regclass('ledger.universal_registry') AS it") == [{"it": None}]


def test_the_table_alone_comes_back_without_key_policies_and_triggers(
    filled: TestLedger, empty: TestLedger, tmp_path: Path
) -> None:
    path = tmp_path / "ledger.dump"
    assert dump(filled, "postgres", path, "--enable-row-security").returncode == 0
    empty.execute("postgres", "CREATE SCHEMA ledger")
    run(empty, "postgres", "pg_restore", "-t", "universal_registry", path)
    found = empty.execute(
        "rdsadmin",
        "SELECT (SELECT count(*) FROM pg_index WHERE indrelid = c.oid) AS indexes, relrowsecurity AS guarded,"
        " (SELECT count(*) FROM pg_trigger WHERE tgrelid = c.oid) AS triggers,"
        " (SELECT count(*) FROM pg_policy WHERE polrelid = c.oid) AS policies"
        " FROM pg_class c WHERE c.oid = 'ledger.universal_registry'::regclass",
    )
    assert found == [{"indexes": 0, "guarded": False, "triggers": 0, "policies": 0}]


def test_the_data_alone_are_refused_by_a_migrated_database(
    filled: TestLedger, ledger: TestLedger, tmp_path: Path
) -> None:
    path = tmp_path / "ledger.dump"
    assert dump(filled, "postgres", path, "--enable-row-security").returncode == 0
    before = rows_of(ledger)
    done = run(
        ledger, "postgres", "pg_restore", "--data-only", "-t", "universal_registry", "--enable-row-security", path
    )
    assert done.returncode == 1
    assert "COPY FROM not supported with row-level security" in done.stderr
    assert rows_of(ledger) == before


def test_the_incremental_export_works_and_misses_what_has_another_clock(filled: TestLedger) -> None:
    """`at` is the caller's clock: of the spans of this ledger, which were all appended just now, it finds a part."""
    done = run(filled, "readonly", "psql", "-c", DAY)
    assert done.returncode == 0, done.stderr
    found = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(found) < len(rows_of(filled))
    assert found
    assert not [row for row in found if row["at"].startswith("2026-01-31")]
