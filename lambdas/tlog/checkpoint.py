"""Checkpoints (C2SP tlog-checkpoint): what a log's tree was at a size, signed."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass

from nacl.signing import SigningKey

from .errors import ProofInvalid
from .note import NoteKey, open_note, sign_note

_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True)
class Checkpoint:
    """The tree of a log: `size` leaves and the 32 bytes of its `root`. The origin names the log and its key."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{encode_hash(self.root)}\n"

    def sign(self, key: SigningKey) -> str:
        """The signed note."""
        return sign_note(self.text, self.origin, key)


def open_checkpoint(note: str, keys: Iterable[NoteKey]) -> Checkpoint:
    """The checkpoint in a note that a key of its own log has signed.

    Raises:
        ProofInvalid: with the reason.
    """
    trusted = list(keys)
    checkpoint = parse_checkpoint(open_note(note, trusted))
    # A key signs for the log of its name only.
    open_note(note, [key for key in trusted if key.name == checkpoint.origin])
    return checkpoint


def parse_checkpoint(text: str) -> Checkpoint:
    """The checkpoint that a note's text states; who signed it is another question. Raises ProofInvalid."""
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1] or not all(lines[:-1]) or not _NUMBER.fullmatch(lines[1]):
        raise ProofInvalid("not a checkpoint: its lines are origin, size, root hash")
    return Checkpoint(lines[0], int(lines[1]), decode_hash(lines[2]))


def parse_number(text: str) -> int:
    """A size or an index as these formats write it. Raises ProofInvalid."""
    if not _NUMBER.fullmatch(text):
        raise ProofInvalid(f"expected a decimal number without leading zeroes, not {text!r:.40}")
    return int(text)


def encode_hash(digest: bytes) -> str:
    """A hash as these formats write it."""
    return base64.b64encode(digest).decode()


def decode_hash(text: str) -> bytes:
    """The 32 bytes of a hash. Raises ProofInvalid."""
    try:
        digest = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 32 or encode_hash(digest) != text:
        raise ProofInvalid(f"expected a SHA-256 hash in base64, not {text!r:.60}")
    return digest
