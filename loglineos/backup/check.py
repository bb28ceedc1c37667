"""Check spans as they pass by: each by itself, and all of them together. Memory stays flat, whatever their number."""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from ledger.errors import VerificationFailed
from ledger.proof import verify
from ledger.read import BEGINNING, Cursor, cursor_of
from ledger.span import Span

from .errors import BackupDamaged
from .manifest import KnownCheckpoint, Manifest, Newest, Place
from .rows import read_line
from .tree import Edge

MAX_FINDINGS: Final = 10_000
_CHUNK: Final = 500
_SCHEMA: Final = """
CREATE TABLE version (id BLOB, seq INTEGER, hash BLOB, prev BLOB, whose BLOB, PRIMARY KEY (id, seq)) WITHOUT ROWID
"""
_NAMED: Final = re.compile(rb"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\t(\d+)\t")
_BROKEN: Final = """
SELECT id, seq, prev IS NOT before FROM (
  SELECT id, seq, prev, whose, lag(hash) OVER w AS before, lag(whose) OVER w AS was
    FROM version WINDOW w AS (PARTITION BY id ORDER BY seq))
 WHERE prev IS NOT before OR (was IS NOT NULL AND was <> whose) ORDER BY id, seq
"""

Report = Callable[[BackupDamaged], None]
Which = tuple[UUID, int]  # a span's id and seq


class Findings:
    """What was reported: how much, and the first of it."""

    def __init__(self) -> None:
        self.count, self.first = 0, list[BackupDamaged]()

    def add(self, finding: BackupDamaged) -> None:
        """A Report."""
        self.count += 1
        if self.count <= MAX_FINDINGS:
            self.first.append(finding)


@dataclass(frozen=True)
class _Checked:
    """What of a span is compared with other spans. `problem`: it is not what its own hash or signature says."""

    which: Which
    hash: bytes
    prev: bytes | None
    whose: bytes
    cursor: Cursor
    signed: bool
    problem: str | None


@dataclass(frozen=True)
class _Unread:
    """A line that nothing can be compared of; `which`, if it says so much."""

    problem: str
    which: Which | None


