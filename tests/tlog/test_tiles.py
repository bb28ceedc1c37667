"""Trees in storage: growth in any steps is growth at once, proofs from tiles are the RFC's, damage is named."""

from __future__ import annotations

import random
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tlog.kit import Memory, entries_of, mth, path, proof
from tlog.errors import LogDamaged
from tlog.growth import Growth
from tlog.merkle import EMPTY_ROOT, consistency_path, inclusion_path, leaf_hash, range_hash, verify_consistency
from tlog.tiles import Tree, decode_bundle, encode_bundle, tile_path

EDGES = [1, 2, 255, 256, 257, 65_535, 65_536, 65_537]
ALL = entries_of(65_600)


@cache
def grown(size: int) -> tuple[Memory, bytes]:
    memory = Memory()
    growth = Growth(memory, 0, EMPTY_ROOT)
    growth.append(ALL[:size])
    return memory, growth.finish()


@pytest.mark.parametrize("size", [0, *EDGES])
def test_the_root_of_a_grown_tree_is_the_rfcs(size: int) -> None:
    memory, root = grown(size)
    assert root == mth(ALL[:size])
    assert Tree(memory, size).root() == root
    assert Growth(memory, size, root).root() == root


@pytest.mark.parametrize("size", EDGES)
def test_its_entries_and_proofs_come_from_its_tiles(size: int) -> None:
    tree = Tree(grown(size)[0], size)
    assert [entry for number in range(-(-size // 256)) for entry in tree.entries(number)] == ALL[:size]
    for index in {0, size // 2, size - 1}:
        assert inclusion_path(index, size, tree.subtree) == path(index, ALL[:size])
    for old in {1, size // 2 or 1, size - 1 or 1, size}:
        made = consistency_path(old, size, tree.subtree)
        assert made == proof(old, ALL[:size])
        verify_consistency(old, size, made, mth(ALL[:old]), mth(ALL[:size]))


def test_what_is_stored_has_the_names_and_forms_of_tlog_tiles() -> None:
    memory, _ = grown(65_537)
    assert memory.files["tile/1/000"][:32] == range_hash([leaf_hash(entry) for entry in ALL[:256]])
    assert {name for name in memory.files if name.startswith(("tile/1", "tile/2"))} == {"tile/1/000", "tile/2/000.p/1"}
    assert len(memory.files["tile/0/000"]) == 256 * 32
    assert memory.files["tile/0/256.p/1"] == leaf_hash(ALL[65_536])
    assert memory.files["tile/entries/256.p/1"] == b"\x00\x20" + ALL[65_536]
    assert tile_path(0, 1_234_067) == "tile/0/x001/x234/067"
    assert tile_path("entries", 1000, 7) == "tile/entries/x001/000.p/7"


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 700), min_size=1, max_size=6), st.booleans())
def test_growth_in_steps_is_growth_at_once(steps: list[int], resumed: bool) -> None:
    """Each step in a process of its own, or all in one: the same full tiles, the same root at each size."""
    memory = Memory()
    growth = Growth(memory, 0, EMPTY_ROOT)
    for step in steps:
        growth.append(ALL[growth.size : growth.size + step])
        root = growth.finish()
        assert root == range_hash([leaf_hash(entry) for entry in ALL[: growth.size]])
        assert Tree(memory, growth.size).root() == root
        if resumed:
            growth = Growth(memory, growth.size, root)
    once = Memory()
    whole = Growth(once, 0, EMPTY_ROOT)
    whole.append(ALL[: growth.size])
    whole.finish()
    assert once.files.items() <= memory.files.items()


def test_a_step_across_the_third_level() -> None:
    memory = Memory()
    growth = Growth(memory, 0, EMPTY_ROOT)
    growth.append(ALL[:65_530])
    growth = Growth(memory, growth.size, growth.finish())
    growth.append(ALL[65_530:65_540])
    assert growth.finish() == mth(ALL[:65_540])
    assert Growth(memory, 65_540, growth.root()).size == 65_540


def test_partial_tiles_may_go_once_the_full_one_is_there() -> None:
    memory = Memory()
    growth = Growth(memory, 0, EMPTY_ROOT)
    growth.append(ALL[:100])
    root = growth.finish()
    growth.append(ALL[100:300])
    growth.finish()
    del memory.files["tile/0/000.p/100"], memory.files["tile/entries/000.p/100"]
    assert Tree(memory, 100).root() == root
    assert Tree(memory, 100).entries(0) == tuple(ALL[:100])


@pytest.mark.parametrize("name", ["tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/001.p/44"])
@pytest.mark.parametrize("damage", ["flip", "cut", "uneven", "gone"])
def test_a_damaged_edge_is_not_taken_up(name: str, damage: str) -> None:
    memory, root = grown(300)
    memory_of = Memory()
    memory_of.files = dict(memory.files)
    data = memory.files[name]
    if damage == "gone":
        del memory_of.files[name]
    else:
        changed = {"flip": bytes([data[0], data[1], data[2] ^ 1]) + data[3:], "cut": data[:-34], "uneven": data[:-1]}
        memory_of.files[name] = changed[damage]
    with pytest.raises(LogDamaged):
        Growth(memory_of, 300, root)


def test_a_tree_is_not_taken_up_by_another_root() -> None:
    memory, _ = grown(300)
    with pytest.raises(LogDamaged, match="checkpoint's root"):
        Growth(memory, 300, mth(ALL[:299]))


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_bundles(entries: list[bytes]) -> None:
    assert decode_bundle(encode_bundle(entries), "bundle") == entries


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_a_bundle_that_ends_within_an_entry(entries: list[bytes], pick: random.Random) -> None:
    data = encode_bundle(entries)
    ends = {0} | {len(encode_bundle(entries[:count])) for count in range(1, len(entries) + 1)}
    cut = pick.choice([at for at in range(len(data)) if at not in ends])
    with pytest.raises(LogDamaged, match="within an entry"):
        decode_bundle(data[:cut], "bundle")
