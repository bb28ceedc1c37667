"""Incremental backups miss nothing and hold nothing twice, whatever is committed meanwhile and in which order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from db_migration.era import begin_era
from ledger.proof import seal
from loglineos.backup.errors import BackupDamaged, BackupFailed
from loglineos.backup.manifest import Manifest, manifest_name, manifests_in, read_chain
from loglineos.backup.take import only_writer
from loglineos.local.postgres import Server
from tests.backup.kit import fill, findings, proved, restore, rows_of, take
from tests.conftest import TestLedger
from tests.ledger.kit import copied_database, draft, insert, put, sealed, set_context, someone


@contextmanager
def writers(ledger: TestLedger, count: int = 3, key: SigningKey | None = None) -> Iterator[None]:
    """Tenants that append all the time, in transactions that overlap; with pauses, or a follower hardly catches up."""
    over, failed = threading.Event(), []

    def write() -> None:
        owner = someone()
        try:
            with ledger.connect("lambda_exec") as connection:
                while not over.wait(0.01):
                    with connection.transaction():
                        set_context(connection, owner)
                        for _ in range(3):
                            insert(connection, seal(draft(owner), key))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=write) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not failed


def test_what_writers_append_meanwhile_is_there_once(ledger: TestLedger, empty: TestLedger, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    with writers(ledger):
        take(ledger, folder)
        for _ in range(4):
            take(ledger, folder, incremental=True)
    last = take(ledger, folder, incremental=True)
    counts = [backup.manifest.count for backup in read_chain(folder)]
    assert last.waiting == 0
    assert sum(counts) == len(rows_of(ledger))
    assert sum(count > 0 for count in counts[1:]) >= 2, counts
    assert findings(folder) == []
    assert restore(folder, empty).spans == sum(counts)
    assert rows_of(empty) == rows_of(ledger)


def test_a_transaction_that_stays_open_is_waited_for(ledger: TestLedger, tmp_path: Path) -> None:
    """Its span has a lower place than others that were committed before it: they too are left for the next backup."""
    folder, owner = tmp_path / "backup", someone()
    early, late = sealed(owner), sealed(owner)
    with ledger.connect("lambda_exec") as connection:
        with connection.transaction():
            set_context(connection, owner)
            insert(connection, early)
            put(ledger, late)
            full = take(ledger, folder)
        assert full.waiting == 1
        assert full.manifest.count == len(rows_of(ledger)) - 2
    incremental = take(ledger, folder, incremental=True)
    assert incremental.manifest.count == 2
    assert incremental.manifest.newest is not None
    assert incremental.manifest.newest.id == str(late.id)
    assert findings(folder) == []


def test_one_of_two_that_are_begun_at_once_is_refused(ledger: TestLedger, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    take(ledger, folder)
    with only_writer(folder), pytest.raises(BackupFailed, match="another backup is being written"):
        take(ledger, folder, incremental=True)
    take(ledger, folder, incremental=True)


def test_an_incremental_one_needs_a_full_one_and_a_full_one_a_new_folder(ledger: TestLedger, tmp_path: Path) -> None:
    with pytest.raises(BackupFailed, match="there is no folder"):
        take(ledger, tmp_path / "x", incremental=True)
    take(ledger, tmp_path / "x")
    with pytest.raises(BackupFailed, match="add to it with --incremental, or name a new folder"):
        take(ledger, tmp_path / "x")


def test_there_is_no_last_number(ledger: TestLedger, tmp_path: Path) -> None:
    """One every five minutes is the ten-thousandth after 35 days: it is a manifest, and stands behind those before."""
    manifest = take(ledger, tmp_path / "x").manifest.model_dump()
    for number in (10_000, 9_999, 10_001):
        name = manifest_name(number, "incremental")
        file = {**manifest["file"], "name": name.replace(".json", ".spans.zst")}
        made = Manifest.model_validate({**manifest, "number": number, "kind": "incremental", "file": file})
        (tmp_path / made.name).write_text(made.model_dump_json())
    assert manifests_in(tmp_path) == [f"{number}-incremental.json" for number in (9_999, 10_000, 10_001)]
    with pytest.raises(BackupDamaged, match=r"^0000-full\.json: it is missing, and later backups need it"):
        read_chain(tmp_path)


def test_another_ledger_does_not_continue_it(ledger: TestLedger, cluster: Server, tmp_path: Path) -> None:
    fill(ledger)
    take(ledger, tmp_path / "x")
    with copied_database(cluster) as other:
        fill(other)
        with pytest.raises(BackupFailed, match=r"does not hold what 0000-full\.json ends with.*new folder"):
            take(other, tmp_path / "x", incremental=True)
    assert len(read_chain(tmp_path / "x")) == 1


def test_a_ledger_that_was_set_back_does_not_continue_it(ledger: TestLedger, cluster: Server, tmp_path: Path) -> None:
    """As a restore to a point in time does: copied before the last spans were appended."""
    fill(ledger)
    take(ledger, tmp_path / "x")
    with copied_database(cluster, ledger.name) as back:
        fill(ledger)
        take(ledger, tmp_path / "x", incremental=True)
        with back.connect("postgres") as connection:
            begin_era(connection, "set back")
        fill(back)
        with pytest.raises(BackupFailed, match="was set back to an earlier time"):
            take(back, tmp_path / "x", incremental=True)


def test_eras_add_up(ledger: TestLedger, cluster: Server, tmp_path: Path) -> None:
    """A backup goes on after a restore, and what is restored again has every era in its place."""
    folder = tmp_path / "backup"
    fill(ledger)
    take(ledger, folder)
    with copied_database(cluster, "template1") as second, copied_database(cluster, "template1") as third:
        restore(folder, second)
        fill(second)
        take(second, folder, incremental=True)
        assert findings(folder) == []
        restored = restore(folder, third)
        fill(third)
        rows = rows_of(third)
        assert restored.era == 3
        assert [row["era"] for row in rows] == sorted(row["era"] for row in rows)
        assert {row["era"] for row in rows} == {1, 2, 3}
        assert rows[: restored.spans] == rows_of(second)
        positions = [row["position"] for row in rows]
        assert len(set(positions)) == len(positions)
        with third.connect("readonly") as connection:
            assert proved(connection) == len(rows)
