"""The log may know more than the ledger: after a restore, or where a notary's last step was lost with its database."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from ledger.connection import Connection
from ledger.read import Cursor
from ledger.storage import Storage
from tlog.checkpoint import Checkpoint
from tlog.growth import Growth
from tlog.tiles import WIDTH, Tree

from .leaves import Leaf, leaves
from .settings import SealingRefused


@dataclass(frozen=True)
class Ahead:
    """A signed checkpoint in storage that is larger than the ledger's newest."""

    checkpoint: Checkpoint
    note: str

    def entries_in(self, spans: Connection, storage: Storage, begin: int, after: Cursor) -> tuple[list[bytes], Leaf]:
        """The entries from `begin` on, each of which is the ledger's next span after `after`; and the last of them.

        Raises:
            SealingRefused: the ledger lacks them, or has others in their place.
            LogDamaged: storage lacks them.
        """
        size = self.checkpoint.size
        tree = Tree(storage, size)
        entries: list[bytes] = []
        found = leaves(spans, after, size - begin)
        for number in range(begin // WIDTH, -(-size // WIDTH)):
            for entry in islice(tree.entries(number), max(0, begin - number * WIDTH), None):
                leaf = next(found, None)
                if leaf is None or leaf.entry != entry:
                    raise self._lost(begin + len(entries))
                entries.append(entry)
                last = leaf
        return entries, last

    def grow(self, growth: Growth, entries: list[bytes]) -> None:
        """Let the log grow to it. Raises SealingRefused where that leads to another root."""
        growth.append(entries)
        if growth.finish() != self.checkpoint.root:
            raise SealingRefused(
                f"the log's own entries do not lead to the root of its checkpoint of {self.checkpoint.size} spans:"
                " run `loglineos fsck`"
            )

    def _lost(self, index: int) -> SealingRefused:
        missing = self.checkpoint.size - index
        return SealingRefused(
            f"the log is ahead of the ledger: its checkpoint seals {self.checkpoint.size} spans, of which the ledger"
            f" has the first {index}; the other {missing} are missing or others stand in their place. Was an old"
            " backup restored? `loglineos fsck` names them. Restore a newer one; if there is none, keep this log as"
            " evidence and begin a new one under another LOG_ORIGIN and ARCHIVE_LOCATION (docs/runbooks/restore.md)",
            sealed=self.checkpoint.size,
            missing=missing,
        )
