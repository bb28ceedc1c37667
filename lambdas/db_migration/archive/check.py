"""Read the archive's files back: every hash anew from their columns, held against the log's entries and the record."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ledger.errors import InvalidInput, LedgerError
from ledger.read import Cursor
from ledger.storage import Storage
from tlog.tiles import WIDTH, Tree

from .columns import ArchiveRefused, Spans
from .parquet import read_file
from .record import Stored


def stored_file(storage: Storage, name: str, path: Path, after: Cursor) -> tuple[Stored, Spans]:
    """What a file in storage is, and the spans in it, all behind `after`; it is copied to `path`.

    Raises:
        ArchiveRefused: it is missing, is no such file, or holds spans that are not what they were.
    """
    if not storage.fetch(name, path):
        raise ArchiveRefused(f"{name} is missing from {storage}", name=name)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    spans = Spans(after)
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


@dataclass(frozen=True)
class Range:
    """What an `archive` span says of the spans [begin, to): where the last one stands, digest, files."""

    begin: int
    to: int
    end: Cursor
    digest: str
    files: tuple[Stored, ...]

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Range:
        """From the span's metadata. Raises ArchiveRefused."""
        try:
            files = tuple(Stored(**file) for file in metadata["files"])
            place = Cursor.parse(metadata["end"])
            return cls(int(metadata["from"]), int(metadata["to"]), place, str(metadata["digest"]), files)
        except (KeyError, TypeError, ValueError, InvalidInput):
            raise ArchiveRefused("its metadata do not say which range it is of") from None


def problems_of(told: Range, after: Cursor, storage: Storage, log: Tree | None) -> Iterator[tuple[str | None, str]]:
    """What is wrong with the files of a range: the file's name, or None where it is the whole range, and a sentence.

    `after` is where the range before it ends; `log` a tree that has the range.
    """
    whole = Spans(after)
    for file in told.files:
        begin = told.begin + whole.count
        try:
            spans = _as_recorded(file, storage, whole.end)
            if log is not None:
                compare_with_log(log, begin, spans)
        except LedgerError as error:
            yield file.name, error.message
            return
        whole.hashes += spans.hashes
        whole.end = spans.end
    if whole.count != told.to - told.begin:
        yield None, f"its files hold {whole.count} spans, and it says {told.to - told.begin}"
    elif whole.digest != told.digest:
        yield None, "its files' hashes have another digest than it says"
    elif whole.end != told.end:
        yield None, "its last span stands elsewhere than it says"


def _as_recorded(file: Stored, storage: Storage, after: Cursor) -> Spans:
    with tempfile.TemporaryDirectory(prefix="loglineos-archive-") as folder:
        found, spans = stored_file(storage, file.name, Path(folder) / "spans.parquet", after)
    if found.sha256 != file.sha256:
        raise ArchiveRefused(f"its SHA-256 is {found.sha256}, and {file.sha256} was recorded: it was changed")
    if found != file:
        raise ArchiveRefused(f"it holds {found.count} spans, and {file.count} were recorded")
    return spans
