"""The benchmark behind the capacity page: what it multiplies are real spans, and it measures what the model reads."""

from __future__ import annotations

import random
from itertools import islice

import pytest

from benchmarks.capacity import Measurement
from benchmarks.capacity_model import tables
from benchmarks.ledger import LOADER_KEY
from benchmarks.needs import Costs
from benchmarks.usage import WEIGHTS, Texts, everybody, uses
from ledger.ids import derived_id, new_id
from ledger.proof import public_key_of, verify
from ledger.span import Span
from tests.conftest import ROW_KEY, TestLedger
from tests.ledger.kit import following, sealed, shared, someone

__all__ = ["shared"]


def pattern() -> list[Span]:
    """A claim, a memory in two versions and an execution, as a boot leaves them."""
    owner = someone()
    claim = sealed(owner, id=derived_id("a claim"), entity_type="boot_event")
    memory = sealed(owner, entity_type="memory", metadata={"content": "three words here"})
    other = new_id()
    execution = sealed(owner, entity_type="execution", parent_id=claim.id, related_to=[other])
    return [claim, memory, following(memory, status="active"), execution]


def test_spans_that_are_made_again_are_valid_and_hang_together() -> None:
    texts = Texts(["word"], ["word"], random.Random(1))
    original = pattern()
    (made,) = islice(uses({name: [original] for name in WEIGHTS}, texts, LOADER_KEY, everybody()), 1)
    claim, memory, version, execution = made
    for span in made:
        assert verify(span, {public_key_of(LOADER_KEY)})
        assert (span.owner_id, span.tenant_id) == (claim.owner_id, claim.tenant_id)
    assert {span.id for span in made}.isdisjoint(span.id for span in original)
    assert [span.id.version for span in (claim, memory, execution)] == [8, 7, 7]
    assert (version.id, version.seq, version.prev_hash) == (memory.id, 1, memory.curr_hash)
    assert execution.parent_id == claim.id
    assert execution.related_to == original[3].related_to  # what was there before is still there
    assert memory.metadata == {"content": "word word word"}


def test_all_that_the_model_reads_is_measured(shared: TestLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.meter.WARM", 1)
    measurement = Measurement(shared.server, shared.name, ROW_KEY, spans=200, rounds=2, each=1)
    try:
        figures = measurement.figures()
    finally:
        measurement.close()
    assert figures["measured"]["spans"] >= 200
    assert figures["use"]["spans_of_each"]["store"] == 4  # boot_event, memory, execution, and the policies' metric
    assert figures["wal_bytes_per_span"]["later"]["records"] > figures["bytes_per_span"]["heap"]
    assert len(tables(Costs(figures))) == 6
