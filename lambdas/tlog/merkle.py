"""The Merkle tree of RFC 6962: its hashes, its proofs (section 2.1) and their checking (RFC 9162, section 2.1).

A hash is 32 bytes. A tree of `size` leaves is the range [0, size); `subtree(begin, end)` answers the hash of a part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

from .errors import ProofInvalid

EMPTY_ROOT = hashlib.sha256(b"").digest()
Subtree = Callable[[int, int], bytes]


def leaf_hash(entry: bytes) -> bytes:
    """The hash of a leaf that holds `entry`."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def perfect_ranges(begin: int, end: int) -> Iterator[tuple[int, int]]:
    """The perfect subtrees, `(height, index)` with 2^height leaves from index * 2^height on, that make up a range.

    The range has to be one that RFC 6962 forms: `begin` is a multiple of the largest power of two in its length.
    """
    while begin < end:
        height = (end - begin).bit_length() - 1
        yield height, begin >> height
        begin += 1 << height


def fold(peaks: Sequence[bytes]) -> bytes:
    """The root over perfect subtrees of falling size; of none, that of the empty tree."""
    if not peaks:
        return EMPTY_ROOT
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = node_hash(peak, root)
    return root


def range_hash(hashes: Sequence[bytes]) -> bytes:
    """The root over subtrees of equal size, side by side: leaves, or the hashes of a tile."""
    level = list(hashes)
    if len(level) & (len(level) - 1):
        return fold([range_hash(level[i << h : (i + 1) << h]) for h, i in perfect_ranges(0, len(level))])
    while len(level) > 1:
        level = [node_hash(level[i], level[i + 1]) for i in range(0, len(level), 2)]
    return level[0] if level else EMPTY_ROOT


def inclusion_path(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """The siblings on the way from leaf `index` up to the root of [0, size)."""
    path: list[bytes] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + _largest_power_below(end - begin)
        if index < middle:
            path.append(subtree(middle, end))
            end = middle
        else:
            path.append(subtree(begin, middle))
            begin = middle
    return path[::-1]


def consistency_path(old: int, new: int, subtree: Subtree) -> list[bytes]:
    """What shows that [0, new) begins with [0, old)."""
    if old in (0, new):
        return []
    path: list[bytes] = []
    begin, end = 0, new
    while end != old:
        middle = begin + _largest_power_below(end - begin)
        if old <= middle:
            path.append(subtree(middle, end))
            end = middle
        else:
            path.append(subtree(begin, middle))
            begin = middle
    if begin:
        path.append(subtree(begin, end))
    return path[::-1]


def _largest_power_below(count: int) -> int:
    return 1 << ((count - 1).bit_length() - 1)


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """Check that the leaf (its hash) is number `index` of the tree. Raises ProofInvalid."""
    if not 0 <= index < size:
        raise ProofInvalid(f"the tree of {size} leaves has no leaf {index}")
    node, last, computed = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise ProofInvalid("the inclusion proof is too long")
        if node & 1 or node == last:
            computed = node_hash(sibling, computed)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            computed = node_hash(computed, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise ProofInvalid("the inclusion proof is too short")
    if computed != root:
        raise ProofInvalid("the inclusion proof leads to another root than the checkpoint's")


def verify_consistency(old: int, new: int, path: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Check that the tree of `new` leaves begins with that of `old`. Raises ProofInvalid."""
    if old > new:
        raise ProofInvalid(f"the older tree is the larger one: {old} leaves, then {new}")
    if old in (0, new):
        if path:
            raise ProofInvalid("the consistency proof is too long")
        if old_root != (new_root if old else EMPTY_ROOT):
            raise ProofInvalid(f"two roots for {old} leaves: the log has forked")
        return
    if _roots_of(old, new, path, old_root) != (old_root, new_root):
        raise ProofInvalid("the consistency proof does not lead to the two roots: the log has forked")


def _roots_of(old: int, new: int, path: Sequence[bytes], old_root: bytes) -> tuple[bytes, bytes]:
    """The two roots to which the proof leads."""
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    # A perfect older tree stands in the newer one as it is, and so is not in the proof.
    given = iter(path) if node else iter([old_root, *path])
    older = newer = next(given, b"")
    for sibling in given:
        if last == 0:
            raise ProofInvalid("the consistency proof is too long")
        if node & 1 or node == last:
            older, newer = node_hash(sibling, older), node_hash(sibling, newer)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            newer = node_hash(newer, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise ProofInvalid("the consistency proof is too short")
    return older, newer
