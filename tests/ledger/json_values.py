"""Strategies for the JSON values and texts that a span can hold, and for those where notations differ."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

EXACT = 2**53 - 1

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
integers = st.integers(-EXACT, EXACT) | st.sampled_from([0, -1, EXACT, -EXACT])
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [-0.0, 1.0, 1e16, 1e21, 1e-7, 5e-324, 1.7976931348623157e308, 0.1 + 0.2, 333333333.33333329, 9007199254740992.0]
)
# Keys of which UTF-8 and UTF-16 order differ, and keys that need escapes.
keys = texts | st.sampled_from(
    ["\ue000", "\uffff", "\U0001f319", "\U00010000", "é", "e\u0301", '"', "\\", "\n", "", "a"]
)


def json_values(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Values of these scalars, nested."""
    return st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
    )


plain = json_values(st.none() | st.booleans() | integers | texts)
anything = json_values(st.none() | st.booleans() | integers | numbers | texts)
objects = st.dictionaries(keys, anything, max_size=4)
