"""A ledger in which somebody changed rows is backed up all the same, and can be restored as it is: they are listed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from loglineos.backup.errors import BackupDamaged
from loglineos.backup.restore import restore_backup
from loglineos.local.postgres import Server
from tests.backup.kit import fill, findings, quiet, restore, rows_of, take, target
from tests.backup.test_commands import Here
from tests.conftest import TestLedger
from tests.ledger.kit import copied_database

Expected = dict[tuple[Any, int], str]  # by id and seq, what is to be said
Edited = tuple[TestLedger, Expected]
UNHASHED = "is not what it was: its columns cannot be hashed"
EDITS = {
    "name = 'another'": "is not what it was: its columns do not match its hash",
    "at = '20000-01-01Z'": UNHASHED,
    "metadata = jsonb_build_object('n', repeat('9', 5000)::numeric)": UNHASHED,
    "related_to = '{NULL}'": UNHASHED,
    "prev_hash = repeat('0', 64)": "does not follow the version before it",
}
HEADS = "SELECT id, seq FROM ledger.universal_registry WHERE owner_id = %s AND seq = 0 ORDER BY position LIMIT %s"


@pytest.fixture(scope="module")
def edited(cluster: Server) -> Iterator[Edited]:
    """The ledger, and which of its spans a superuser changed."""
    with copied_database(cluster) as ledger:
        owner = fill(ledger)[0].owner_id
        expected: Expected = {}
        with psycopg.connect(ledger.url("rdsadmin"), autocommit=True) as connection:
            connection.execute("ALTER TABLE ledger.universal_registry DISABLE TRIGGER ALL")
            victims = connection.execute(HEADS, [owner, len(EDITS)]).fetchall()
            for (edit, reason), (id_, seq) in zip(EDITS.items(), victims, strict=True):
                where = f"UPDATE ledger.universal_registry SET {edit} WHERE (id, seq) = (%s, %s)"
                assert connection.execute(where.encode(), [id_, seq]).rowcount == 1
                expected[id_, seq] = reason
        yield ledger, expected


@pytest.fixture
def folder(edited: Edited, tmp_path: Path) -> Path:
    take(edited[0], tmp_path / "backup")
    return tmp_path / "backup"


def test_verify_names_each_row(edited: Edited, folder: Path) -> None:
    """And nothing else: what surrounds a changed row is compared as if it were sound."""
    _, expected = edited
    said = [reason for _, reason in findings(folder)]
    for (id_, seq), reason in expected.items():
        assert any(one.startswith(f"span {id_} seq {seq} {reason}") for one in said), (reason, said)
    assert {one.split(" ")[1] for one in said} == {str(id_) for id_, _ in expected}


def test_restore_says_what_else_there_is(folder: Path, empty: TestLedger) -> None:
    with pytest.raises(
        BackupDamaged, match=r"span .* seq 0 is not what it was: .* Nothing was restored: .* --with-findings"
    ):
        restore(folder, empty)
    assert rows_of(empty) == []


def test_all_of_it_is_loaded(edited: Edited, folder: Path, empty: TestLedger) -> None:
    ledger, expected = edited
    restored = restore_backup(folder, target(empty), tell=quiet, with_findings=True)
    assert {one.span for one in restored.findings.first} == set(expected)
    assert restored.findings.count >= len(expected)
    assert restored.spans == len(rows_of(ledger))
    assert rows_of(empty) == rows_of(ledger)
    guards = "SELECT tgenabled::text AS it FROM pg_trigger WHERE tgname = 'ur_guard_insert'"
    assert empty.execute("rdsadmin", guards) == [{"it": "A"}]


def test_the_command_lists_them_and_exits_1(
    edited: Edited,
    folder: Path,
    empty: TestLedger,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, expected = edited
    done = Here(empty, tmp_path, monkeypatch, capsys).run("restore", str(folder), "--with-findings", "--json")
    assert (done.returncode, "everything is loaded, and" in done.stderr) == (1, True)
    said = json.loads(done.stdout)
    assert not said["ok"]
    assert {(one["id"], one["seq"]) for one in said["findings"]} == {(str(id_), seq) for id_, seq in expected}


def test_a_file_that_was_changed_is_not_loaded(folder: Path, empty: TestLedger) -> None:
    path = folder / "0000-full.spans.zst"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BackupDamaged, match="it was changed"):
        restore_backup(folder, target(empty), tell=quiet, with_findings=True)
    assert rows_of(empty) == []
