"""The action `archive`: what is sealed and old enough goes into files, whole and in order, and is recorded."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from db_migration.archive import run as run_module
from db_migration.archive.columns import Spans
from db_migration.archive.parquet import read_file
from db_migration.archive.source import _ROWS, in_order, rows
from db_migration.handler import answer
from ledger.proof import public_key_of, verify
from ledger.read import BEGINNING, END
from ledger.span import COLUMNS, Span
from tests.archive.kit import CHECKPOINT_KEY, FEBRUARY, JANUARY, Archived, days_since
from tests.conftest import TestLedger
from tests.ledger.kit import ask, draft, following, put, sealed, session, someone

# JSON holds exact integers up to 2^53 only: larger ones travel as strings. NUL is refused on append.
HOSTILE: list[dict[str, Any]] = [
    {"at": "0001-01-01T00:00:00Z"},
    {"at": "9999-12-31T23:59:59.999999Z"},
    {"at": "1582-10-10T12:00:00.000001+05:30"},
    {"related_to": []},
    {"related_to": ["00000000-0000-7000-8000-000000000001"] * 2, "parent_id": "00000000-0000-7000-8000-000000000001"},
    {"metadata": {"huge": "9" * 400, "tiny": 1e-300, "most": 2**53 - 1, "least": 1 - 2**53, "one": 1.0, "zero": -0.0}},
    {"metadata": {}, "input": [], "output": "", "error": False},
    {"input": {"b": [None, {"a": None}], "": " \u2028\u00a0", "😀": "\ue000\U0010ffff"}, "output": 0},
    {"name": "", "description": "\x01\x1f\x7f\\\"'\r\n\t", "status": "", "code": "é e\u0301 ﷽ 用户 \u202e"},
    {"duration_ms": 2**31 - 1, "trace_id": "t" * 200, "is_deleted": True, "code": "x" * 500_000},
]


@pytest.fixture
def archived(shared: TestLedger, tmp_path: Path) -> Archived:
    """A storage of the test's own; its log begins with whatever the module's ledger holds."""
    return Archived(shared, tmp_path)


def file_rows(archived: Archived) -> list[Any]:
    """Of all files, in the order of their names: that of the log."""
    names = sorted(archived.files(), key=lambda name: name.rpartition("/")[2])
    return [row for name in names for row in read_file(archived.folder / name, name)]


def ledger_rows(archived: Archived, count: int) -> list[Any]:
    with session(archived.ledger, "readonly") as connection:
        return list(rows(connection, BEGINNING, END, count))


def test_hostile_values_come_back_as_they_were(ledger: TestLedger, tmp_path: Path) -> None:
    archived, writer = Archived(ledger, tmp_path), someone()
    drafts = [draft(writer, **values) for values in HOSTILE]
    archived.append(*drafts)
    first = sealed(writer, name="first", metadata={"content": "v1.gAAAA= ciphertext", "sensitivity": "secret"})
    put(ledger, first, following(first))
    size = archived.seal(JANUARY).size
    result = archived.run()
    assert (result["ok"], result["archived"], result["more"]) == (True, size, False), result
    found = file_rows(archived)
    assert found == ledger_rows(archived, size)
    assert len(found) == size
    by_id = {row[0]: row for row in found}
    stored = [by_id[str(span.id)] for span in drafts]
    assert [row[COLUMNS.index("related_to")] for row in stored[3:5]] == [[], [str(drafts[4].parent_id)] * 2]
    assert stored[0][COLUMNS.index("related_to")] is None
    asked = "SELECT at::text, metadata::text FROM ledger.universal_registry WHERE id = %s"
    year_9999 = ask(ledger, "readonly", asked, [drafts[1].id])[0]["at"]
    assert (stored[1][COLUMNS.index("at")], year_9999) == (253402300799999999, "9999-12-31 23:59:59.999999+00")
    assert stored[5][COLUMNS.index("metadata")] == ask(ledger, "readonly", asked, [drafts[5].id])[0]["metadata"]


def test_each_months_seals_have_a_folder_and_a_span_that_says_so(ledger: TestLedger, tmp_path: Path) -> None:
    archived, writer = Archived(ledger, tmp_path), someone()
    archived.append(*[draft(writer) for _ in range(600)])
    first = archived.seal(JANUARY).size
    archived.append(draft(writer))
    second = archived.seal(JANUARY + timedelta(days=1)).size
    archived.append(draft(writer))
    third = archived.seal(FEBRUARY).size
    assert first < second < third
    january = f"spans/month=2025-01/{0:020}-{second}.parquet"
    result = archived.run(days_since(FEBRUARY) + 1)
    assert (result["archived"], result["sealed"], archived.files()) == (second, second, [january])
    result = archived.run()
    february = f"spans/month=2025-02/{second:020}-{third - second}.parquet"
    assert (result["archived"], archived.files()) == (third, [january, february])
    spans = archived.spans()
    assert [(span.seq, span.prev_hash) for span in spans] == [(0, None), (1, spans[0].curr_hash)]
    assert all(verify(span, [public_key_of(CHECKPOINT_KEY)]) for span in spans)
    told = Spans()
    for row in ledger_rows(archived, second):
        told.add(row, "the ledger")
    said = spans[0].metadata or {}
    assert {key: said[key] for key in ("from", "to", "count", "digest", "end", "checkpoint_size")} == {
        "from": 0, "to": second, "count": second, "digest": told.digest, "end": str(told.end), "checkpoint_size": second
    }  # fmt: skip
    assert archived.run()["ranges"] == []
    assert len(archived.spans()) == 2


def test_files_are_bounded_and_a_run_that_has_no_time_left_answers_more(
    ledger: TestLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archived, writer = Archived(ledger, tmp_path), someone()
    archived.append(*[draft(writer, code=f"{number}" * 9) for number in range(100)])
    size = archived.seal(JANUARY).size
    monkeypatch.setattr(run_module, "FILE_SPANS", 40)
    result = run_module.archive(0, 0, archived.environment)
    assert (result["archived"], result["sealed"], result["more"]) == (40, size, True)
    monkeypatch.setattr(run_module, "FILE_BYTES", 100)
    monkeypatch.setattr("db_migration.archive.parquet.ROW_GROUP_ROWS", 16)
    while result["more"]:
        result = run_module.archive(0, 0, archived.environment)
    counts = [(span.metadata or {})["count"] for span in archived.spans()]
    assert counts == [40, *[16] * ((size - 40) // 16), *([(size - 40) % 16] if (size - 40) % 16 else [])]
    assert file_rows(archived) == ledger_rows(archived, size)


def test_what_is_not_sealed_stays_out(ledger: TestLedger, tmp_path: Path) -> None:
    archived = Archived(ledger, tmp_path)
    assert archived.run()["sealed"] == 0
    size = archived.seal(JANUARY).size
    late: Span = draft(someone())
    archived.append(late)
    assert archived.run()["archived"] == size
    assert str(late.id) not in {row[0] for row in file_rows(archived)}


def test_one_archive_at_a_time(ledger: TestLedger, tmp_path: Path) -> None:
    archived = Archived(ledger, tmp_path)
    archived.seal(JANUARY)
    with session(ledger, "lambda_exec") as other:
        other.execute("SELECT pg_advisory_lock(hashtextextended('loglineos archive', 0))")
        result = archived.run()
        other.execute("SELECT pg_advisory_unlock_all()")
    assert (result["error"]["code"], archived.files()) == ("archive_busy", [])
    assert archived.run()["ok"]


def test_the_ledger_is_read_by_the_index_of_its_order(shared: TestLedger) -> None:
    """Each page by itself: a sort or a scan of the table would make the archive quadratic."""
    query = _ROWS.strip().removeprefix("COPY (").removesuffix(") TO STDOUT (FORMAT BINARY)")
    with shared.connect("readonly") as connection:
        plan = in_order(connection).execute(f"EXPLAIN {query}".encode(), [1, "0", 0, 2, "9", 9, 5000]).fetchall()
    text = "\n".join(row["QUERY PLAN"] for row in plan)
    assert "Index Scan using ur_order" in text
    assert "Sort" not in text


def test_health_is_told_what_is_sealed_and_not_archived(ledger: TestLedger, tmp_path: Path) -> None:
    archived = Archived(ledger, tmp_path)

    def waiting() -> Any:
        return answer({"action": "xray", "sections": ["pulse"]}, archived.environment)["xray"]["pulse"]["unarchived"]

    assert waiting() is None
    archived.append(draft(someone()))
    archived.seal(JANUARY)
    archived.append(draft(someone()))
    archived.seal(FEBRUARY)
    assert waiting()["at"].startswith("2025-01-15T12:00:00"), "the oldest, not the newest"
    assert archived.run(days_since(FEBRUARY) + 1)["archived"]
    assert waiting()["at"].startswith("2025-02-03T00:00:00")
    assert archived.run(0)["more"] is False
    assert waiting() is None
