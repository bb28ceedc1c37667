"""The action `archive`: sealed spans that are old enough into Parquet, range after range, until its time is over."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from ledger.connection import Connection, connect
from ledger.database import Database
from ledger.errors import LedgerError
from ledger.storage import Storage, storage_at
from tlog.tiles import Tree

from ..notary.settings import Settings
from .check import compare_with_log, stored_file
from .columns import ArchiveRefused, Spans
from .parquet import SpanFile
from .record import Checkpoint, Record, Stored
from .same import require_same
from .source import in_order, rows

FILE_SPANS: Final = 100_000
FILE_BYTES: Final = 128 * 1024 * 1024
FOLDER: Final = "spans"
_LOCK: Final = "SELECT pg_try_advisory_lock(hashtextextended('loglineos archive', 0)) AS locked"
_UNLOCK: Final = "SELECT pg_advisory_unlock(hashtextextended('loglineos archive', 0))"
_LOCK_TRIES: Final = 10
_LOCK_PAUSE_S: Final = 0.3
_COUNT: Final = re.compile(r"\d{20}-(\d+)\.parquet")


class ArchiveBusy(LedgerError):
    """Another run of the archive is at work."""

    code = "archive_busy"


@dataclass(frozen=True)
class Archive:
    """The ledger, its log and its archive."""

    record: Record
    ledger: Connection
    storage: Storage
    log: Storage

    def next_range(self, before: datetime) -> dict[str, Any] | None:
        """Archive the next file's worth of spans. None: no more of them are old enough."""
        covering = self.record.covering(before)
        if covering is None:
            return None
        first, last = covering
        require_same(self.ledger, self.record, last)
        with tempfile.TemporaryDirectory(prefix="loglineos-archive-") as folder:
            spans, file = self._keep(first.month, last, Path(folder) / "spans.parquet")
        span = self.record.add(spans, [file], last)
        metadata = span.metadata or {}
        return {"seq": span.seq, "month": first.month, **{key: metadata[key] for key in ("from", "to", "files")}}

    def _keep(self, month: str, checkpoint: Checkpoint, path: Path) -> tuple[Spans, Stored]:
        """Write the file of the next spans, or take the one that an interrupted run left, and read it back."""
        begin = self.record.archived
        prefix = f"{FOLDER}/month={month}/{begin:020}-"
        name = next(iter(self.storage.names(prefix)), None)
        if name is None:
            spans = self._read(checkpoint, min(checkpoint.size - begin, FILE_SPANS), path)
            name = f"{prefix}{spans.count}.parquet"
            self.storage.add_file(name, path)
            path.unlink()
        else:
            spans = self._read_again(checkpoint, name)
        file, read_back = stored_file(self.storage, name, path, self.record.end)
        if not read_back.same_as(spans):
            raise _in_the_way(name, f"does not hold the spans of the ledger from number {begin} on", self.storage)
        return spans, file

    def _read_again(self, checkpoint: Checkpoint, name: str) -> Spans:
        """What a file must hold that is there already. It may have been asked for more than is old enough now."""
        found = _COUNT.fullmatch(name.rpartition("/")[2])
        count = int(found[1]) if found else 0
        to = self.record.archived + count
        sealing = checkpoint if to <= checkpoint.size else self.record.sealing(to)
        if not count or sealing is None:
            raise _in_the_way(name, "is none of the archive's files", self.storage)
        return self._read(sealing, count, None)

    def _read(self, checkpoint: Checkpoint, count: int, path: Path | None) -> Spans:
        """Read the next spans and hold them against the log. With a path they are written there: as many of them as
        have a place in one file."""
        begin, spans = self.record.archived, Spans(self.record.end)
        with ExitStack() as stack:
            file = stack.enter_context(SpanFile(path)) if path else None
            for row in rows(self.ledger, spans.end, checkpoint.end, count):
                spans.add(row, "the ledger")
                if file:
                    file.add(row)
                    if file.written >= FILE_BYTES:
                        count = spans.count
                        break
        compare_with_log(Tree(self.log, checkpoint.size), begin, spans)
        to = begin + spans.count
        if spans.count < count or (to == checkpoint.size) != (spans.end == checkpoint.end):
            raise ArchiveRefused(
                f"the ledger has {to} spans where the checkpoint of size {checkpoint.size} has sealed more, or others."
                " If the reports' replica lags, try again; else run `loglineos fsck`",
                index=to,
            )
        return spans


def _in_the_way(name: str, what: str, storage: Storage) -> ArchiveRefused:
    return ArchiveRefused(
        f"{name} in {storage} {what}, and is in the way of the archive: find out who wrote it, and move it elsewhere",
        name=name,
    )


def archive(older_than_days: int, seconds: float, environment: Mapping[str, str]) -> dict[str, Any]:
    """Archive what was sealed that many days ago, for about `seconds`. Raises LedgerError.

    Answers how many spans are `archived`, how many were `sealed` by then, the `ranges` of this run, and whether
    there is `more`.
    """
    end = time.monotonic() + seconds
    before = datetime.now(UTC) - timedelta(days=older_than_days)
    done: list[dict[str, Any]] = []
    with _opened(environment) as archive:
        sealed = archive.record.sealed(before)
        while archive.record.archived < sealed and (not done or time.monotonic() < end):
            made = archive.next_range(before)
            if made is None:
                break
            done.append(made)
        archived = archive.record.archived
    return {"archived": archived, "sealed": sealed, "ranges": done, "more": archived < sealed}


@contextmanager
def _opened(environment: Mapping[str, str]) -> Iterator[Archive]:
    """The archive for one writer at a time."""
    settings = Settings.from_environment(environment)
    with ExitStack() as stack:
        database = Database(settings.appends)
        stack.callback(database.close)
        _lock(database)
        stack.callback(database.query, None, _UNLOCK)
        record = Record(database, settings)
        ledger = in_order(stack.enter_context(connect(settings.reports)))
        yield Archive(record, ledger, storage_at(environment["ARCHIVE_LOCATION"]), settings.storage)


def _lock(database: Database) -> None:
    """Let no other run in. One that was killed a moment ago may still have its session on the server."""
    for attempt in range(_LOCK_TRIES):
        if attempt:
            time.sleep(_LOCK_PAUSE_S)
        if database.query(None, _LOCK) == [{"locked": True}]:
            return
    raise ArchiveBusy("another run is archiving at this moment; try again when it is through")
