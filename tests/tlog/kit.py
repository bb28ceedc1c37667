"""The tree of RFC 6962 (2.1) as the RFC words it, and storage in memory: what `tlog` is held against."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

from ledger.storage import ObjectDiffers
from tlog.errors import ProofInvalid

# The leaves of certificate transparency's test tree, and its root for each number of them.
CT_LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"
    )
]  # fmt: skip
CT_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def mth(entries: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962, 2.1."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    k = split(len(entries))
    return hashlib.sha256(b"\x01" + mth(entries[:k]) + mth(entries[k:])).digest()


def path(m: int, entries: Sequence[bytes]) -> list[bytes]:
    """PATH of RFC 6962, 2.1.1."""
    if len(entries) == 1:
        return []
    k = split(len(entries))
    if m < k:
        return [*path(m, entries[:k]), mth(entries[k:])]
    return [*path(m - k, entries[k:]), mth(entries[:k])]


def proof(m: int, entries: Sequence[bytes], whole: bool = True) -> list[bytes]:
    """SUBPROOF of RFC 6962, 2.1.2."""
    if m == len(entries):
        return [] if whole else [mth(entries)]
    k = split(len(entries))
    if m <= k:
        return [*proof(m, entries[:k], whole), mth(entries[k:])]
    return [*proof(m - k, entries[k:], False), mth(entries[:k])]


def split(count: int) -> int:
    """The largest power of two below."""
    k = 1
    while k * 2 < count:
        k *= 2
    return k


def entries_of(count: int) -> list[bytes]:
    """That many entries, no two alike."""
    return [hashlib.sha256(number.to_bytes(8, "big")).digest() for number in range(count)]


class Memory:
    """Write-once storage without a disk."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def __str__(self) -> str:
        return "memory"

    def read(self, name: str) -> bytes | None:
        return self.files.get(name)

    def add_all(self, files: Iterable[tuple[str, bytes]]) -> None:
        for name, data in files:
            if self.files.setdefault(name, data) != data:
                raise ObjectDiffers(name)


def refused(check: Callable[..., Any], *arguments: Any) -> str:
    """The reason why a proof is refused."""
    with pytest.raises(ProofInvalid) as caught:
        check(*arguments)
    return caught.value.message


def flipped(data: bytes, bit: int) -> bytes:
    """With one bit the other way."""
    return (int.from_bytes(data, "big") ^ (1 << bit)).to_bytes(len(data), "big")
