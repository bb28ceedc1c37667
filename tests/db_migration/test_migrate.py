"""Migrations are applied once, in order, each whole or not at all, by one migrator at a time."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, Literal

import pytest

from db_migration import handler as handler_module
from db_migration import migrations as migrations_module
from db_migration.handler import answer
from db_migration.migrations import DatabaseAhead, Migration, MigrationFailed, migrate, read_migrations, state_of
from ledger.settings import asset_directory
from tests.conftest import TestLedger
from tests.ledger.kit import ask

OURS = read_migrations(asset_directory("migrations"))
NUMBERS = ["0001", "0002", "0003", "0004"]
LOG = "CREATE TABLE IF NOT EXISTS public.log (line serial, text text);"


def step(number: int, sql: str, phase: Literal["pre", "post"] = "pre", breaking: bool = False) -> Migration:
    text = f"-- phase: {phase}\n{sql}"
    return Migration(f"{number:04}_step.sql", text, hashlib.sha256(text.encode()).hexdigest(), phase, breaking)


def steps(count: int) -> list[Migration]:
    """Each writes a line of a log."""
    return [step(n, f"{LOG}\nINSERT INTO public.log (text) VALUES ('{n}');") for n in range(1, count + 1)]


def run(ledger: TestLedger, migrations: Sequence[Migration], phase: Literal["pre", "post"] | None = None) -> list[str]:
    with ledger.connect("postgres") as connection:
        return [name[:4] for name in migrate(connection, migrations, phase)[0]]


def log(ledger: TestLedger) -> list[str]:
    return [row["text"] for row in ask(ledger, "postgres", "SELECT text FROM public.log ORDER BY line")]


def recorded(ledger: TestLedger) -> list[str]:
    rows = ask(ledger, "postgres", "SELECT name FROM app.schema_migration ORDER BY name")
    return [row["name"][:4] for row in rows]


def test_three_runs_of_the_real_ones_do_the_work_once(empty: TestLedger) -> None:
    results = [answer({"action": "migrate"}, empty.environment) for _ in range(3)]
    names = [migration.name for migration in OURS]
    assert [result["applied"] for result in results] == [names, [], []]
    for result in results:
        assert (result["ok"], result["pending"], result["ahead"]) == (True, [], [])
        assert "warning" not in result
    rows = empty.execute("postgres", "SELECT name, sha256, phase FROM app.schema_migration ORDER BY name")
    assert rows == [{"name": m.name, "sha256": m.sha256, "phase": m.phase} for m in OURS]


def test_a_dry_run_only_tells(empty: TestLedger) -> None:
    dry = answer({"action": "migrate", "dry_run": True}, empty.environment)
    assert (dry["applied"], dry["pending"]) == ([], [migration.name for migration in OURS])
    assert empty.execute("postgres", "SELECT to_regnamespace('app') AS app") == [{"app": None}]


def test_only_what_is_pending_is_applied_in_order(empty: TestLedger) -> None:
    three = steps(3)
    assert run(empty, three[:2]) == ["0001", "0002"]
    assert run(empty, three) == ["0003"]
    assert run(empty, three) == []
    assert log(empty) == ["1", "2", "3"]


def test_a_changed_file_is_refused_by_its_name_before_anything_is_done(empty: TestLedger) -> None:
    run(empty, steps(2))
    changed = [step(1, "SELECT 'changed'"), *steps(3)[1:]]
    with pytest.raises(MigrationFailed, match=r"0001_step\.sql has changed") as failure:
        run(empty, changed)
    assert failure.value.details == {"migration": "0001_step.sql"}
    assert (log(empty), recorded(empty)) == (["1", "2"], ["0001", "0002"])


FAULTS = {
    "a syntax error": ("SELECT 1;\nSELEKT 2;\n", "line 4: syntax error"),
    "an unknown table": ("\n\nSELECT * FROM nothing_here;", "line 5: relation"),
    "after text of two bytes a character": ("-- ééééé 用户\nSELECT * FROM nothing_here;", "line 4: relation"),
    "an error as it runs": ("SELECT 1 / 0;", "division by zero"),
    "a duplicate key of its own": (
        "CREATE TABLE public.t (a int PRIMARY KEY); INSERT INTO public.t VALUES (1), (1);", "duplicate key",
    ),
    "a missing right": ("CREATE ROLE superb SUPERUSER;", "permission denied"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failed_migration_leaves_nothing_and_names_file_and_line(shared: TestLedger, fault: str) -> None:
    sql, message = FAULTS[fault]
    number = 9000 + list(FAULTS).index(fault)
    bad = step(number, f"CREATE TABLE public.left_over (a int); {sql}")
    # The file begins with its header, and its first statement stands in line 2.
    bad = Migration(bad.name, bad.sql.replace("); ", ");\n", 1), bad.sha256, bad.phase, bad.breaking)
    with pytest.raises(MigrationFailed) as failure:
        run(shared, [*OURS, bad, step(9999, "CREATE TABLE public.never_reached (a int)")])
    assert failure.value.message.startswith(bad.name)
    assert message in failure.value.message
    assert failure.value.message.endswith("Nothing of it was applied.")
    assert ask(
        shared, "postgres", "SELECT to_regclass('public.left_over') AS a, to_regclass('public.never_reached') AS b"
    ) == [{"a": None, "b": None}]
    assert recorded(shared) == [m.name[:4] for m in OURS]
    assert run(shared, OURS) == [], "the lock is free again"


@pytest.mark.parametrize("migrators", [2, 5])
def test_migrators_at_once_apply_each_migration_once(empty: TestLedger, migrators: int) -> None:
    slow = [step(m, f"SELECT pg_sleep(0.05); {LOG} INSERT INTO public.log (text) VALUES ('{m}')") for m in range(1, 5)]
    barrier = Barrier(migrators)

    def one(_: int) -> list[str]:
        barrier.wait(10)
        return run(empty, slow)

    with ThreadPoolExecutor(migrators) as pool:
        results = list(pool.map(one, range(migrators)))
    assert sorted(name for result in results for name in result) == ["0001", "0002", "0003", "0004"]
    assert log(empty) == ["1", "2", "3", "4"]


def test_two_first_migrations_with_the_real_files_both_succeed(empty: TestLedger) -> None:
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: answer({"action": "migrate"}, empty.environment), range(2)))
    assert [result["ok"] for result in results] == [True, True], results
    assert sorted(name for result in results for name in result["applied"]) == [m.name for m in OURS]


def test_who_waits_too_long_for_another_migrator_says_so(shared: TestLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations_module, "LOCK_WAIT_S", 0.3)
    with shared.connect("postgres") as other:
        other.execute("SELECT pg_advisory_lock(%s)", [migrations_module.LOCK_KEY])
        started = time.monotonic()
        result = answer({"action": "migrate"}, shared.environment)
    assert 0.2 < time.monotonic() - started < 5
    assert result["error"]["code"] == "migration_failed"
    assert "another migration has been running" in result["error"]["message"]


def test_a_database_ahead_is_told_from_one_behind(empty: TestLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = [*steps(2), step(3, "SELECT 3", "post"), step(4, "SELECT 4", "post", breaking=True)]
    run(empty, newer[:3])
    monkeypatch.setattr(handler_module, "read_migrations", lambda _: newer[:2])
    result = answer({"action": "migrate"}, empty.environment)
    assert (result["ok"], result["ahead"], result["pending"]) == (True, ["0003_step.sql"], [])
    assert "ahead of this release" in result["warning"]

    monkeypatch.setattr(handler_module, "read_migrations", lambda _: newer)
    behind = answer({"action": "migrate", "dry_run": True}, empty.environment)
    assert (behind["pending"], behind["ahead"]) == (["0004_step.sql"], [])

    run(empty, newer)
    monkeypatch.setattr(handler_module, "read_migrations", lambda _: newer[:2])
    result = answer({"action": "migrate"}, empty.environment)
    assert result["error"]["code"] == "database_ahead"
    assert result["error"]["ahead"] == ["0003_step.sql", "0004_step.sql"]
    assert "0004_step.sql breaks older code" in result["error"]["message"]
    with empty.connect("postgres") as connection, pytest.raises(DatabaseAhead):
        state_of(connection, newer[:2])


@pytest.mark.parametrize(
    ("phase", "applied", "pending"),
    [("pre", ["0001", "0002"], 2), ("post", NUMBERS, 0), (None, NUMBERS, 0)],
)
def test_the_phase_pre_stops_before_the_first_post(
    empty: TestLedger, phase: Literal["pre", "post"] | None, applied: list[str], pending: int
) -> None:
    migrations: list[Any] = [step(n, "SELECT 1", "post" if n == 3 else "pre") for n in range(1, 5)]
    assert run(empty, migrations, phase) == applied
    with empty.connect("postgres") as connection:
        assert len(state_of(connection, migrations).pending) == pending
