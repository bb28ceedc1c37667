"""Lay the ledger's spans beside what was sealed, and say of each difference what it is.

Both are long, and what is held of them is not: after a difference the next place where they agree is looked for within
a window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from tlog.merkle import leaf_hash

from .findings import Finding
from .reading import Leaf
from .sealed import Covered

WINDOW: Final = 4096
MAX_LOOSE: Final = 100_000  # differences that are kept to tell what was moved from what is missing

Item = TypeVar("Item")
Found = Callable[[Finding], None]


@dataclass(frozen=True)
class Entry:
    """What was sealed at a place of the log, and between which spans it stood. `hash` is as sealed.py gives it."""

    index: int
    hash: bytes
    after: Leaf | None


class Ahead(Generic[Item]):
    """An iterator that can be looked into, as far as the window."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items, self._seen = iter(items), deque[Item]()

    def window(self, size: int) -> list[Item]:
        """The next items, at most so many."""
        while len(self._seen) < size and (item := next(self._items, None)) is not None:
            self._seen.append(item)
        return list(self._seen)

    def first(self) -> Item | None:
        """The next item, None at the end."""
        if not self._seen and (item := next(self._items, None)) is not None:
            self._seen.append(item)
        return self._seen[0] if self._seen else None

    def skip(self, count: int) -> None:
        """Go on by so many."""
        for _ in range(count):
            self._seen.popleft()


class Alignment:
    """Sealed entries on one side, leaves of the ledger on the other.

    `bounded`: the leaves end where the sealed ones do. If not, unsealed ones follow, and where nothing agrees any more
    the rest of the entries is a `tail` that the ledger does not have. `follower` is the leaf that comes instead of it.
    """

    def __init__(self, found: Found, *, bounded: bool) -> None:
        self._found, self._bounded = found, bounded
        self._loose_entries: dict[bytes, Entry] = {}
        self._loose_leaves: dict[bytes, tuple[int, Leaf]] = {}
        self.tail: list[Entry] = []
        self.tail_count = 0
        self.follower: Leaf | None = None

    def run(self, entries: Iterator[bytes], leaves: Iterator[Leaf]) -> None:
        """Compare to the end; findings come when everything has been seen."""
        sealed, ledger = Ahead(entries), Ahead(leaves)
        index, last = 0, None
        while (entry := sealed.first()) is not None:
            leaf = ledger.first()
            if leaf is not None and (leaf.computed == entry or _covers(entry, leaf.computed)):
                last = leaf
                sealed.skip(1)
                ledger.skip(1)
                index += 1
                continue
            window = sealed.window(WINDOW), ledger.window(WINDOW) if leaf is not None else []
            lost, extra, agrees = _next_agreement(*window)
            if not (
                entry or agrees or self._bounded
            ):  # nobody knows what was sealed there: let it be what stands there
                lost = extra = min(_unknown(window[0]), len(window[1]))
                agrees = True
            if leaf is None or not (agrees or self._bounded):
                self.follower = leaf
                self._take_tail(Entry(index, entry, last), sealed)
                break
            last = self._differ(Entry(index, entry, last), window[0][:lost], window[1][:extra])
            sealed.skip(lost)
            ledger.skip(extra)
            index += lost
        while self._bounded and (leaf := ledger.first()) is not None:
            self._keep_leaf(index, leaf)
            ledger.skip(1)
        self._tell()

    def _take_tail(self, first: Entry, sealed: Ahead[bytes]) -> None:
        while (digest := sealed.first()) is not None:
            if len(self.tail) < MAX_LOOSE:
                self.tail.append(Entry(first.index + self.tail_count, digest, first.after))
            self.tail_count += 1
            sealed.skip(1)

    def _differ(self, first: Entry, entries: list[bytes], leaves: list[Leaf]) -> Leaf | None:
        """What is between two places of agreement. Answers the last leaf before the second one."""
        last = first.after
        if len(entries) != len(leaves) and not all(entries):
            self._found(_count_differs(first.index, len(entries), len(leaves)))
            return leaves[-1] if leaves else last
        for at, (digest, leaf) in enumerate(zip(entries, leaves, strict=False)):
            self._pair(Entry(first.index + at, digest, last), leaf)
            last = leaf
        for at in range(len(leaves), len(entries)):
            self._keep_entry(Entry(first.index + at, entries[at], last))
        for leaf in leaves[len(entries) :]:
            self._keep_leaf(first.index + len(entries), leaf)
            last = leaf
        return last

    def _pair(self, entry: Entry, leaf: Leaf) -> None:
        """Two that stand at the same place: the same span, changed, or two that changed places with others."""
        if not entry.hash:
            return
        if leaf.stored == entry.hash or _covers(entry.hash, leaf.stored):
            # Its own hash is still there: the row's own check has said that it was edited; this says where.
            self._found(_about("edited", entry.index, leaf, f"it was sealed as {_short(entry.hash)}, its own hash"))
            return
        self._keep_entry(entry)
        self._keep_leaf(entry.index, leaf)

    def _keep_entry(self, entry: Entry) -> None:
        if len(self._loose_entries) < MAX_LOOSE and entry.hash:
            self._loose_entries[entry.hash] = entry

    def _keep_leaf(self, index: int, leaf: Leaf) -> None:
        if len(self._loose_leaves) < MAX_LOOSE:
            self._loose_leaves[leaf.computed or f"{leaf.id} {leaf.seq}".encode()] = (index, leaf)

    def _tell(self) -> None:
        for digest in list(self._loose_leaves):
            known = self._loose_entries.pop(digest, None)
            entry = known or self._loose_entries.pop(leaf_hash(digest), None)
            if entry is None:
                continue
            index, leaf = self._loose_leaves.pop(digest)
            self._found(_about("moved", entry.index, leaf, f"sealed as number {entry.index}, it stands at {index}"))
        at_place = {entry.index: entry for entry in self._loose_entries.values()}
        for index, leaf in self._loose_leaves.values():
            changed = at_place.pop(index, None)
            if changed is not None:
                sentence = f"sealed as {_short(changed.hash)}, it is now {_short(leaf.computed or b'')}"
                self._found(_about("replaced", index, leaf, sentence))
            else:
                self._found(_about("inserted", index, leaf, f"it stands before number {index} and was never sealed"))
        for entry in at_place.values():
            self._found(missing(entry))


