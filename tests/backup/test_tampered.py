"""What was changed in a backup is named, and nothing of it is restored."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from ledger.database import Identity
from ledger.ids import derived_id
from loglineos.backup.errors import BackupDamaged
from loglineos.backup.manifest import DataFile, Manifest, read_chain
from loglineos.backup.verify import verify_backup
from tests.backup.kit import fill, findings, quiet, restore, rewrite_manifest, take
from tests.conftest import TestLedger
from tests.ledger.kit import put, sealed
from tlog.checkpoint import Checkpoint
from tlog.merkle import leaf_hash, range_hash

FULL, INCREMENTAL = "0000-full", "0001-incremental"


def lines_of(folder: Path, name: str) -> list[bytes]:
    data = zstandard.ZstdDecompressor().decompressobj().decompress((folder / f"{name}.spans.zst").read_bytes())
    return data.splitlines(keepends=True)


def write_lines(folder: Path, number: int, lines: list[bytes], **figures: Any) -> None:
    """Replace a file of spans by others, and its hash in the manifest too, and whatever follows from that there."""
    name = read_chain(folder)[number].manifest.file.name
    data = zstandard.ZstdCompressor().compress(b"".join(lines))
    (folder / name).write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    file = DataFile(name=name, bytes=len(data), raw_bytes=sum(map(len, lines)), sha256=sha256)
    rewrite_manifest(folder, number, lambda manifest: manifest.update(file=file.model_dump(), **figures))
    if number == 0:
        relink(folder)


def relink(folder: Path) -> None:
    """Let the second manifest name the first one as it is now."""
    sha256 = hashlib.sha256((folder / f"{FULL}.json").read_bytes()).hexdigest()
    path = folder / f"{INCREMENTAL}.json"
    manifest = Manifest.model_validate_json(path.read_text())
    assert manifest.predecessor is not None
    changed = manifest.model_copy(update={"predecessor": manifest.predecessor.model_copy(update={"sha256": sha256})})
    path.write_text(changed.model_dump_json())


def change_a_byte(folder: Path) -> None:
    path = folder / f"{FULL}.spans.zst"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def append_a_byte(folder: Path) -> None:
    with (folder / f"{FULL}.spans.zst").open("ab") as file:
        file.write(b"x")


def cut_off(folder: Path) -> None:
    path = folder / f"{INCREMENTAL}.spans.zst"
    path.write_bytes(path.read_bytes()[:-20])


def remove_the_spans(folder: Path) -> None:
    (folder / f"{FULL}.spans.zst").unlink()


def remove_the_full_manifest(folder: Path) -> None:
    (folder / f"{FULL}.json").unlink()


def change_the_first_manifest(folder: Path) -> None:
    rewrite_manifest(folder, 0, lambda manifest: manifest.update(release="9.9.9"))


def edit_a_span(folder: Path) -> None:
    """With a matching hash of the file."""
    lines = [line.replace(b"a test\twrote", b"a test\tWROTE") for line in lines_of(folder, FULL)]
    write_lines(folder, 0, lines)


def drop_a_span(folder: Path) -> None:
    lines = lines_of(folder, FULL)
    write_lines(folder, 0, [*lines[:5], *lines[6:]])


def drop_a_span_and_count(folder: Path) -> None:
    """The manifest's counts are changed as well."""
    lines = lines_of(folder, FULL)
    count = read_chain(folder)[0].manifest.count - 1
    write_lines(folder, 0, lines[1:], count=count, total=count)


def swap_two_spans(folder: Path) -> None:
    lines = lines_of(folder, INCREMENTAL)
    write_lines(folder, 1, [lines[1], lines[0], *lines[2:]])


def give_a_span_another_place(folder: Path) -> None:
    lines = lines_of(folder, INCREMENTAL)
    write_lines(folder, 1, [*lines[:-1], lines[-1].rstrip().rsplit(b"\t", 1)[0] + b"\t999999999\n"])


def repeat_a_span(folder: Path) -> None:
    lines = lines_of(folder, INCREMENTAL)
    write_lines(folder, 1, [*lines, lines[-1].rstrip().rsplit(b"\t", 1)[0] + b"\t999999999\n"])


def write_nonsense(folder: Path) -> None:
    write_lines(folder, 1, [*lines_of(folder, INCREMENTAL), b"no\tspan\n"])


def write_an_endless_line(folder: Path) -> None:
    write_lines(folder, 1, [b"x" * (1 << 25)])


def empty_the_manifest(folder: Path) -> None:
    (folder / f"{INCREMENTAL}.json").write_text("{}")


