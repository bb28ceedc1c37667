"""Append entries to a stored tree: only what is new is written, and nothing that is there is changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from .errors import LogDamaged
from .merkle import fold, leaf_hash, perfect_ranges, range_hash
from .tiles import WIDTH, Files, Tree, encode_bundle, tile_path, tile_width


class Growing(Files, Protocol):
    """Where the tree is written as well."""

    def add_all(self, files: Iterable[tuple[str, bytes]]) -> None:
        """Write files that are never changed; the same again is fine."""


class Growth:
    """The right edge of a tree, and what is to be written beside it.

    Only the edge is in memory: at most 255 hashes for each level, whatever the size.
    """

    def __init__(self, storage: Growing, size: int, root: bytes) -> None:
        """Take up a tree where it ends. Raises LogDamaged where its stored edge does not lead to its root."""
        self._storage, self.size = storage, size
        tree = Tree(storage, size)
        self._entries = list(tree.entries(size // WIDTH)) if size % WIDTH else []
        self._levels: list[list[bytes]] = []
        level = 0
        while size >> (8 * level):
            number = (size >> (8 * level)) // WIDTH
            self._levels.append(list(tree.hashes(level, number)) if tile_width(level, number, size) else [])
            level += 1
        if self._levels and [leaf_hash(entry) for entry in self._entries] != self._levels[0]:
            raise LogDamaged("the last entries of the log do not hash to its last tile; run `loglineos fsck`")
        if self.root() != root:
            raise LogDamaged("the last tiles of the log do not lead to its checkpoint's root; run `loglineos fsck`")

    def root(self) -> bytes:
        """Of the tree as it is now."""
        peaks = []
        for hashes in reversed(self._levels):
            peaks += [range_hash(hashes[i << h : (i + 1) << h]) for h, i in perfect_ranges(0, len(hashes))]
        return fold(peaks)

    def append(self, entries: Iterable[bytes]) -> None:
        """Add entries; tiles and bundles that become full are written."""
        written: list[tuple[str, bytes]] = []
        for entry in entries:
            self._entries.append(entry)
            self.size += 1
            self._add(0, leaf_hash(entry), written)
            if len(self._entries) == WIDTH:
                written.append((tile_path("entries", self.size // WIDTH - 1), encode_bundle(self._entries)))
                self._entries = []
        self._storage.add_all(written)

    def _add(self, level: int, digest: bytes, written: list[tuple[str, bytes]]) -> None:
        if level == len(self._levels):
            self._levels.append([])
        hashes = self._levels[level]
        hashes.append(digest)
        if len(hashes) == WIDTH:
            number = (self.size >> (8 * level)) // WIDTH - 1
            written.append((tile_path(level, number), b"".join(hashes)))
            self._levels[level] = []
            self._add(level + 1, range_hash(hashes), written)

    def finish(self) -> bytes:
        """Write the partial tiles that this size needs and answer the root: then a checkpoint may be signed."""
        partial = [
            (tile_path(level, (self.size >> (8 * level)) // WIDTH, len(hashes)), b"".join(hashes))
            for level, hashes in enumerate(self._levels)
            if hashes
        ]
        if self._entries:
            path = tile_path("entries", self.size // WIDTH, len(self._entries))
            partial.append((path, encode_bundle(self._entries)))
        self._storage.add_all(partial)
        return self.root()
