"""Many arguments at once: each has the answer that it would have alone."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox import Limits, Result, Sandbox, SandboxError
from sandbox.source import keeps_no_state, tree_of

LIMITS = Limits(timeout_ms=700)
MISCHIEF = """
BOUND = 3

def on(span):
    kind = span["kind"]
    if kind == "fails":
        return 1 / 0
    if kind == "loops":
        while True:
            pass
    if kind == "large":
        return "x" * 2_000_000
    if kind == "greedy":
        return len("x" * 10**9)
    if kind == "prints":
        print("seen", span["n"])
    return [{"run": span["n"], "bound": BOUND}]
"""


def each(sandbox: Sandbox, code: str, spans: list[Any], tenant: str = "acme") -> list[Any]:
    """Outputs, or the errors' codes."""
    results = sandbox.run_each(code, "on", spans, LIMITS, tenant=tenant)
    return [result.output if isinstance(result, Result) else result.code for result in results]


def spans(*kinds: str) -> list[dict[str, Any]]:
    return [{"n": n, "kind": kind} for n, kind in enumerate(kinds)]


def answer(n: int) -> list[dict[str, int]]:
    return [{"run": n, "bound": 3}]


def test_every_span_has_its_answer_in_order(sandbox: Sandbox) -> None:
    assert each(sandbox, MISCHIEF, spans(*["fine"] * 450)) == [answer(n) for n in range(450)]
    assert each(sandbox, MISCHIEF, []) == []


@pytest.mark.parametrize(("kind", "verdict"), [
    ("fails", "runtime"), ("loops", "timeout"), ("large", "output_too_large"), ("greedy", "memory"),
])  # fmt: skip
def test_one_that_fails_takes_no_other_with_it(sandbox: Sandbox, kind: str, verdict: str) -> None:
    assert each(sandbox, MISCHIEF, spans("fine", kind, "fine")) == [answer(0), verdict, answer(2)]


def test_the_error_of_one_is_as_if_it_were_alone(sandbox: Sandbox) -> None:
    _, error = sandbox.run_each(MISCHIEF, "on", spans("fine", "fails"), LIMITS, tenant="acme")
    assert isinstance(error, SandboxError)
    assert (error.details["line"], error.details["type"]) == (7, "ZeroDivisionError")


def test_what_is_printed_is_told_apart(sandbox: Sandbox) -> None:
    results = sandbox.run_each(MISCHIEF, "on", spans("prints", "fine", "prints"), LIMITS, tenant="acme")
    assert [result.printed for result in results if isinstance(result, Result)] == ["seen 0\n", "", "seen 2\n"]


STATEFUL = {
    "list": "seen = []\ndef on(span):\n    seen.append(1)\n    return len(seen)",
    "global": "seen = 0\ndef on(span):\n    global seen\n    seen += 1\n    return seen",
    "default": "def on(span, seen=[]):\n    seen.append(1)\n    return len(seen)",
    "class": "class Seen:\n    count = 0\ndef on(span):\n    Seen.count += 1\n    return Seen.count",
    "iterator": "import itertools\ncount = itertools.count(1)\ndef on(span):\n    return next(count)",
    "closure": "def make():\n    n = 0\n    def on(span):\n        nonlocal n\n        n += 1\n        return n\n"
    "    return on\non = make()",
    "exec": "seen = 0\ndef on(span):\n    exec('global seen\\nseen += 1')\n    return 1",
    "named by eval": "seen = 0\ndef on(span):\n    eval('[seen := 1]')\n    return 1",
    "default of a lambda": "def on(span):\n    return count()\ncount = lambda seen=[]: (seen.append(1), len(seen))[1]",
    "cache": "from functools import lru_cache\n@lru_cache\ndef on_(n):\n    return n\ndef on(span):\n    return 1",
    "precision": "import decimal\ndef on(span):\n    return 1",
    "chance": "import random\nrandom.seed(1)\ndef on(span):\n    return 1",
}


@pytest.mark.parametrize("code", STATEFUL.values(), ids=STATEFUL)
def test_state_of_one_never_reaches_the_next(sandbox: Sandbox, code: str) -> None:
    assert not keeps_no_state(tree_of(code))
    assert each(sandbox, code, spans(*["fine"] * 5)) == [1] * 5


def test_no_argument_reaches_the_next(sandbox: Sandbox) -> None:
    code = "def on(span):\n    span['seen'] = span.get('seen', 0) + 1\n    span['all'].append(1)\n    return span"
    shared: list[int] = []
    given = [{"n": n, "all": shared} for n in range(3)]
    assert keeps_no_state(tree_of(code))
    assert each(sandbox, code, given) == [{"n": n, "all": [1], "seen": 1} for n in range(3)]
    assert shared == []


def test_a_plain_policy_is_loaded_once() -> None:
    assert keeps_no_state(tree_of(MISCHIEF))
    assert not keeps_no_state(None)


@pytest.mark.parametrize(("code", "verdict"), [
    ("def on(span):\n    yield 1", "unsupported"),
    ("def on(span", "compile"),
    ("import numpy\ndef on(span):\n    return 1", "unsupported"),
    ("1 / 0\ndef on(span):\n    return 1", "runtime"),
    ("def other(span):\n    return 1", "compile"),
])  # fmt: skip
def test_code_that_cannot_run_is_the_error_of_each(sandbox: Sandbox, code: str, verdict: str) -> None:
    assert each(sandbox, code, spans("fine", "fine")) == [verdict, verdict]
