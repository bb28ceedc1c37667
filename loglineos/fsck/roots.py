"""The tree over the ledger's own spans: its root at the size of each checkpoint, from a few hashes that are kept."""

from __future__ import annotations

from collections.abc import Sequence

from tlog.merkle import EMPTY_ROOT, fold, leaf_hash, node_hash

from .findings import Finding, Report
from .reading import Leaf
from .sealed import Signed


class Roots:
    """Grows by the ledger's leaves, and says where their root is not the one that a checkpoint signed."""

    def __init__(self, signed: Sequence[Signed], report: Report) -> None:
        self._waiting, self._report = list(signed), report
        self._size, self._peaks = 0, list[tuple[int, bytes]]()
        self._compare()

    def take(self, leaf: Leaf) -> None:
        """The next leaf."""
        if not self._waiting:
            return
        height, digest = 0, leaf_hash(leaf.computed or b"")
        while self._peaks and self._peaks[-1][0] == height:
            digest = node_hash(self._peaks.pop()[1], digest)
            height += 1
        self._peaks.append((height, digest))
        self._size += 1
        self._compare()

    def largest_left(self) -> Signed | None:
        """The largest checkpoint that the ledger's leaves have not reached."""
        return self._waiting[-1] if self._waiting else None

    def _compare(self) -> None:
        while self._waiting and self._waiting[0].checkpoint.size == self._size:
            one = self._waiting.pop(0)
            root = fold([digest for _, digest in self._peaks]) if self._peaks else EMPTY_ROOT
            if root == one.checkpoint.root:
                self._report.proved = self._size
            else:
                sentence = f"{one.place}: the first {self._size} spans lead to another root than it signs"
                self._report.add(Finding("root_differs", sentence, index=self._size - 1))
                self._waiting.clear()  # after the first the others differ too
