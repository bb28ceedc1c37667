"""Ids: time-ordered for new spans, derived where the same thing must get the same id, reserved for the seeder."""

from __future__ import annotations

import time
from uuid import UUID, uuid4

import pytest

from ledger.ids import derived_id, is_callers_id, is_reserved_id, new_id


def test_new_ids_are_unique_version_7_and_carry_the_time() -> None:
    before = time.time_ns() // 1_000_000
    ids = [new_id() for _ in range(1000)]
    after = time.time_ns() // 1_000_000
    assert len(set(ids)) == 1000
    for span_id in ids:
        assert (span_id.version, span_id.variant) == (7, "specified in RFC 4122")
        assert before <= span_id.int >> 80 <= after
        assert is_callers_id(span_id)


def test_a_derived_id_depends_on_every_part_and_where_it_ends() -> None:
    tries = [("a", "b"), ("ab",), ("ab", ""), ("", "ab"), ("b", "a"), ("a", "b", ""), ("é",), ("e\u0301",), ()]
    ids = [derived_id(*parts) for parts in tries]
    assert len(set(ids)) == len(tries)
    assert ids == [derived_id(*parts) for parts in tries]
    assert {span_id.version for span_id in ids} == {8}
    assert not any(is_callers_id(span_id) for span_id in ids)


@pytest.mark.parametrize(
    ("text", "reserved"),
    [
        ("00000000-0000-4000-8000-000000000000", True),
        ("00000000-0000-4000-8000-000000000201", True),
        ("00000000-0000-4000-8000-FFFFFFFFFFFF", True),
        ("00000000-0000-4000-7fff-ffffffffffff", False),
        ("00000000-0000-4000-8001-000000000000", False),
        ("00000000-0000-0000-0000-000000000000", False),
    ],
)
def test_the_seeders_ids_are_reserved(text: str, reserved: bool) -> None:
    assert is_reserved_id(UUID(text)) is reserved
    assert is_callers_id(UUID(text)) is not reserved
    assert is_callers_id(uuid4())
