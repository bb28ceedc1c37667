"""One run of fsck: the log by itself, the ledger by itself, and both beside each other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, LiteralString

from ledger.connection import Connection, Target
from ledger.errors import VerificationFailed
from ledger.ids import derived_id
from ledger.keys import Use
from ledger.proof import verify
from ledger.read import Cursor, span_of
from ledger.storage import Storage
from tlog.note import NoteKey

from .alignment import Alignment, missing
from .findings import Finding, Report
from .reading import (
    Horizon,
    Leaf,
    Stretch,
    estimated_spans,
    horizon_of,
    key_ring,
    last_position,
    misplaced,
    open_ledger,
    processors,
    read_all,
    unguarded,
)
from .roots import Roots
from .sealed import Signed, compare_roots, open_all, sealed_entries, stored_notes

TAILS: Final = frozenset({"tail_missing", "old_backup"})
WORTH_PROCESSES: Final = 20_000  # spans
SKIPPED: Final = 32  # positions that PostgreSQL's recovery may pass over (SEQ_LOG_VALS): whoever restores begins an era
TAIL_TOLD: Final = 20  # spans of a missing tail that are named
_CHECKPOINTS: Final[LiteralString] = """
SELECT * FROM ledger.universal_registry WHERE id = %s AND metadata -> 'size' = to_jsonb(%s::bigint)
"""
_SEALED_BY: Final[LiteralString] = """
SELECT count(*) AS count FROM ledger.universal_registry
 WHERE owner_id = 'notary' AND tenant_id = 'system' AND entity_type = 'checkpoint'
"""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Plan:
    """What to check, against what.

    `roots` are public keys (hex) by use, from which the manifest's announcements are believed; `keys` those whose
    checkpoints count; `notes` checkpoints that are kept elsewhere: (place, text);
    `jobs` how many processes share the work, None is what this machine is worth. `signed_from` is the number of the
    span from which on the loader signed everything; None: that of the first that it signed.
    """

    target: Target
    roots: Mapping[Use, Collection[str]]
    storage: Storage | None = None
    keys: Sequence[NoteKey] = ()
    notes: Sequence[tuple[str, str]] = ()
    jobs: int | None = None
    progress: Progress = field(default=lambda _done, _all: None, repr=False)
    signed_from: int | None = None


def fsck(plan: Plan) -> Report:
    """Check everything. Memory is flat, whatever the size of the ledger.

    Raises:
        LedgerUnavailable: the database cannot be reached.
    """
    report = Report()
    stored = stored_notes(plan.storage) if plan.storage else []
    signed = open_all([*plan.notes, *stored], plan.keys, report.add)
    report.checkpoints = len({one.checkpoint for one in signed})
    if signed:
        report.origin, report.sealed = signed[-1].checkpoint.origin, signed[-1].checkpoint.size
    with open_ledger(plan.target) as connection:
        horizon = horizon_of(connection)
        ledger = _Ledger(plan, connection, horizon, signed, report)
        if plan.storage is not None and not stored:
            report.add(*_no_log(plan, connection))
        elif plan.storage is not None:
            newest = _newest_of_log(plan.storage, signed, stored, report)
            if newest is not None:
                _compare(plan.storage, newest, _sealed_end(plan, connection, newest), ledger, report)
                compare_roots(plan.storage, newest.checkpoint.size, signed, report.add)
        for _ in ledger.leaves():  # what no checkpoint has sealed yet, or all of it
            pass
        report.add(*ledger.beyond(), *misplaced(connection), *unguarded(connection, horizon))
    return report


class _Ledger:
    """The leaves of the ledger, once, in order; what else was found on the way goes to the report."""

    def __init__(
        self, plan: Plan, connection: Connection, horizon: Horizon, signed: Sequence[Signed], report: Report
    ) -> None:
        self._report, self._roots = report, Roots(signed, report)
        self._estimate, self._progress = estimated_spans(connection), plan.progress
        self.era, self.last_position = horizon.era, last_position(connection)
        self._signed_from = plan.signed_from
        ring = key_ring(connection, plan.roots)
        # Processes are worth their start only where there is much to do.
        jobs = plan.jobs or (1 if self._estimate < WORTH_PROCESSES else processors())
        self._leaves = self._read(read_all(plan.target, connection, horizon, ring, jobs))
        self._next: Leaf | None = None

    def leaves(self, end: Cursor | None = None) -> Iterator[Leaf]:
        """The leaves that were not yet given, up to and with the one at `end`."""
        while (leaf := self._next or next(self._leaves, None)) is not None:
            if end is not None and leaf.cursor > end:
                self._next = leaf
                return
            self._next = None
            yield leaf

    def beyond(self) -> Iterator[Finding]:
        """Of a checkpoint that is larger than the whole ledger, where nothing has told of its end."""
        largest = self._roots.largest_left()
        if largest is not None and not any(one.kind in TAILS for one in self._report.found):
            sentence = f"{largest.place} seals {largest.checkpoint.size} spans, the ledger has {self._report.spans}"
            yield Finding("tail_missing", sentence, index=self._report.spans)

    def _read(self, stretches: Iterator[Stretch]) -> Iterator[Leaf]:
        report = self._report
        for stretch in stretches:
            report.add(*stretch.findings, *self._unsigned(stretch))
            for signer, count in stretch.signatures.items():
                report.signatures[signer] = report.signatures.get(signer, 0) + count
            for leaf in stretch.leaves:
                self._roots.take(leaf)
                yield leaf
            report.spans += len(stretch.leaves)
            self._progress(report.spans, max(self._estimate, report.spans))

    def _unsigned(self, stretch: Stretch) -> Iterator[Finding]:
        """Of what the loader writes: once it signs, it signs everything."""
        before = self._report.spans
        if self._signed_from is None and stretch.loader_signed:
            self._signed_from = before + stretch.loader_signed[0]
        for at in stretch.loader_unsigned:
            if self._signed_from is not None and before + at >= self._signed_from:
                leaf = stretch.leaves[at]
                sentence = f"it is not signed, and from number {self._signed_from} on all that the loader writes is"
                yield Finding("signature_missing", sentence, f"{leaf.id} seq {leaf.seq}", cursor=leaf.cursor)


def _newest_of_log(
    storage: Storage, signed: Sequence[Signed], stored: Sequence[tuple[str, str]], report: Report
) -> Signed | None:
    """The log's newest checkpoint: and is it as large as every one that it signed, wherever that is kept?"""
    places = {place for place, _ in stored}
    newest = next((one for one in reversed(signed) if one.place in places), None)
    size = newest.checkpoint.size if newest else 0
    for one in signed:
        if one.checkpoint.size > size:
            sentence = f"{one.place} was signed for {one.checkpoint.size} spans, {storage} has a checkpoint for {size}"
            report.add(Finding("log_behind", sentence))
    return newest


