"""Canonical bytes of a value (RFC 8785, JCS), the same before and after a round trip through `jsonb`.

PostgreSQL keeps numbers as decimals and returns 1e16 as 10000000000000000; JCS writes numbers as IEEE doubles
do. So a number is hashed as its double, and what has no exact double or cannot be stored is refused by `check`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import orjson
import rfc8785

from .errors import InvalidInput

MAX_DEPTH = 100
SPAN_DEPTH = 2  # what a span, or a request, puts around a value
MAX_EXACT = 2**53 - 1  # RFC 8785 keeps to I-JSON (RFC 7493, 2.2): beyond it doubles skip integers
_FAST = orjson.OPT_SORT_KEYS


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands for a stored value that Python has none for: nothing can be hashed with it. `expected`: what could."""

    expected: str


def check(value: Any, path: str) -> None:
    """Refuse what would not survive storage.

    Raises:
        InvalidInput: with the path of the value: NaN and infinities, integers beyond ±(2^53 - 1), NUL and lone
            surrogates in strings or keys, keys that are no strings, other types, nesting deeper than 100.
    """
    _walk(value, path, 0, strict=True)


def canonical_bytes(value: Any) -> bytes:
    """RFC 8785 bytes of a JSON value, as given or as read back from `jsonb`.

    Raises:
        InvalidInput: nothing that `check` let pass and the database stored can have this value.
    """
    # orjson is far quicker and writes the same bytes where no number needs JCS's own notation and no key sorts
    # differently in UTF-16 than in UTF-8 (a property test holds the two against each other).
    if _walk(value, "", 0, strict=False):
        return orjson.dumps(value, option=_FAST)
    try:
        return rfc8785.dumps(_as_doubles(value))
    except (rfc8785.CanonicalizationError, OverflowError) as error:
        raise InvalidInput("value", f"one that RFC 8785 can write: {error}") from None


def _walk(value: Any, path: str, depth: int, *, strict: bool) -> bool:  # noqa: C901 - one case for each kind
    """True if the quick writer may be used. `strict` also refuses what cannot be stored."""
    kind = type(value)
    if value is None or kind is bool:
        return True
    if kind is str:
        if strict:
            check_text(value, path)
        return True
    if kind is int:
        if strict and not -MAX_EXACT <= value <= MAX_EXACT:
            raise InvalidInput(path, "an integer within ±(2^53 - 1); send larger ones as strings")
        return bool(-MAX_EXACT <= value <= MAX_EXACT)
    if kind is float:
        if strict and not math.isfinite(value):
            raise InvalidInput(path, "a finite number")
        return False
    if kind is not list and kind is not dict:
        raise InvalidInput(path, value.expected if kind is Unreadable else f"a JSON value, not {kind.__name__}")
    if depth >= MAX_DEPTH + (0 if strict else SPAN_DEPTH):
        raise InvalidInput(path[:1000], f"at most {MAX_DEPTH} levels of nesting")
    quick = True
    for key, item in value.items() if kind is dict else enumerate(value):
        if kind is dict:
            quick &= _walk_key(key, path, strict=strict)
        quick &= _walk(item, f"{path}.{key}" if kind is dict else f"{path}[{key}]", depth + 1, strict=strict)
    return quick


def _walk_key(key: Any, path: str, *, strict: bool) -> bool:
    if type(key) is not str:
        raise InvalidInput(path, f"keys that are strings, not {type(key).__name__}")
    if strict:
        check_text(key, f"{path} (a key)")
    return key.isascii() or max(key) <= "\uffff"


def check_text(text: str, path: str) -> None:
    """Refuse what PostgreSQL's `text` and `jsonb` cannot hold: NUL and lone surrogates."""
    if "\x00" in text:
        raise InvalidInput(path, "text without NUL characters (U+0000)")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidInput(path, "valid Unicode text without lone surrogates") from error


def _as_doubles(value: Any) -> Any:
    if type(value) is int and not -MAX_EXACT <= value <= MAX_EXACT:
        return float(value)
    if type(value) is list:
        return [_as_doubles(item) for item in value]
    if type(value) is dict:
        return {key: _as_doubles(item) for key, item in value.items()}
    return value
