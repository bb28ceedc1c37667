"""Seal what is new: take the log up where ledger and storage agree that it ends, and go on until nothing is left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, LiteralString

from ledger.connection import Connection
from ledger.database import Database
from ledger.errors import VersionConflict
from ledger.read import BEGINNING, END, Cursor
from ledger.span import format_instant
from ledger.storage import ObjectDiffers
from tlog.checkpoint import Checkpoint
from tlog.errors import LogDamaged
from tlog.growth import Growth
from tlog.merkle import EMPTY_ROOT

from .ahead import Ahead
from .chain import Chain, Sealed
from .leaves import Leaf, leaves, open_spans
from .published import publish, publish_missing, published
from .settings import SealingRefused, Settings

MAX_SPANS: Final = 65_536  # of one checkpoint: what a run that dies has to do again is never more
LOCK_KEY: Final = 0x6E6F7461  # "nota"
_LOCK: Final[LiteralString] = "SELECT pg_try_advisory_lock(%s) AS held"
_UNLOCK: Final[LiteralString] = "SELECT pg_advisory_unlock(%s)"


@dataclass
class Sealing:
    """What a run of the notary did. `more`: its time was over before everything was sealed."""

    newest: Sealed | None = None
    sealed: list[dict[str, Any]] = field(default_factory=list)
    republished: int = 0
    taken_over: bool = False
    busy: bool = False
    more: bool = False

    def as_json(self, settings: Settings) -> dict[str, Any]:
        """As db-deploy answers it."""
        newest = self.newest
        return {
            "origin": settings.origin,
            "public_key": str(settings.public_key),
            "log": str(settings.storage),
            "busy": self.busy,
            "more": self.more,
            "republished": self.republished,
            "taken_over": self.taken_over,
            "sealed": self.sealed,
            "newest": newest
            and {
                "size": newest.checkpoint.size,
                "root": newest.checkpoint.root.hex(),
                "at": format_instant(newest.span.at),
                "seq": newest.span.seq,
            },
        }


def seal(settings: Settings, seconds: float) -> Sealing:
    """Make checkpoints of at most 65,536 new spans each, until nothing is new or the seconds are over.

    Raises:
        SealingRefused: with what is wrong and what to do.
        LedgerError: the database's own.
    """
    until = time.monotonic() + seconds
    database = Database(settings.appends)
    done = Sealing()
    try:
        with alone(database) as held:
            done.busy = not held
            if held:
                with open_spans(settings.spans) as spans:
                    _Notary(settings, Chain(database, settings), spans, done).run(until)
    except VersionConflict:
        done.busy = True  # another one has sealed the same place in the log, and that counts
    finally:
        database.close()
    return done


@contextmanager
def alone(database: Database) -> Iterator[bool]:
    """One notary at a time. Should the lock be lost with its connection, the chain of checkpoints decides."""
    held = bool(database.query(None, _LOCK, [LOCK_KEY])[0]["held"])
    try:
        yield held
    finally:
        if held:
            database.query(None, _UNLOCK, [LOCK_KEY])


@dataclass
class _Notary:
    settings: Settings
    chain: Chain
    spans: Connection
    done: Sealing

    def run(self, until: float) -> None:
        """Reconcile, then seal."""
        self.done.newest = self.chain.newest()
        growth = self._take_up()
        while count := self._seal_next(growth):
            if time.monotonic() >= until:
                self.done.more = count == MAX_SPANS  # a smaller one ended with what there was
                return

    def _take_up(self) -> Growth:
        """The log where ledger and storage agree that it ends."""
        storage, newest = self.settings.storage, self.done.newest
        growth = take_up(self.settings, newest)
        there = published(storage, self.chain.known_keys())
        if newest is not None:
            self.done.republished = publish_missing(storage, self.chain, newest)
        if there is not None and there[0].size > growth.size:
            # A key that was retired since may have signed what the ledger knows, but nothing beyond it.
            there = published(storage, self.chain.note_keys(END))
            if there is not None:
                self._take_over(Ahead(*there), growth)
        return growth

    def _take_over(self, ahead: Ahead, growth: Growth) -> None:
        """The ledger lost the span of a checkpoint, but nothing that it sealed: it gets it again."""
        newest = self.done.newest
        after = newest.end if newest else BEGINNING
        entries, last = ahead.entries_in(self.spans, self.settings.storage, growth.size, after)
        self.chain.require(last)
        with _explained(growth):
            ahead.grow(growth, entries)
        self._commit(ahead.checkpoint, ahead.note, last.cursor)
        self.done.taken_over = True

    def _seal_next(self, growth: Growth) -> int:
        """One more checkpoint. How many new spans it seals; 0 if there was no reason to make one."""
        newest = self.done.newest
        walk = _Walk()
        entries = list(walk.entries(self.spans, newest.end if newest else BEGINNING))
        if walk.last is None or not walk.worth_while:
            return 0
        self.chain.require(walk.last)  # before a file is written: it could not be put right
        begin = growth.size
        with _explained(growth):
            growth.append(entries)
            checkpoint = Checkpoint(self.settings.origin, growth.size, growth.finish())
        self._commit(checkpoint, checkpoint.sign(self.settings.key), walk.last.cursor)
        said = {"size": growth.size, "root": checkpoint.root.hex(), "spans": growth.size - begin}
        self.done.sealed.append(said)
        return growth.size - begin

    def _commit(self, checkpoint: Checkpoint, note: str, end: Cursor) -> None:
        self.done.newest = self.chain.append(self.done.newest, checkpoint, note, end)
        publish(self.settings.storage, self.chain, self.done.newest)


@dataclass
class _Walk:
    """The next spans. Checkpoints alone are not worth a checkpoint: it would be the reason for the next one."""

    last: Leaf | None = None
    worth_while: bool = False

    def entries(self, spans: Connection, after: Cursor) -> Iterator[bytes]:
        """Of at most 65,536 of them."""
        for leaf in leaves(spans, after, MAX_SPANS):
            self.last = leaf
            self.worth_while = self.worth_while or leaf.entity_type != "checkpoint"
            yield leaf.entry


def take_up(settings: Settings, newest: Sealed | None) -> Growth:
    """The stored log as the ledger's newest checkpoint left it. Raises SealingRefused."""
    size, root = (newest.checkpoint.size, newest.checkpoint.root) if newest else (0, EMPTY_ROOT)
    try:
        return Growth(settings.storage, size, root)
    except LogDamaged as error:
        raise SealingRefused(
            f"the log in {settings.storage} is not the one that the ledger has sealed ({size} spans): {error.message}."
            " `loglineos fsck` names what is wrong; `loglineos checkpoint rebuild` writes the log again from the"
            " ledger's spans",
            size=size,
        ) from None


@contextmanager
def _explained(growth: Growth) -> Iterator[None]:
    """A file beyond the newest checkpoint has other content: a run wrote it, and was gone before it could sign."""
    try:
        yield
    except ObjectDiffers as error:
        raise SealingRefused(
            f"{error.message}: when a run of the notary that did not finish wrote it, the ledger had other spans behind"
            f" its newest checkpoint than now. Was an old backup restored, or a span changed? Run `loglineos fsck`."
            " Nothing was signed over them: if the restore was meant, begin a new log under another LOG_ORIGIN and"
            " ARCHIVE_LOCATION (docs/runbooks/restore.md)",
            size=growth.size,
        ) from None
