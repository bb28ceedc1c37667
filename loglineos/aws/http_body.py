"""The body of an HTTP request, however its length is given."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import Message
from io import BufferedIOBase

_PIECE = 64 * 1024


class TooLarge(Exception):
    """The body is longer than what is accepted; it has been read to its end all the same."""


def read_body(headers: Message, stream: BufferedIOBase, limit: int | None = None) -> bytes:
    """All of it. Raises TooLarge beyond `limit` bytes, and ValueError where its length is malformed."""
    chunked = (headers.get("Transfer-Encoding") or "").lower() == "chunked"
    pieces = _chunks(stream) if chunked else _pieces(stream, _length(headers))
    kept, size = [], 0
    for piece in pieces:
        size += len(piece)
        if limit is None or size <= limit:
            kept.append(piece)
    if limit is not None and size > limit:
        raise TooLarge
    return b"".join(kept)


def _length(headers: Message) -> int:
    text = headers.get("Content-Length") or "0"
    if not text.isdecimal():
        raise ValueError(f"Content-Length {text!r} is no number")
    return int(text)


def _pieces(stream: BufferedIOBase, left: int) -> Iterator[bytes]:
    while left > 0:
        piece = stream.read(min(left, _PIECE))
        if not piece:
            raise ValueError("the body ends before its length")
        left -= len(piece)
        yield piece


def _chunks(stream: BufferedIOBase) -> Iterator[bytes]:
    while size := int(stream.readline().split(b";")[0], 16):
        yield stream.read(size)
        stream.readline()
    stream.readline()
