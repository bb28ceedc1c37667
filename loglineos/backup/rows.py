"""Spans as `COPY … TO STDOUT` writes them: a line each, columns between tabs (PostgreSQL manual, COPY, Text Format)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from ledger.canonical import Unreadable
from ledger.connection import read_json
from ledger.read import span_of
from ledger.span import COLUMNS, JSON_COLUMNS, Span

_NULL: Final = b"\\N"
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_MEANING: Final = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


def _text(data: bytes) -> str:
    if b"\\" in data:
        data = _ESCAPED.sub(lambda found: _MEANING.get(found[1], found[1]), data)
    return data.decode()


def _boolean(data: bytes) -> bool:
    return {b"t": True, b"f": False}[data]


def _uuid(data: bytes) -> UUID:
    return UUID(data.decode())


def _uuids(data: bytes) -> list[UUID] | Unreadable:
    text = data.decode()
    if text[:1] != "{" or text[-1:] != "}":
        raise ValueError("not an array")
    try:
        return [UUID(part) for part in text[1:-1].split(",")] if text != "{}" else []
    except ValueError:
        return Unreadable("a list of UUIDs")


def _instant(data: bytes) -> datetime | Unreadable:
    try:
        return datetime.fromisoformat(data.decode())
    except ValueError:
        return Unreadable("an instant of the years 1 to 9999")


def _json(data: bytes) -> Any:
    return read_json(_text(data))


_READERS: Final[Mapping[str, Callable[[bytes], Any]]] = {
    **dict.fromkeys(COLUMNS, _text),
    **dict.fromkeys(JSON_COLUMNS, _json),
    **dict.fromkeys(("seq", "duration_ms", "era", "xid", "position"), int),
    **dict.fromkeys(("id", "parent_id"), _uuid),
    "related_to": _uuids,
    "at": _instant,
    "is_deleted": _boolean,
}


def read_line(line: bytes, columns: Sequence[str]) -> Span:
    """The span of a line. Its values are as stored: `proof.verify` says whether to believe them, and refuses what the
    database can hold and Python cannot (Unreadable).

    Raises:
        ValueError: it is no line of these columns.
    """
    fields = line.rstrip(b"\n").split(b"\t")
    if len(fields) != len(columns):
        raise ValueError(f"{len(fields)} columns instead of {len(columns)}")
    values: dict[str, Any] = dict.fromkeys(COLUMNS)
    for name, data in zip(columns, fields, strict=True):
        if data != _NULL:
            try:
                values[name] = _READERS[name](data)
            except (ValueError, KeyError):
                raise ValueError(f"its {name} cannot be read") from None
    return span_of(values)
