"""Signed notes (C2SP signed-note): a text, a blank line, a line for each signature. Ed25519 only."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from ledger.errors import InvalidInput

from .errors import ProofInvalid

MAX_NOTE_BYTES = 1_000_000
MAX_SIGNATURES = 100
_ED25519 = b"\x01"
_DASH = "\u2014 "


@dataclass(frozen=True)
class NoteKey:
    """A public key under a name. As text: `<name>+<key id, 8 hex digits>+<base64 of type and key>`."""

    name: str
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """The four bytes by which signature lines refer to it."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public_key).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(_ED25519 + self.public_key).decode()}"

    @classmethod
    def parse(cls, text: str, field: str = "key") -> NoteKey:
        """The key from its text. Raises InvalidInput."""
        expected = "a verification key such as loglineos-prod+1a2b3c4d+AX…, as `loglineos checkpoint show` prints it"
        parts = text.strip().split("+", 2)
        try:
            name, key_id, raw = parts[0], bytes.fromhex(parts[1]), base64.b64decode(parts[2], validate=True)
        except (IndexError, ValueError, binascii.Error):
            raise InvalidInput(field, expected) from None
        key = cls(name, raw[1:])
        if not is_key_name(name) or raw[:1] != _ED25519 or len(raw) != 33 or key.key_id != key_id:
            raise InvalidInput(field, f"{expected}; its parts do not fit together")
        return key


def is_key_name(name: str) -> bool:
    """May it stand in a signature line? Also a log's origin has to, since it is its key's name."""
    return bool(name) and name.isprintable() and "+" not in name and not any(c.isspace() for c in name)


def sign_note(text: str, name: str, key: SigningKey) -> str:
    """The note: `text`, which ends in a newline, and the key's signature under that name."""
    key_id = NoteKey(name, bytes(key.verify_key)).key_id
    signature = base64.b64encode(key_id + key.sign(text.encode()).signature).decode()
    return f"{text}\n{_DASH}{name} {signature}\n"


def open_note(note: str, keys: Iterable[NoteKey]) -> str:
    """The text of a note which at least one of the keys has signed, and for which none of them has a wrong signature.

    Raises:
        ProofInvalid: it is no note, or not one of these keys.
    """
    text, lines = _split(note)
    known = {(key.name, key.key_id): key for key in keys}
    signed = False
    for line in lines:
        name, key_id, signature = _signature(line)
        key = known.get((name, key_id))
        if key is None:
            continue  # a witness's, or a key that we were not told to trust
        try:
            VerifyKey(key.public_key).verify(text.encode(), signature)
        except (BadSignatureError, ValueError):
            raise ProofInvalid(f"the signature of {name} on the note is wrong") from None
        signed = True
    if not signed:
        names = ", ".join(sorted({str(key) for key in known.values()})) or "none"
        raise ProofInvalid(f"the note is not signed by a trusted key (trusted: {names})")
    return text


def _split(note: str) -> tuple[str, list[str]]:
    if len(note) > MAX_NOTE_BYTES:
        raise ProofInvalid("a note has at most 1 MB")
    if any(ord(c) < 0x20 and c != "\n" for c in note):
        raise ProofInvalid("the note holds control characters")
    text, blank, signatures = note.rpartition("\n\n")
    if not blank or not signatures.endswith("\n"):
        raise ProofInvalid("not a signed note: a text, a blank line, signature lines, each ended by a newline")
    lines = signatures[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise ProofInvalid(f"a note has at most {MAX_SIGNATURES} signatures")
    return text + "\n", lines


def _signature(line: str) -> tuple[str, bytes, bytes]:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raw = b""
    # Also the bits that base64 leaves over have to be as written, or one note would have many spellings.
    spelt = base64.b64encode(raw).decode() == encoded
    if not line.startswith(_DASH) or not is_key_name(name) or len(raw) < 5 or not spelt:
        raise ProofInvalid("the note has a malformed signature line")
    return name, raw[:4], raw[4:]
