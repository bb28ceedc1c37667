"""A damaged file of the log accuses no span: what the other files still say is held against the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest

from ledger.ids import derived_id
from ledger.read import Cursor
from ledger.span import Span
from loglineos.fsck.alignment import Alignment
from loglineos.fsck.findings import Finding
from loglineos.fsck.reading import Leaf
from loglineos.fsck.sealed import Covered
from tests.conftest import LOADER_KEY
from tests.fsck.kit import ORIGIN, Sealed, changed, name
from tlog.merkle import leaf_hash


def newest_file(sealed: Sealed, folder: str) -> str:
    return max(sealed.log.names(folder), key=lambda path: int(path.rsplit("/", 1)[-1]))


def lose(sealed: Sealed, *folders: str) -> None:
    for folder in folders:
        (sealed.log.path / newest_file(sealed, folder)).unlink()


def victim(sealed: Sealed) -> Span:
    return next(span for span in sealed.rows() if span.name == "note 3")


@pytest.fixture(params=["bounded", "the checkpoint's span lost"])
def bundle_lost(sealed: Sealed, request: pytest.FixtureRequest) -> Sealed:
    """Its newest bundle is gone, its tile is there; with and without a place where the sealed spans end."""
    lose(sealed, "tile/entries/")
    if request.param != "bounded":
        checkpoint = derived_id("checkpoint", ORIGIN)
        last = max(span.seq for span in sealed.rows() if span.id == checkpoint)
        sealed.tamper("DELETE FROM ledger.universal_registry WHERE (id, seq) = (%s, %s)", checkpoint, last)
    return sealed


def test_a_lost_bundle_accuses_no_span(bundle_lost: Sealed) -> None:
    assert bundle_lost.found() == [("tile_missing", None)]


def test_a_damaged_bundle_accuses_no_span(sealed: Sealed) -> None:
    file = sealed.log.path / newest_file(sealed, "tile/entries/")
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(data)
    assert sealed.found() == [("tile_edited", None)]
    file.write_bytes(data[:-1])
    assert sealed.found() == [("tile_edited", None)]


def test_nor_does_one_that_was_lost_with_its_tile(bundle_lost: Sealed) -> None:
    lose(bundle_lost, "tile/0/")
    assert bundle_lost.found() == [("tile_missing", None), ("tile_missing", None)]


def test_by_the_tile_what_was_done_is_still_told(bundle_lost: Sealed) -> None:
    replaced = victim(bundle_lost)
    deleted = next(span for span in bundle_lost.rows() if span.name == "note 9")
    bundle_lost.store(changed(replaced, LOADER_KEY, name="another"))
    bundle_lost.tamper("DELETE FROM ledger.universal_registry WHERE id = %s", deleted.id)
    kinds = [found for found in bundle_lost.found() if found[0] != "root_differs"]
    assert kinds == [("tile_missing", None), ("replaced", name(replaced)), ("missing", None)]


def test_without_the_tile_a_deleted_span_is_counted(sealed: Sealed) -> None:
    lose(sealed, "tile/entries/", "tile/0/")
    sealed.tamper("DELETE FROM ledger.universal_registry WHERE id = %s", victim(sealed).id)
    found = [finding for finding in sealed.check().ordered() if finding.kind == "missing"]
    assert [(finding.span, finding.index) for finding in found] == [(None, 0)]
    assert found[0].message.endswith(f"in their place stand {sealed.size - 1}")


HASHES = [number.to_bytes(32, "big") for number in range(1, 1001)]
LEAVES = [
    Leaf(UUID(int=number), 0, Cursor(1, number, number), digest, digest) for number, digest in enumerate(HASHES, 1)
]


def differences(entries: list[bytes], leaves: list[Leaf], *, bounded: bool) -> list[Finding]:
    found = list[Finding]()
    alignment = Alignment(found.append, bounded=bounded)
    given: tuple[Iterator[bytes], Iterator[Leaf]] = iter(entries), iter(leaves)
    alignment.run(*given)
    assert not alignment.tail
    return found


@pytest.mark.parametrize("bounded", [True, False])
@pytest.mark.parametrize("first", [0, 256, 768])
def test_what_nobody_knows_is_passed_over(first: int, bounded: bool) -> None:
    unknown = [*HASHES[:first], *[b""] * 232, *HASHES[first + 232 :]]
    assert differences(unknown, LEAVES, bounded=bounded) == []
    covered = [*HASHES[:first], *map(Covered, map(leaf_hash, HASHES[first : first + 232])), *HASHES[first + 232 :]]
    assert differences(covered, LEAVES, bounded=bounded) == []


def test_where_spans_are_missing_among_them_or_too_many_they_are_counted() -> None:
    unknown = [*HASHES[:256], *[b""] * 256, *HASHES[512:]]
    (fewer,) = differences(unknown, [*LEAVES[:300], *LEAVES[302:]], bounded=True)
    assert (fewer.kind, fewer.index, fewer.span) == ("missing", 256, None)
    assert fewer.message.startswith("of 256 spans from here on")
    assert fewer.message.endswith("in their place stand 254")
    (more,) = differences([*unknown[:300], *unknown[301:]], LEAVES, bounded=True)
    assert (more.kind, more.index, more.span) == ("inserted", 256, None)


def test_by_leaf_hashes_alone_what_moved_is_told() -> None:
    covered = [*HASHES[:256], *map(Covered, map(leaf_hash, HASHES[256:512])), *HASHES[512:]]
    swapped = [*LEAVES[:300], LEAVES[310], *LEAVES[301:310], LEAVES[300], *LEAVES[311:]]
    found = differences(covered, swapped, bounded=True)
    assert sorted((one.kind, one.index) for one in found) == [("moved", 300), ("moved", 310)]
