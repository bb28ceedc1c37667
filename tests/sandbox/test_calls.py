"""What a call takes and gives: values, printed text, errors with their place."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox import Limits, Sandbox, SandboxError

ECHO = "def main(input):\n    return input\n"


def run(sandbox: Sandbox, code: str, argument: Any = None, **limits: int) -> Any:
    return sandbox.run(code, "main", argument, Limits(**limits), tenant="acme")


def error_of(sandbox: Sandbox, code: str, argument: Any = None, **limits: int) -> SandboxError:
    with pytest.raises(SandboxError) as caught:
        run(sandbox, code, argument, **limits)
    return caught.value


@pytest.mark.parametrize("value", [
    None, True, 0, -1, 2**53, 10**30, 0.1, 1e300, "", "é ✓ 日本 \u0000 \" \\", "line\nline\u2028", [], {}, [[], {}],
    {"a": {"b": [1, 2.5, None, True, "x"]}, "": "empty key", "é": 1}, ["x" * 10_000],
])  # fmt: skip
def test_json_goes_in_and_comes_out(sandbox: Sandbox, value: Any) -> None:
    output = run(sandbox, ECHO, value).output
    assert output == value
    assert type(output) is type(value)


def test_tuples_are_lists(sandbox: Sandbox) -> None:
    assert run(sandbox, "def main(input):\n    return (1, (2, 3))").output == [1, [2, 3]]


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, b"bytes", object()])
def test_an_argument_that_is_no_json_is_refused(sandbox: Sandbox, value: Any) -> None:
    error = error_of(sandbox, ECHO, value)
    assert error.code == "runtime"
    assert error.message.startswith("the argument is no JSON value")


def test_a_deep_argument_is_said(sandbox: Sandbox) -> None:
    deep: list[Any] = []
    for _ in range(300):
        deep = [deep]
    error = error_of(sandbox, ECHO, deep)
    assert (error.code, error.message) == ("recursion", "the argument is nested deeper than 200")


def test_what_is_printed_comes_with_the_result(sandbox: Sandbox) -> None:
    result = run(sandbox, "print('loaded')\ndef main(input):\n    print('called', input, sep=': ')\n    return 1", "x")
    assert (result.output, result.printed) == (1, "loaded\ncalled: x\n")
    assert result.duration_ms >= 0


def test_what_is_printed_comes_with_an_error(sandbox: Sandbox) -> None:
    error = error_of(sandbox, "def main(input):\n    print('so far')\n    return 1 / 0")
    assert error.details["printed"] == "so far\n"


def test_too_much_print_is_cut_in_bytes(sandbox: Sandbox) -> None:
    result = run(sandbox, "def main(input):\n    print('é' * 1000)\n    return 1", printed_bytes=101)
    assert (result.output, result.printed) == (1, "é" * 50)


def test_an_error_has_its_type_and_the_place_in_the_code(sandbox: Sandbox) -> None:
    code = "def inner(value):\n    return value['missing']\n\ndef main(input):\n    return inner(input)\n"
    error = error_of(sandbox, code, {})
    assert (error.code, error.details["type"]) == ("runtime", "KeyError")
    assert (error.details["line"], error.details["column"]) == (2, 12)
    assert error.message.startswith("line 2, column 12: KeyError")


@pytest.mark.parametrize(("code", "verdict", "place"), [
    ("def main(input)\n    return 1", "compile", (1, 16)),
    ("def main(input):\n    if input:\n", "compile", (2, 14)),
    ("def main(input):\n    yield input", "unsupported", (2, 5)),
    ("import json\nimport requests\ndef main(input):\n    pass", "unsupported", (2, 1)),
])  # fmt: skip
def test_what_does_not_compile_is_the_same_in_run_and_check(
    sandbox: Sandbox, code: str, verdict: str, place: tuple[int, int]
) -> None:
    ran = error_of(sandbox, code)
    with pytest.raises(SandboxError) as checked:
        sandbox.check(code, "main", tenant="acme")
    for error in (ran, checked.value):
        assert error.code == verdict
        assert (error.details["line"], error.details["column"]) == place
        assert error.message.startswith(f"line {place[0]}, column {place[1]}: ")


def test_limits_are_those_of_the_call(sandbox: Sandbox) -> None:
    assert error_of(sandbox, "def main(input):\n    return 'x' * input", 100, output_bytes=101).code == (
        "output_too_large"
    )
    assert run(sandbox, "def main(input):\n    return 'x' * input", 100, output_bytes=102).output == "x" * 100
    deep = "def down(n):\n    return 0 if n == 0 else down(n - 1)\ndef main(input):\n    return down(input)"
    assert run(sandbox, deep, 150).output == 0
    assert error_of(sandbox, deep, 150, recursion=100).code == "recursion"
    large = "def main(input):\n    return len('x' * input)"
    assert run(sandbox, large, 20_000_000).output == 20_000_000
    assert error_of(sandbox, large, 20_000_000, memory_mb=10).code == "memory"
    assert run(sandbox, large, 150_000_000, memory_mb=256).output == 150_000_000


def test_the_clock_is_readable_and_in_utc(sandbox: Sandbox) -> None:
    code = "from datetime import datetime, timezone\ndef main(input):\n"
    code += "    return abs((datetime.now() - datetime.now(timezone.utc).replace(tzinfo=None)).total_seconds()) < 5"
    assert run(sandbox, code).output is True


@pytest.mark.parametrize("entry", ["", "a b", "main(", "class", "main)\nwhile True: pass\n(", "_" * 50 + "("])
def test_an_entry_is_a_name(sandbox: Sandbox, entry: str) -> None:
    with pytest.raises(SandboxError, match="is no name of a function") as caught:
        sandbox.run(ECHO, entry, 1, Limits(), tenant="acme")
    assert caught.value.code == "compile"


def test_a_source_with_half_a_character_is_refused(sandbox: Sandbox) -> None:
    assert error_of(sandbox, ECHO + "# \ud800").code == "compile"
