"""Canonical bytes are those of RFC 8785, by the quick way and the slow; what cannot be kept is refused by path."""

from __future__ import annotations

import struct
from collections import OrderedDict
from decimal import Decimal
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings

from ledger.canonical import MAX_DEPTH, canonical_bytes, check
from ledger.errors import InvalidInput
from tests.ledger.json_values import anything, plain

# RFC 8785, appendix B: the bits of a double, and how it is written.
NUMBERS = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333",
    "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}


@pytest.mark.parametrize("bits", NUMBERS)
def test_numbers_are_written_as_appendix_b_says(bits: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical_bytes({"n": [number]}) == b'{"n":[%s]}' % NUMBERS[bits].encode()


def test_the_example_of_section_3_2_2() -> None:
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }
    assert canonical_bytes(value) == (
        b'{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        + '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'.encode()
    )


def test_keys_are_sorted_as_section_3_2_3_says() -> None:
    value = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\u0080": 6, "\u00f6": 7}
    assert canonical_bytes(value) == '{"\\r":2,"1":4,"\u0080":6,"ö":7,"€":1,"😀":5,"\ufb33":3}'.encode()


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (2**53, b"9007199254740992"),
        (2**53 + 1, b"9007199254740992"),
        (10**16, b"10000000000000000"),
        (10**21, b"1e+21"),
        (-(10**400) // 10**99, b"-1e+301"),
        (1.0, b"1"),
        (1e16, b"10000000000000000"),
        ("\x7f\x1f\b\f", b'"\x7f\\u001f\\b\\f"'),
    ],
)
def test_a_number_is_hashed_as_its_double(value: Any, written: bytes) -> None:
    assert canonical_bytes(value) == written


@settings(max_examples=400, deadline=None, database=None)
@given(value=plain)
def test_the_quick_way_writes_the_same_bytes(value: Any) -> None:
    assert canonical_bytes(value) == rfc8785.dumps(value)


@settings(max_examples=300, deadline=None, database=None)
@given(value=anything)
def test_any_value_has_the_bytes_of_rfc_8785(value: Any) -> None:
    check(value, "value")
    assert canonical_bytes(value) == rfc8785.dumps(value)


@pytest.mark.parametrize("value", [{"a": [1, "x", None, True, {"é": -1}]}, "text", 2**53 - 1, {"\uffff": 1}, [], {}])
def test_the_quick_way_is_taken_where_it_can_be(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(_: Any) -> bytes:
        raise AssertionError("the slow way was taken")

    monkeypatch.setattr(rfc8785, "dumps", slow)
    canonical_bytes(value)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


REFUSED: list[tuple[Any, str, str]] = [
    (float("nan"), "v", "finite"),
    ({"a": [0, float("inf")]}, "v.a[1]", "finite"),
    ([-float("inf")], "v[0]", "finite"),
    (2**53, "v", "2^53"),
    ({"n": {"m": -(2**53)}}, "v.n.m", "2^53"),
    ({"t": "a\x00b"}, "v.t", "NUL"),
    ({"t": ["\ud800"]}, "v.t[0]", "surrogate"),
    ({"t": "\udc00\ud800"}, "v.t", "surrogate"),
    ({"a\x00": 1}, "v (a key)", "NUL"),
    ({"a": {"\udfff": 1}}, "v.a (a key)", "surrogate"),
    ({1: 2}, "v", "strings, not int"),
    ({"a": {None: 2}}, "v.a", "strings, not NoneType"),
    ({"a": {1, 2}}, "v.a", "not set"),
    ([(1, 2)], "v[0]", "not tuple"),
    ({"b": b"bytes"}, "v.b", "not bytes"),
    ({"d": Decimal(1)}, "v.d", "not Decimal"),
    ({"o": OrderedDict(a=1)}, "v.o", "not OrderedDict"),
    ({"o": object()}, "v.o", "not object"),
    (nested(MAX_DEPTH + 1), "v" + "[0]" * MAX_DEPTH, "levels"),
]


@pytest.mark.parametrize(("value", "path", "word"), REFUSED)
def test_what_cannot_be_kept_is_refused_by_its_path(value: Any, path: str, word: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        check(value, "v")
    assert refusal.value.details["field"] == path
    assert word in refusal.value.details["expected"]


@pytest.mark.parametrize("value", [nested(MAX_DEPTH), 2**53 - 1, -(2**53) + 1, "\U0010ffff", {"": ""}, -0.0, 5e-324])
def test_the_extremes_that_can_be_kept_pass(value: Any) -> None:
    check(value, "v")
    canonical_bytes(value)


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 5_000, 200_000])
def test_however_deep_a_value_is_it_is_refused_and_not_a_matter_of_the_stack(depth: int) -> None:
    with pytest.raises(InvalidInput, match="levels of nesting"):
        check(nested(depth), "v")
