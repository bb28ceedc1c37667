"""Hash, sign and verify spans: SHA-256 over the canonical bytes, Ed25519 over the hash."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from .canonical import check
from .errors import InvalidInput, Misconfigured, VerificationFailed
from .span import JSON_COLUMNS, MAX_SPAN_BYTES, Span, canonical_span

SIGNATURE_CONTEXT = b"loglineos/span/v1\n"


def parse_signing_key(hex_key: str, setting: str) -> SigningKey:
    """An Ed25519 private key from the 32 bytes of its seed in hex. The error never repeats the value."""
    try:
        return SigningKey(bytes.fromhex(hex_key.strip()))
    except ValueError:
        raise Misconfigured(f"{setting} must be an Ed25519 private key: 64 hex digits") from None


def public_key_of(key: SigningKey) -> str:
    """The public half, in lower-case hex."""
    return bytes(key.verify_key).hex()


def parse_public_keys(setting_value: str, setting: str) -> frozenset[str]:
    """Ed25519 public keys from a comma-separated list of 64 hex digits each; an empty list is no keys."""
    keys = frozenset(part.strip().lower() for part in setting_value.split(",") if part.strip())
    if not all(re.fullmatch("[0-9a-f]{64}", key) for key in keys):
        raise Misconfigured(f"{setting} must list Ed25519 public keys: 64 hex digits each, separated by commas")
    return keys


def span_hash(values: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical bytes, in lower-case hex."""
    return hashlib.sha256(canonical_span(values)).hexdigest()


def seal(span: Span, key: SigningKey | None) -> Span:
    """The span with its `curr_hash` and, with a key, its signature.

    Raises:
        InvalidInput: a value that would not survive storage, by its path; or the span is larger than 1 MB.
    """
    for column in JSON_COLUMNS:
        check(getattr(span, column), column)
    data = canonical_span(span.columns())
    if len(data) > MAX_SPAN_BYTES:
        raise InvalidInput("span", f"at most {MAX_SPAN_BYTES} bytes in canonical form, got {len(data)}")
    digest = hashlib.sha256(data)
    if key is None:
        return span.with_values(curr_hash=digest.hexdigest(), signature=None, public_key=None)
    signature = key.sign(SIGNATURE_CONTEXT + digest.digest()).signature.hex()
    return span.with_values(curr_hash=digest.hexdigest(), signature=signature, public_key=public_key_of(key))


def verify(span: Span, trusted: Collection[str] | None) -> bool:
    """Recompute the hash from the span's columns and check the signature. True if it is signed.

    Args:
        trusted: public keys (hex) whose signatures count: a span that none of them signed fails, so with no keys
            every span does. None checks a signature, where there is one, against the key that the span itself names.

    Raises:
        VerificationFailed: with the reason.
    """
    try:
        computed = span_hash(span.columns())
    except InvalidInput as error:
        raise VerificationFailed(span.id, f"its columns cannot be hashed: {error.message}") from None
    if computed != span.curr_hash:
        raise VerificationFailed(span.id, "its columns do not match its hash")
    if span.signature is None or span.public_key is None:
        if trusted is not None:
            raise VerificationFailed(span.id, "it is not signed, and trusted keys are configured")
        return False
    if trusted is not None and span.public_key not in trusted:
        raise VerificationFailed(span.id, f"its key {span.public_key[:16]}… is not a trusted one")
    if not signature_matches(computed, span.signature, span.public_key):
        raise VerificationFailed(span.id, "its signature is wrong")
    return True


@lru_cache(maxsize=4096)
def signature_matches(curr_hash: str, signature: str, public_key: str) -> bool:
    """Is this the key's Ed25519 signature of the hash (hex, all three)?"""
    try:
        VerifyKey(bytes.fromhex(public_key)).verify(
            SIGNATURE_CONTEXT + bytes.fromhex(curr_hash), bytes.fromhex(signature)
        )
    except (BadSignatureError, ValueError):
        return False
    return True
