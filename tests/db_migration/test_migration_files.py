"""Which files are migrations, in which order, and how the wrong ones are refused by name."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from db_migration.migrations import MigrationFailed, read_migrations
from ledger.settings import asset_directory

GOOD = "-- phase: pre\nSELECT 1;\n"


def write(directory: Path, **files: str | bytes) -> None:
    for name, text in files.items():
        data = text if isinstance(text, bytes) else text.encode()
        (directory / f"{name}.sql").write_bytes(data)


def test_the_files_come_in_order_with_hash_phase_and_mark(tmp_path: Path) -> None:
    texts = {
        "0002_second": "-- phase: post\nSELECT 2;\n",
        "0010_tenth": "-- phase: post breaking\nSELECT 'é';\n",
        "0001_first": GOOD,
    }
    write(tmp_path, **texts)
    (tmp_path / "README.md").write_text("no migration")
    found = read_migrations(tmp_path)
    assert [(m.name, m.phase, m.breaking) for m in found] == [
        ("0001_first.sql", "pre", False),
        ("0002_second.sql", "post", False),
        ("0010_tenth.sql", "post", True),
    ]
    assert [m.sha256 for m in found] == [
        hashlib.sha256(texts[m.name.removesuffix(".sql")].encode()).hexdigest() for m in found
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("1_short", GOOD),
        ("0002", GOOD),
        ("0002-dash", GOOD),
        ("0002_Capital", GOOD),
        ("notes", GOOD),
        ("00002_long", GOOD),
        ("0002_headerless", "SELECT 1;\n"),
        ("0002_late_header", "\n-- phase: pre\nSELECT 1;\n"),
        ("0002_other_phase", "-- phase: during\nSELECT 1;\n"),
        ("0002_trailing", "-- phase: pre breaking now\nSELECT 1;\n"),
        ("0002_empty", ""),
        ("0002_windows", "-- phase: pre\r\nSELECT 1;\r\n"),
        ("0002_latin_1", "-- phase: pre\n-- é".encode("latin-1")),
        ("0002_utf_16", GOOD.encode("utf-16")),
    ],
)
def test_a_misnamed_headerless_or_undecodable_file_is_refused_by_name(
    tmp_path: Path, name: str, text: str | bytes
) -> None:
    write(tmp_path, **{"0001_good": GOOD, name: text})
    with pytest.raises(MigrationFailed) as failure:
        read_migrations(tmp_path)
    assert f"{name}.sql" in failure.value.message


def test_two_files_of_one_number_are_refused(tmp_path: Path) -> None:
    write(tmp_path, **{"0001_a": GOOD, "0002_a": GOOD, "0002_b": GOOD, "0003_a": GOOD})
    with pytest.raises(MigrationFailed, match="number 0002"):
        read_migrations(tmp_path)


def test_an_empty_folder_is_an_incomplete_package(tmp_path: Path) -> None:
    with pytest.raises(MigrationFailed, match="incomplete"):
        read_migrations(tmp_path)


def test_our_own_are_numbered_without_gaps() -> None:
    numbers = [int(m.name[:4]) for m in read_migrations(asset_directory("migrations"))]
    assert numbers == list(range(1, len(numbers) + 1))