def missing(entry: Entry) -> Finding:
    """A sealed span that is gone: the log has its hash and its place, and nothing else of it."""
    before = f"after {entry.after.id} seq {entry.after.seq}" if entry.after else "at the very beginning"
    covered = "leaf hash " if isinstance(entry.hash, Covered) else ""
    digest = f"{covered}{entry.hash.hex()}" if entry.hash else "of which the damaged log has no hash"
    return Finding("missing", f"number {entry.index} ({digest}) stood {before}", index=entry.index)


def _count_differs(index: int, sealed: int, there: int) -> Finding:
    """Where the log does not say any more what was sealed, it still says how many."""
    kind = "missing" if there < sealed else "inserted"
    sentence = f"of {sealed} spans from here on the log's files are damaged, and in their place stand {there}"
    return Finding(kind, sentence, index=index)


def _covers(entry: bytes, digest: bytes | None) -> bool:
    return isinstance(entry, Covered) and digest is not None and leaf_hash(digest) == entry


def _unknown(entries: list[bytes]) -> int:
    """How many of the first say nothing."""
    return next((at for at, entry in enumerate(entries) if entry), len(entries))


def _next_agreement(entries: list[bytes], leaves: list[Leaf]) -> tuple[int, int, bool]:
    """How many of each to pass over until both agree again; all of the window, and False, where they don't."""
    place = {leaf.computed: at for at, leaf in reversed(list(enumerate(leaves))) if leaf.computed}
    if any(isinstance(entry, Covered) for entry in entries):
        place |= {leaf_hash(digest): at for digest, at in place.items()}
    best, agrees = (len(entries), len(leaves)), False
    for at, entry in enumerate(entries):
        if at >= sum(best):
            break
        other = place.get(entry)
        if other is not None and at + other < sum(best):
            best, agrees = (at, other), True
    return *best, agrees


def _about(kind: str, index: int, leaf: Leaf, message: str) -> Finding:
    return Finding(kind, message, f"{leaf.id} seq {leaf.seq}", index, leaf.cursor)


def _short(digest: bytes) -> str:
    return f"{digest.hex()[:16]}…"
