"""Proofs as files that are checked without the log: C2SP tlog-proof, and the body of tlog-witness' add-checkpoint."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass

from .checkpoint import Checkpoint, decode_hash, encode_hash, open_checkpoint, parse_number
from .errors import ProofInvalid
from .merkle import leaf_hash, verify_consistency, verify_inclusion
from .note import NoteKey

INCLUSION_HEADER = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True)
class InclusionProof:
    """That an entry is number `index` of the tree which `note`, a signed checkpoint, states.

    `extra` is the application's and not authenticated by itself.
    """

    index: int
    path: tuple[bytes, ...]
    note: str
    extra: bytes | None = None

    def __str__(self) -> str:
        extra = [] if self.extra is None else [f"extra {base64.b64encode(self.extra).decode()}"]
        lines = [INCLUSION_HEADER, *extra, f"index {self.index}", *map(encode_hash, self.path), "", self.note]
        return "\n".join(lines)

    @classmethod
    def parse(cls, text: str) -> InclusionProof:
        """The proof in a file's text. Raises ProofInvalid."""
        lines, note = _split(text)
        if lines[:1] != [INCLUSION_HEADER]:
            raise ProofInvalid(f"not an inclusion proof: its first line is {INCLUSION_HEADER}")
        rest, extra = lines[1:], None
        if rest and rest[0].startswith("extra "):
            extra, rest = _decode_extra(rest[0].removeprefix("extra ")), rest[1:]
        if not rest or not rest[0].startswith("index "):
            raise ProofInvalid("the inclusion proof lacks its index line")
        index = parse_number(rest[0].removeprefix("index "))
        return cls(index, tuple(decode_hash(line) for line in rest[1:]), note, extra)

    def verify(self, entry: bytes, keys: Iterable[NoteKey]) -> Checkpoint:
        """The checkpoint whose tree has the entry at this index. Raises ProofInvalid."""
        checkpoint = open_checkpoint(self.note, keys)
        verify_inclusion(leaf_hash(entry), self.index, checkpoint.size, self.path, checkpoint.root)
        return checkpoint


@dataclass(frozen=True)
class ConsistencyProof:
    """That the tree which `note`, a signed checkpoint, states begins with the one of `old_size` leaves."""

    old_size: int
    path: tuple[bytes, ...]
    note: str

    def __str__(self) -> str:
        return "\n".join([f"old {self.old_size}", *map(encode_hash, self.path), "", self.note])

    @classmethod
    def parse(cls, text: str) -> ConsistencyProof:
        """The proof in a file's text. Raises ProofInvalid."""
        lines, note = _split(text)
        if not lines or not lines[0].startswith("old "):
            raise ProofInvalid("not a consistency proof: its first line is `old` and a size")
        size = parse_number(lines[0].removeprefix("old "))
        return cls(size, tuple(decode_hash(line) for line in lines[1:]), note)

    def verify(self, old: Checkpoint, keys: Iterable[NoteKey]) -> Checkpoint:
        """The newer checkpoint, whose tree begins with the older one's. Raises ProofInvalid."""
        new = open_checkpoint(self.note, keys)
        if old.origin != new.origin:
            raise ProofInvalid(f"two logs: {old.origin} and {new.origin}")
        if old.size != self.old_size:
            raise ProofInvalid(f"the proof begins at {self.old_size} leaves, the older checkpoint has {old.size}")
        verify_consistency(old.size, new.size, self.path, old.root, new.root)
        return new


def _split(text: str) -> tuple[list[str], str]:
    head, blank, note = text.partition("\n\n")
    if not blank:
        raise ProofInvalid("not a proof: lines of the proof, a blank line, a signed checkpoint")
    return head.split("\n"), note


def _decode_extra(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ProofInvalid("the proof's extra line is not base64") from None
