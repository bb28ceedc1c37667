"""Ids of spans: random and time-ordered for new ones, derived where the same thing must get the same id."""

from __future__ import annotations

import hashlib
import secrets
import time
from uuid import UUID

MANIFEST_ID = UUID("00000000-0000-4000-8000-000000000201")
_RESERVED_PREFIX = "00000000-0000-4000-8000-"
_VERSION_7, _VERSION_8 = 0x7, 0x8


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562, 5.7): milliseconds first, so that inserts stay local in the primary key."""
    millis = time.time_ns() // 1_000_000
    return _uuid(_VERSION_7, (millis << 80) | secrets.randbits(80))


def derived_id(*parts: str) -> UUID:
    """The same UUIDv8 (RFC 9562, 5.8) for the same parts: SHA-256 over them, each with its length.

    These ids are the loader's own: callers may not append version 8 (`is_callers_id`), so nobody can take
    an id before the loader needs it.
    """
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return _uuid(_VERSION_8, int.from_bytes(digest.digest()[:16], "big"))


def is_reserved_id(span_id: UUID) -> bool:
    """Is it one of the ids that belong to the seeder (manual section 2)?"""
    return str(span_id).startswith(_RESERVED_PREFIX)


def is_callers_id(span_id: UUID) -> bool:
    """May a caller choose it: neither the seeder's nor derived by the loader."""
    return not is_reserved_id(span_id) and span_id.version != _VERSION_8


def _uuid(version: int, bits: int) -> UUID:
    mask = (0xF << 76) | (0x3 << 62)
    return UUID(int=(bits & ~mask & ((1 << 128) - 1)) | (version << 76) | (0b10 << 62))
