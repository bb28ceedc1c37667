"""Read the archive's files back: every hash anew from their columns, held against the log's entries."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ledger.read import BEGINNING
from ledger.storage import Storage
from tlog.tiles import WIDTH, Tree

from .columns import ArchiveRefused, Spans
from .parquet import read_file
from .record import Stored


def stored_file(storage: Storage, name: str, path: Path) -> tuple[Stored, Spans]:
    """What a file in storage is, and the spans in it; it is copied to `path`. Raises ArchiveRefused."""
    if not storage.fetch(name, path):
        raise ArchiveRefused(f"{name} is missing from {storage}", name=name)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    spans = Spans(BEGINNING)
    for row in read_file(path, name):
        spans.add(row, name)
    return Stored(name, spans.count, path.stat().st_size, digest), spans


def compare_with_log(log: Tree, begin: int, spans: Spans) -> None:
    """The log's entries from `begin` on are these spans' hashes.

    Raises:
        ArchiveRefused: names the first that differs.
        LogDamaged: the log has no such entries.
    """
    end = begin + spans.count
    for number in range(begin // WIDTH, -(-end // WIDTH)):
        for index, entry in enumerate(log.entries(number), number * WIDTH):
            if begin <= index < end and entry != spans.hash(index - begin):
                raise ArchiveRefused(
                    f"span number {index} is not what the log has sealed there; run `loglineos fsck`", index=index
                )
