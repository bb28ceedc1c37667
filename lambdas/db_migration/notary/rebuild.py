"""Write the log again from the ledger's spans, each checkpoint's root checked on the way: for storage that lost it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ledger.database import Database
from ledger.read import BEGINNING
from ledger.storage import Storage
from tlog.growth import Growth
from tlog.merkle import EMPTY_ROOT
from tlog.tiles import checkpoint_path

from .chain import Chain, Sealed
from .leaves import leaves, open_spans
from .published import has_checkpoint, publish_newest
from .seal import alone
from .settings import SealingRefused, Settings


@dataclass
class Rebuilding:
    """How far it came: the log is whole up to `size` of `of`. `written` files were missing, `mended` ones differed."""

    size: int = 0
    of: int = 0
    checkpoints: int = 0
    written: int = 0
    mended: list[str] = field(default_factory=list)
    busy: bool = False
    more: bool = False

    def as_json(self, settings: Settings) -> dict[str, Any]:
        """As db-deploy answers it."""
        where = {"origin": settings.origin, "public_key": str(settings.public_key), "log": str(settings.storage)}
        return {**where, **self.__dict__}


def rebuild(settings: Settings, seconds: float, after: int = 0) -> Rebuilding:
    """Write every file of the log that is missing or differs from what the ledger's checkpoints signed.

    Args:
        after: the `size` at which an earlier call had no more time.

    Raises:
        SealingRefused: the ledger's spans do not lead to the root of a checkpoint; nothing is written from there on.
        LedgerError: the database's own.
    """
    until = time.monotonic() + seconds
    database = Database(settings.appends)
    done = Rebuilding(size=after)
    try:
        with alone(database) as held:
            done.busy = not held
            if held:
                _rebuild(settings, Chain(database, settings), done, until)
    finally:
        database.close()
    return done


def _rebuild(settings: Settings, chain: Chain, done: Rebuilding, until: float) -> None:
    newest = chain.newest()
    if newest is None:
        return
    done.of = newest.checkpoint.size
    held = _Held(settings.storage, done)
    before = _at(chain, done.size) if done.size else None
    growth = Growth(held, done.size, before.checkpoint.root if before else EMPTY_ROOT)
    end = before.end if before else BEGINNING
    with open_spans(settings.spans) as spans:
        for sealed in chain.forwards(before.span.seq if before else -1):
            count = sealed.checkpoint.size - growth.size
            growth.append(leaf.entry for leaf in leaves(spans, end, count))
            _require(growth, sealed)
            growth.finish()  # proofs to this size need its partial tiles, where a full one is not there yet
            held.write()
            end, done.size = sealed.end, growth.size
            done.checkpoints += 1
            if not has_checkpoint(settings.storage, sealed):
                settings.storage.add(checkpoint_path(sealed.checkpoint.size), sealed.note.encode())
                done.written += 1
            done.more = sealed.span.seq < newest.span.seq
            if done.more and time.monotonic() >= until:
                break
    if not done.more:
        publish_newest(settings.storage, chain, newest)


def _at(chain: Chain, size: int) -> Sealed:
    for sealed in chain.backwards():
        if sealed.checkpoint.size == size:
            return sealed
    raise SealingRefused(f"the ledger has no checkpoint of {size} spans: begin the rebuild anew, without `after`")


def _require(growth: Growth, sealed: Sealed) -> None:
    if growth.size != sealed.checkpoint.size or growth.root() != sealed.checkpoint.root:
        raise SealingRefused(
            f"the ledger's spans do not lead to the root of its checkpoint of {sealed.checkpoint.size} spans (seq"
            f" {sealed.span.seq}): spans are missing or were changed. The log is left as it is from there on; run"
            " `loglineos fsck`",
            size=sealed.checkpoint.size,
        )


@dataclass
class _Held:
    """Storage for a tree whose files are held back until a checkpoint has confirmed them; then what differs goes."""

    storage: Storage
    done: Rebuilding
    files: list[tuple[str, bytes]] = field(default_factory=list)

    def __str__(self) -> str:
        return str(self.storage)

    def read(self, name: str) -> bytes | None:
        return self.storage.read(name)

    def add_all(self, files: Iterable[tuple[str, bytes]]) -> None:
        self.files += files

    def write(self) -> None:
        """What was held back."""
        there = self.storage.read_all(name for name, _ in self.files)
        missing = [(name, data) for name, data in self.files if there[name] is None]
        self.storage.add_all(missing)
        self.done.written += len(missing)
        for name, data in self.files:
            if there[name] not in (None, data):
                self.storage.replace(name, data)
                self.done.mended.append(name)
        self.files = []
