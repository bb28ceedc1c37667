"""What fsck can find, each kind with the sentence that names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ledger.read import Cursor

MAX_KEPT: Final = 2_000  # of one kind, so that a flood of one hides no other; beyond it they are counted

# kind: what it means, for the documentation and for whoever reads a finding for the first time.
KINDS: Final[Mapping[str, str]] = {
    "edited": "columns were changed: they do not hash to the span's own hash",
    "replaced": "span and hash were changed together after the span was sealed",
    "missing": "a sealed span is not in the ledger",
    "tail_missing": "the newest sealed spans are not in the ledger, which gave out their positions: cut off, or lost in"
    " a restore after which no era was begun",
    "old_backup": "the newest sealed spans are not in the ledger, which never had them: an older state was restored",
    "inserted": "a span stands among sealed ones that was never sealed",
    "moved": "a sealed span stands at another place than when it was sealed",
    "misplaced": "a span stands at a place that the database never gives out, where no reader looks",
    "fork": "a version does not follow the version before it, or is there twice",
    "unguarded": "the table has lost its primary key, which keeps one version from being there twice",
    "chain_broken": "the version before this one is not in the ledger",
    "taken_over": "a version has another owner, tenant or type than the one before it",
    "signature_wrong": "the signature is not that of the span's key over its hash",
    "signature_missing": "a span that has to be signed is not",
    "key_unknown": "the span is signed by a key that nobody who is trusted has announced",
    "key_retired": "the span is signed by a key that did not count any more when it was written",
    "tile_edited": "a file of the log is not what its checkpoint signed",
    "tile_missing": "a file of the log is not there",
    "checkpoint_untrusted": "a checkpoint is not signed by a key that was given",
    "checkpoint_differs": "a checkpoint states another root than the log has at that size: the log was forked",
    "log_missing": "there is no log at this place: it is another place (--log), or the log is gone",
    "log_behind": "the log is smaller than a checkpoint that it signed: its newest part is gone",
    "root_differs": "the ledger's spans do not lead to the root that a checkpoint signed",
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. `index` is the place in the log, from 0; `span` is `<id> seq <n>`."""

    kind: str
    message: str
    span: str | None = None
    index: int | None = None
    cursor: Cursor | None = None

    def order(self) -> tuple[Any, ...]:
        """The log's own damage first, then along the ledger."""
        return (
            self.span is not None or self.index is not None,
            self.index is None,
            self.index or 0,
            self.cursor or Cursor(0, 0, 0),
        )

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {"kind": self.kind, "span": self.span, "index": self.index, "message": self.message}


@dataclass
class Report:
    """What was looked at, and what is wrong: nothing where `count` is 0. `counts` is that by kind.

    `sealed` is the size of the largest checkpoint, `proved` of the largest whose root the ledger's spans lead to.
    """

    spans: int = 0
    sealed: int = 0
    proved: int = 0
    origin: str | None = None
    checkpoints: int = 0
    signatures: dict[str, int] = field(default_factory=dict)
    found: list[Finding] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    _at: dict[tuple[str, str | None], int] = field(default_factory=dict, repr=False)

    @property
    def count(self) -> int:
        """Of all findings, those that were only counted among them."""
        return sum(self.counts.values())

    def add(self, *findings: Finding) -> None:
        """Keep what was found; a flood of it is only counted. What is said twice of a span is one finding."""
        for finding in findings:
            known = self._at.get((finding.kind, finding.span)) if finding.span else None
            if known is not None:
                if self.found[known].index is None:
                    self.found[known] = replace(self.found[known], index=finding.index)
                continue
            self.counts[finding.kind] = self.counts.get(finding.kind, 0) + 1
            if self.counts[finding.kind] <= MAX_KEPT:
                self._at[finding.kind, finding.span] = len(self.found)
                self.found.append(finding)

    def ordered(self) -> list[Finding]:
        """Along the ledger: the first is where it diverges first."""
        return sorted(self.found, key=Finding.order)
