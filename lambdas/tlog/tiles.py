"""Tiles and entry bundles (C2SP tlog-tiles): where the tree's hashes stand in storage, and reading them back."""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

from .errors import LogDamaged
from .merkle import fold, perfect_ranges, range_hash

WIDTH = 256
HASH_BYTES = 32
CHECKPOINT = "checkpoint"  # the newest one
HISTORY = "checkpoints/"  # each, for good


class Files(Protocol):
    """Where the tree is read: any `ledger.storage.Storage` will do. As text: where it is."""

    def read(self, name: str) -> bytes | None:
        """The file's content, None where there is no such file."""


def tile_path(level: int | str, number: int, width: int = WIDTH) -> str:
    """The name of a tile of the level, or of an entry bundle (`entries`)."""
    parts = [f"{number % 1000:03}"]
    while number := number // 1000:
        parts.insert(0, f"x{number % 1000:03}")
    return f"tile/{level}/{'/'.join(parts)}" + ("" if width == WIDTH else f".p/{width}")


def checkpoint_path(size: int) -> str:
    """Where the checkpoint of that size is kept for good."""
    return f"{HISTORY}{size:020}"


def tile_width(level: int, number: int, size: int) -> int:
    """How many hashes the tile has in a tree of that size: 256, fewer at the right edge, 0 beyond it."""
    return max(0, min(WIDTH, (size >> (8 * level)) - number * WIDTH))


def encode_bundle(entries: list[bytes]) -> bytes:
    """Entries as a bundle holds them: each after its length in two bytes."""
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def decode_bundle(data: bytes, path: str) -> list[bytes]:
    """The entries of a bundle. Raises LogDamaged."""
    entries, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 2], "big")
        entries.append(data[at + 2 : at + 2 + length])
        at += 2 + length
    if at != len(data):
        raise LogDamaged(f"{path} ends within an entry", path=path)
    return entries


class Tree:
    """The stored tree up to a size. What it reads is only as good as the root that it is checked against."""

    def __init__(self, storage: Files, size: int) -> None:
        self.storage, self.size = storage, size
        self.hashes = lru_cache(maxsize=64)(self._hashes)

    def _hashes(self, level: int, number: int) -> tuple[bytes, ...]:
        """The hashes of a tile. Raises LogDamaged: it is missing or of another length."""
        data, path = self._read(level, level, number)
        if len(data) % HASH_BYTES:
            raise LogDamaged(f"{path} has {len(data)} bytes, which are no whole hashes", path=path)
        hashes = tuple(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES))
        return self._cut(hashes, tile_width(level, number, self.size), path)

    def entries(self, number: int) -> tuple[bytes, ...]:
        """The entries of a bundle. Raises LogDamaged."""
        data, path = self._read("entries", 0, number)
        return self._cut(tuple(decode_bundle(data, path)), tile_width(0, number, self.size), path)

    def subtree(self, begin: int, end: int) -> bytes:
        """The hash of a range that RFC 6962 forms."""
        return fold([self._perfect(height, index) for height, index in perfect_ranges(begin, end)])

    def root(self) -> bytes:
        """Of the whole tree."""
        return self.subtree(0, self.size)

    def _perfect(self, height: int, index: int) -> bytes:
        level, within = divmod(height, 8)
        number, offset = divmod(index << within, WIDTH)
        return range_hash(self.hashes(level, number)[offset : offset + (1 << within)])

    def _read(self, kind: int | str, level: int, number: int) -> tuple[bytes, str]:
        """A partial tile may have gone once its full one is there."""
        width = tile_width(level, number, self.size)
        path = tile_path(kind, number, width)
        data = self.storage.read(path)
        if data is None and width < WIDTH:
            data = self.storage.read(tile_path(kind, number))
        if data is None:
            raise LogDamaged(f"{path} is missing from {self.storage}", path=path)
        return data, path

    def _cut(self, items: tuple[bytes, ...], width: int, path: str) -> tuple[bytes, ...]:
        if len(items) != width and len(items) != WIDTH:
            raise LogDamaged(f"{path} holds {len(items)} of {width}", path=path)
        return items[:width]