def _no_log(plan: Plan, connection: Connection) -> Iterator[Finding]:
    """Without a checkpoint in the log nothing is compared, which is well only where nothing was ever sealed."""
    said = [f"the ledger tells of {row['count']}" for row in connection.execute(_SEALED_BY) if row["count"]]
    if plan.notes:
        said.append(f"{plan.notes[0][0]} was given")
    if said:
        yield Finding("log_missing", f"{plan.storage} has no checkpoint, but {' and '.join(said)}")


def _compare(storage: Storage, newest: Signed, end: Cursor | None, ledger: _Ledger, report: Report) -> None:
    """What was sealed, beside what is there; `end` is where the last sealed span stands, if that is known."""
    alignment = Alignment(report.add, bounded=end is not None)
    alignment.run(sealed_entries(storage, newest.checkpoint, report.add), ledger.leaves(end))
    if alignment.tail:
        report.add(*_tail(ledger, alignment, bounded=end is not None))


def _sealed_end(plan: Plan, connection: Connection, newest: Signed) -> Cursor | None:
    """Where the last sealed span stands, if the ledger still has the span of this checkpoint, signed by its key."""
    checkpoint = newest.checkpoint
    given = [derived_id("checkpoint", checkpoint.origin), checkpoint.size]
    row = connection.execute(_CHECKPOINTS, given).fetchone()
    if row is None:
        return None
    span = span_of(row)
    try:
        verify(span, {key.public_key.hex() for key in plan.keys})
    except VerificationFailed:
        return None
    metadata = span.metadata or {}
    return Cursor.parse(metadata["end"]) if metadata.get("root") == checkpoint.root.hex() else None


def _tail(ledger: _Ledger, alignment: Alignment, bounded: bool) -> Iterator[Finding]:
    """Sealed spans after the last that is there. Their positions tell whether this database ever had them.

    Where the checkpoint over them is there they were, whatever was restored since.
    """
    last, count = alignment.tail[0].after, alignment.tail_count
    following = alignment.follower
    begun = following.cursor.position if following else ledger.last_position + 1
    room = begun - (last.cursor.position if last else 0) - 1
    if last is not None and ledger.era > last.cursor.era:
        room -= SKIPPED
    kind = "old_backup" if room < count and not bounded else "tail_missing"
    after = f"after {last.id} seq {last.seq}" if last else "from the very beginning"
    yield Finding(kind, f"{count} sealed spans are missing {after}", index=alignment.tail[0].index)
    for entry in alignment.tail[:TAIL_TOLD]:
        yield missing(entry)