TAMPERINGS: list[tuple[Callable[[Path], None], str, str]] = [
    (change_a_byte, f"{FULL}.spans.zst", "it was changed"),
    (append_a_byte, f"{FULL}.spans.zst", "it was changed"),
    (cut_off, f"{INCREMENTAL}.spans.zst", "it was changed"),
    (remove_the_spans, f"{FULL}.spans.zst", "the file is missing"),
    (remove_the_full_manifest, f"{FULL}.json", "it is missing, and later backups need it"),
    (change_the_first_manifest, f"{INCREMENTAL}.json", f"does not follow {FULL}.json"),
    (edit_a_span, f"{FULL}.spans.zst", "its columns do not match its hash"),
    (drop_a_span, f"{FULL}.spans.zst", "its manifest says"),
    (drop_a_span_and_count, f"{FULL}.spans.zst", "another digest"),
    (swap_two_spans, f"{INCREMENTAL}.spans.zst", "stands where it does not belong"),
    (give_a_span_another_place, f"{INCREMENTAL}.spans.zst", "its last span is not the one that its manifest names"),
    (repeat_a_span, f"{INCREMENTAL}.spans.zst", "a span stands in the backup twice"),
    (write_nonsense, f"{INCREMENTAL}.spans.zst", "a line is no span: 2 columns"),
    (write_an_endless_line, f"{INCREMENTAL}.spans.zst", "larger than any span"),
    (empty_the_manifest, f"{INCREMENTAL}.json", "it is no manifest of this release: number"),
]


@pytest.fixture
def copy(backed_up: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(backed_up, tmp_path / "copy"))


@pytest.mark.parametrize(("tamper", "file", "reason"), TAMPERINGS, ids=[one[0].__name__ for one in TAMPERINGS])
def test_it_is_named(copy: Path, tamper: Callable[[Path], None], file: str, reason: str) -> None:
    tamper(copy)
    found = findings(copy)
    assert any(name == file and re.search(reason, said) for name, said in found), found
    assert {name for name, _ in found} <= {file, f"{INCREMENTAL}.spans.zst"}


@pytest.mark.parametrize("tamper", [change_a_byte, edit_a_span, drop_a_span_and_count, repeat_a_span, cut_off])
def test_nothing_of_it_is_restored(copy: Path, tamper: Callable[[Path], None], empty: TestLedger) -> None:
    tamper(copy)
    with pytest.raises(BackupDamaged):
        restore(copy, empty)
    assert empty.execute("rdsadmin", "SELECT FROM ledger.universal_registry") == []
    assert [row["era"] for row in empty.execute("rdsadmin", "SELECT era FROM ledger_idx.era")] == [1]
    guards = "SELECT tgenabled::text AS it FROM pg_trigger WHERE tgname = 'ur_guard_insert'"
    assert empty.execute("rdsadmin", guards) == [{"it": "A"}]


def test_an_incremental_backup_of_another_folder_is_named(filled: TestLedger, copy: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    take(filled, other)
    fill(filled)
    take(filled, other, incremental=True)
    for suffix in (".json", ".spans.zst"):
        shutil.copy(other / f"{INCREMENTAL}{suffix}", copy)
    assert findings(copy) == [
        (
            f"{INCREMENTAL}.json",
            f"it does not follow {FULL}.json as that is here: one of them was changed or swapped",
        )
    ]


def test_a_backup_is_not_added_to_one_that_was_changed(filled: TestLedger, copy: Path) -> None:
    change_the_first_manifest(copy)
    with pytest.raises(BackupDamaged, match="does not follow"):
        take(filled, copy, incremental=True)


def test_a_backup_is_not_added_to_one_whose_spans_are_gone(filled: TestLedger, copy: Path) -> None:
    cut_off(copy)
    with pytest.raises(BackupDamaged, match="full backup in a new folder"):
        take(filled, copy, incremental=True)


def test_a_forged_backup_is_given_away_by_a_checkpoint(filled: TestLedger, tmp_path: Path) -> None:
    """Who rewrites unsigned spans with their hashes, and every figure of the manifest, does not know the old root."""
    folder, origin = tmp_path / "backup", "loglineos-test"
    rows = filled.execute("readonly", "SELECT curr_hash FROM ledger.universal_registry ORDER BY era, xid, position")
    root = range_hash([leaf_hash(bytes.fromhex(row["curr_hash"])) for row in rows])
    metadata = {
        "origin": origin,
        "size": len(rows),
        "root": root.hex(),
        "note": Checkpoint(origin, len(rows), root).text,
    }
    put(filled, sealed(Identity("notary", "system"), id=derived_id("checkpoint", origin), entity_type="checkpoint",
                       visibility="tenant", metadata=metadata))  # fmt: skip
    taken = take(filled, folder)
    assert taken.manifest.checkpoint is not None
    assert taken.manifest.checkpoint.root == root.hex()
    assert findings(folder) == []
    assert verify_backup(folder, quiet).checkpoint_size == len(rows)
    wrong = taken.manifest.checkpoint.model_copy(update={"root": "00" * 32})
    (found,) = verify_backup(folder, quiet, [wrong]).findings
    assert found.reason == f"its first {len(rows)} spans are not those that the checkpoint of {origin} sealed"
    larger = taken.manifest.checkpoint.model_copy(update={"size": 10**6})
    (found,) = verify_backup(folder, quiet, [larger]).findings
    assert found.reason.startswith("a checkpoint is over 1000000 spans, and the backup has")