class Checker:
    """All spans of a folder, in order. `report` is told what is wrong, and may raise."""

    def __init__(self, report: Report, checkpoints: Iterable[KnownCheckpoint] = ()) -> None:
        self._report = report
        self._edge = Edge()
        self._sealed: dict[int, list[KnownCheckpoint]] = {}
        for checkpoint in checkpoints:
            self._sealed.setdefault(checkpoint.size, []).append(checkpoint)
        self._versions = sqlite3.connect("")  # in a temporary file, as soon as it is large
        self._versions.execute(_SCHEMA)
        self._last = BEGINNING
        self._span: _Checked | None = None
        self._file = "the backup"
        self.whole = True  # false once something is missing: then what follows from all spans is not asked for
        self.signed = 0

    @property
    def total(self) -> int:
        """How many spans it has seen."""
        return self._edge.size

    def pass_on(self, manifest: Manifest, chunks: Iterable[list[bytes]]) -> Iterator[list[bytes]]:
        """The same chunks of lines, each after it was checked; at the end, the manifest's own figures were too."""
        digest, before = hashlib.sha256(), self.total
        self._file = manifest.file.name
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # checking a signature needs no interpreter
            waiting: deque[tuple[list[bytes], list[Future[list[_Checked | _Unread]]]]] = deque()
            for chunk in chunks:
                parts = [chunk[n : n + _CHUNK] for n in range(0, len(chunk), _CHUNK)]
                waiting.append((chunk, [pool.submit(_check_lines, part, manifest.columns) for part in parts]))
                if len(waiting) > 2:
                    yield self._collect(manifest, digest, *waiting.popleft())
            while waiting:
                yield self._collect(manifest, digest, *waiting.popleft())
        if not self.whole:
            return
        if self.total - before != manifest.count or self.total != manifest.total:
            self._say(manifest.file.name, f"it has {self.total - before} spans, and its manifest says {manifest.count}")
        elif digest.hexdigest() != manifest.digest:
            self._say(manifest.file.name, "its spans are not those of its manifest: their hashes have another digest")
        elif self._newest() != manifest.newest:
            self._say(manifest.file.name, "its last span is not the one that its manifest names")
        elif [peak.hex() for peak in self._edge.peaks] != manifest.peaks:
            self._say(manifest.name, "its Merkle tree is not that of the spans")

    def finish(self) -> None:
        """Check what only shows when all spans have been seen: the chains of versions."""
        if self.whole:
            for raw, seq, unlinked in self._versions.execute(_BROKEN):
                what = "does not follow the version before it" if unlinked else "changes owner, tenant or type"
                self._say(self._file, what, (UUID(bytes=raw), seq))
            for size in self._sealed:
                if size > self.total:
                    self._say(self._file, f"a checkpoint is over {size} spans, and the backup has {self.total}")
        self._versions.close()

    def _newest(self) -> Newest | None:
        if self._span is None:
            return None
        span, place = self._span, Place.of(self._span.cursor)
        return Newest(id=str(span.which[0]), seq=span.which[1], curr_hash=span.hash.hex(), place=place)

    def _collect(
        self,
        manifest: Manifest,
        digest: hashlib._Hash,
        chunk: list[bytes],
        parts: Sequence[Future[list[_Checked | _Unread]]],
    ) -> list[bytes]:
        found = [one for part in parts for one in part.result()]
        for one in found:
            if one.problem:
                self._say(manifest.file.name, one.problem, one.which)
            if isinstance(one, _Unread):
                self.whole = False
            else:
                self._place(manifest, one)
                digest.update(one.hash)
        self._remember(manifest, [one for one in found if isinstance(one, _Checked)])
        return chunk

    def _place(self, manifest: Manifest, span: _Checked) -> None:
        after, horizon = manifest.after.cursor, manifest.horizon.cursor
        if not max(self._last, after) < span.cursor < horizon:
            self._say(manifest.file.name, "stands where it does not belong in the order", span.which)
        self._last, self._span = span.cursor, span
        self.signed += span.signed
        self._edge.add(span.hash)
        for known in self._sealed.get(self.total, []) if self.whole else []:
            if self._edge.root().hex() != known.root:
                what = f"its first {known.size} spans are not those that the checkpoint of {known.origin} sealed"
                self._say(manifest.file.name, what)

    def _remember(self, manifest: Manifest, spans: list[_Checked]) -> None:
        rows = [(span.which[0].bytes, span.which[1], span.hash, span.prev, span.whose) for span in spans]
        before = self._versions.total_changes
        self._versions.executemany("INSERT OR IGNORE INTO version VALUES (?, ?, ?, ?, ?)", rows)
        if self._versions.total_changes - before < len(rows):
            self._say(manifest.file.name, "a span stands in the backup twice")

    def _say(self, file: str, reason: str, which: Which | None = None) -> None:
        self._report(BackupDamaged(file, f"span {which[0]} seq {which[1]} {reason}" if which else reason, which))


def _check_lines(lines: Sequence[bytes], columns: Sequence[str]) -> list[_Checked | _Unread]:
    return [_check_line(line, columns) for line in lines]


def _check_line(line: bytes, columns: Sequence[str]) -> _Checked | _Unread:
    """What is to be compared, and what is wrong with it."""
    try:
        span = read_line(line, columns)
        digest = bytes.fromhex(span.curr_hash or "")
        before, whose, cursor = _raw(span.prev_hash), _whose(span), cursor_of(span)
    except (ValueError, TypeError) as error:
        found = _NAMED.match(line)
        if found:
            return _Unread(f"cannot be read: {error}", (UUID(found[1].decode()), int(found[2])))
        return _Unread(f"a line is no span: {error} ({line[:36].decode(errors='replace')}…)", None)
    signed, problem = False, None
    try:
        signed = verify(span, None)
    except VerificationFailed as error:
        problem = f"is not what it was: {error.reason}"
    return _Checked((span.id, span.seq), digest, before, whose, cursor, signed, problem)


def _raw(prev_hash: str | None) -> bytes | None:
    return bytes.fromhex(prev_hash) if prev_hash else None


def _whose(span: Span) -> bytes:
    """What all versions of a span share."""
    shared = "\0".join([span.owner_id, span.tenant_id or "", span.entity_type])
    return hashlib.sha256(shared.encode()).digest()[:8]
