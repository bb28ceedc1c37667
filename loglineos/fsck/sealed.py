"""The log, checked by itself: bundles against tiles, tiles against those above, all of it against checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ledger.storage import Storage
from tlog.checkpoint import Checkpoint, open_checkpoint
from tlog.errors import LogDamaged, ProofInvalid
from tlog.merkle import leaf_hash, range_hash
from tlog.note import NoteKey
from tlog.tiles import CHECKPOINT, HISTORY, WIDTH, Tree, tile_path, tile_width

from .findings import Finding

Found = Callable[[Finding], None]
MAX_READ: Final = 200


@dataclass(frozen=True)
class Signed:
    """A checkpoint whose signature counts, and where it is kept."""

    checkpoint: Checkpoint
    place: str


class Covered(bytes):
    """In the place of an entry whose bundle is damaged: its leaf hash, by a tile that is not."""


def open_all(notes: Sequence[tuple[str, str]], keys: Sequence[NoteKey], found: Found) -> list[Signed]:
    """The checkpoints in these notes (place, text), smallest first; those that nobody trusted has signed are found."""
    opened = []
    for place, note in notes:
        try:
            opened.append(Signed(open_checkpoint(note, keys), place))
        except ProofInvalid as error:
            found(Finding("checkpoint_untrusted", f"{place}: {error.message}; of a rotated log give every key"))
    return sorted(opened, key=lambda signed: signed.checkpoint.size)


def stored_notes(storage: Storage) -> list[tuple[str, str]]:
    """The checkpoints that lie with the log, by their places: of many a selection, the newest among them."""
    history = list(storage.names(HISTORY))
    if len(history) > MAX_READ:
        history = [*history[: -MAX_READ // 2 : len(history) * 2 // MAX_READ], *history[-MAX_READ // 2 :]]
    names = [*history, CHECKPOINT]
    read = [(name, storage.read(name)) for name in names]
    return [(f"{storage}/{name}", data.decode(errors="replace")) for name, data in read if data is not None]


def sealed_entries(storage: Storage, checkpoint: Checkpoint, found: Found) -> Iterator[bytes]:
    """The entries that a checkpoint seals, in order, while every file of the log is checked.

    Where a bundle is not what its tile says, what the tile says stands in for the entries; where that is not known
    either, nothing does: an empty entry.
    """
    size = checkpoint.size
    tree = Tree(storage, size)
    for number in range(-(-size // WIDTH)):
        yield from _checked_bundle(tree, number, checkpoint.root, found)
    level = 1
    while size >> (8 * level):
        for number in range(-(-(size >> (8 * level)) // WIDTH)):
            _check_tile(tree, level, number, found)
        level += 1


def compare_roots(storage: Storage, largest: int, signed: Sequence[Signed], found: Found) -> None:
    """Does the log's tree have, at the size of each checkpoint, the root that it states?"""
    tree = Tree(storage, largest)
    for one in signed:
        size, root = one.checkpoint.size, one.checkpoint.root
        if size > largest:
            continue
        try:
            actual = tree.subtree(0, size)
        except LogDamaged:
            continue  # said of the tile itself
        if actual != root:
            sentence = f"{one.place}: it signs another root for {size} spans than the log's files lead to"
            found(Finding("checkpoint_differs", sentence))


def _checked_bundle(tree: Tree, number: int, root: bytes, found: Found) -> Sequence[bytes]:
    width = tile_width(0, number, tree.size)
    try:
        hashes: tuple[bytes, ...] | None = tree.hashes(0, number)
    except LogDamaged as error:
        found(_damage(error))
        hashes = None
    try:
        entries = tree.entries(number)
    except LogDamaged as error:
        found(_damage(error))
        if hashes is not None and _confirmed(tree, number, root):
            return [Covered(digest) for digest in hashes]
        return [b""] * width
    leaves = tuple(leaf_hash(entry) for entry in entries)
    if hashes is None or leaves == hashes:
        return entries
    if not _confirmed(tree, number, root):
        found(_edited(tile_path(0, number, width), "it is not what its entries say, nor what was signed"))
        return entries
    path = tile_path("entries", number, width)
    found(_edited(path, "its entries do not hash to their tile"))
    return [
        entry if leaf == known else Covered(known) for entry, leaf, known in zip(entries, leaves, hashes, strict=True)
    ]


def _check_tile(tree: Tree, level: int, number: int, found: Found) -> None:
    """Every hash of it is that of a full tile below."""
    try:
        hashes = tree.hashes(level, number)
    except LogDamaged as error:
        found(_damage(error))
        return
    for at, digest in enumerate(hashes):
        below = number * WIDTH + at
        try:
            computed = range_hash(tree.hashes(level - 1, below))
        except LogDamaged:
            continue  # said when it was read itself
        if computed != digest:
            path = tile_path(level, number, len(hashes))
            found(_edited(path, f"its hash {at} is not that of {tile_path(level - 1, below)}"))


def _confirmed(tree: Tree, number: int, root: bytes) -> bool:
    """Is it the tile that is right? The tile above says, or, at the right edge, the root."""
    try:
        if tile_width(0, number, tree.size) == WIDTH:
            return range_hash(tree.hashes(0, number)) == tree.hashes(1, number // WIDTH)[number % WIDTH]
        return tree.root() == root
    except LogDamaged:
        return False


def _damage(error: LogDamaged) -> Finding:
    kind = "tile_missing" if "is missing" in error.message else "tile_edited"
    return Finding(kind, error.message)


def _edited(path: str, reason: str) -> Finding:
    return Finding("tile_edited", f"{path}: {reason}")
