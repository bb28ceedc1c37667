"""The root of the log over spans that pass by once: only the right edge of the tree is kept."""

from __future__ import annotations

from collections.abc import Sequence

from tlog.merkle import fold, leaf_hash, node_hash


class Edge:
    """A tree of `size` leaves, by the roots of its perfect subtrees, largest first (RFC 6962, 2.1)."""

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        if size.bit_count() != len(peaks):
            raise ValueError(f"a tree of {size} leaves has {size.bit_count()} perfect subtrees, not {len(peaks)}")
        self.size, self.peaks = size, list(peaks)

    def add(self, entry: bytes) -> None:
        """One more leaf."""
        node, size = leaf_hash(entry), self.size
        while size & 1:
            node, size = node_hash(self.peaks.pop(), node), size >> 1
        self.peaks.append(node)
        self.size += 1

    def root(self) -> bytes:
        """Of the tree as it is now."""
        return fold(self.peaks)
