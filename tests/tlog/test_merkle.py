"""Roots and proofs, against the RFC's own definitions and certificate transparency's known tree."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tlog.kit import CT_LEAVES, CT_ROOTS, entries_of, flipped, mth, path, proof, refused
from tlog.merkle import (
    EMPTY_ROOT,
    consistency_path,
    inclusion_path,
    leaf_hash,
    range_hash,
    verify_consistency,
    verify_inclusion,
)

ENTRIES = entries_of(70)
ROOTS = [mth(ENTRIES[:size]) for size in range(71)]
sizes = st.integers(1, 70)


def subtree(begin: int, end: int) -> bytes:
    return mth(ENTRIES[begin:end])


@pytest.mark.parametrize("size", range(9))
def test_the_known_tree(size: int) -> None:
    leaves = CT_LEAVES[:size]
    assert range_hash([leaf_hash(leaf) for leaf in leaves]).hex() == CT_ROOTS[size]
    assert mth(leaves).hex() == CT_ROOTS[size], "the tests' own definition"


def test_known_proofs() -> None:
    """Of certificate transparency's test vectors."""

    def known(begin: int, end: int) -> bytes:
        return mth(CT_LEAVES[begin:end])

    assert [one.hex() for one in inclusion_path(0, 8, known)] == [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]
    assert [one.hex() for one in consistency_path(6, 8, known)] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


@given(size=sizes, data=st.data())
def test_inclusion(size: int, data: Any) -> None:
    index = data.draw(st.integers(0, size - 1))
    made = inclusion_path(index, size, subtree)
    assert made == path(index, ENTRIES[:size])
    verify_inclusion(leaf_hash(ENTRIES[index]), index, size, made, ROOTS[size])


@given(new=sizes, data=st.data())
def test_consistency(new: int, data: Any) -> None:
    old = data.draw(st.integers(1, new))
    made = consistency_path(old, new, subtree)
    assert made == proof(old, ENTRIES[:new])
    verify_consistency(old, new, made, ROOTS[old], ROOTS[new])
    verify_consistency(0, new, [], EMPTY_ROOT, ROOTS[new])


@given(size=st.integers(2, 70), data=st.data())
def test_wrong_inclusion_is_refused(size: int, data: Any) -> None:
    index = data.draw(st.integers(0, size - 1))
    leaf, root, made = leaf_hash(ENTRIES[index]), ROOTS[size], inclusion_path(index, size, subtree)
    at, bit = data.draw(st.integers(0, len(made) - 1)), data.draw(st.integers(0, 255))
    changed = [*made[:at], flipped(made[at], bit), *made[at + 1 :]]
    assert "another root" in refused(verify_inclusion, leaf, index, size, changed, root)
    assert "another root" in refused(verify_inclusion, flipped(leaf, bit), index, size, made, root)
    assert "another root" in refused(verify_inclusion, leaf, index, size, made, flipped(root, bit))
    assert "too short" in refused(verify_inclusion, leaf, index, size, made[:-1], root)
    assert "too long" in refused(verify_inclusion, leaf, index, size, [*made, bytes(32)], root)
    other = data.draw(st.integers(0, size - 1).filter(lambda number: number != index))
    refused(verify_inclusion, leaf, other, size, made, root)
    for outside in (-1, size):
        assert "has no leaf" in refused(verify_inclusion, leaf, outside, size, made, root)


@given(new=st.integers(2, 70), data=st.data())
def test_wrong_consistency_is_refused(new: int, data: Any) -> None:
    old = data.draw(st.integers(1, new - 1))
    made = consistency_path(old, new, subtree)
    at, bit = data.draw(st.integers(0, len(made) - 1)), data.draw(st.integers(0, 255))
    changed = [*made[:at], flipped(made[at], bit), *made[at + 1 :]]
    refused(verify_consistency, old, new, changed, ROOTS[old], ROOTS[new])
    refused(verify_consistency, old, new, made, flipped(ROOTS[old], bit), ROOTS[new])
    refused(verify_consistency, old, new, made, ROOTS[old], flipped(ROOTS[new], bit))
    refused(verify_consistency, old, new, made[:-1], ROOTS[old], ROOTS[new])
    refused(verify_consistency, old, new, [], ROOTS[old], ROOTS[new])
    assert "too long" in refused(verify_consistency, old, new, [*made, bytes(32)], ROOTS[old], ROOTS[new])
    other = data.draw(st.integers(1, new).filter(lambda number: number != old))
    refused(verify_consistency, other, new, made, ROOTS[old], ROOTS[new])


def test_the_cases_without_a_path() -> None:
    assert "older tree is the larger" in refused(verify_consistency, 3, 2, [], ROOTS[3], ROOTS[2])
    assert "forked" in refused(verify_consistency, 3, 3, [], ROOTS[3], ROOTS[4])
    assert "forked" in refused(verify_consistency, 0, 3, [], ROOTS[1], ROOTS[3])
    assert "too long" in refused(verify_consistency, 3, 3, [ROOTS[3]], ROOTS[3], ROOTS[3])
    assert "too long" in refused(verify_consistency, 0, 3, [ROOTS[3]], EMPTY_ROOT, ROOTS[3])


def test_another_size_is_refused_where_the_path_depends_on_it() -> None:
    """RFC 9162's check: the same path may stand for trees of several sizes, but their roots differ."""
    made = inclusion_path(3, 40, subtree)
    for size in range(4, 71):
        if size != 40:
            refused(verify_inclusion, leaf_hash(ENTRIES[3]), 3, size, made, ROOTS[size])
