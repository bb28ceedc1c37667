"""docs/functions.md says what is so: each of its snippets runs, or is refused as it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sandbox import Limits, Sandbox, SandboxError
from sandbox.source import LONGEST

PAGE = (Path(__file__).parents[2] / "docs" / "functions.md").read_text()
ENTRY = "\ndef main(input):\n    return 1\n"
IMPORTS = "import os\nimport re\n"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```python{kind}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def parts(kind: str) -> list[str]:
    return [part for block in blocks(f" {kind}") for part in block.strip().split("\n\n")]


def modules(sentence: str) -> list[str]:
    listed = PAGE.partition(sentence)[2].split(";")[0].split(". ")[0]
    return re.findall(r"`([a-z0-9_.]+)`", listed)


@pytest.mark.parametrize("code", blocks(""))
def test_what_there_is(sandbox: Sandbox, code: str) -> None:
    entry = "on" if "def on(" in code else "main"
    argument = {"id": "x", "duration_ms": 6000, "items": [{"price": 1.5, "count": 2}]}
    sandbox.check(code, entry, tenant="acme")
    assert sandbox.run(code, entry, argument, Limits(), tenant="acme").output


def test_the_examples_answer_what_one_expects(sandbox: Sandbox) -> None:
    given = [
        {"items": [{"price": 1.5, "count": 2}]}, {"id": "x", "duration_ms": 6000}, None, None, [7], None, None,
    ]  # fmt: skip
    entries = ["main", "on", *["main"] * 5]
    outputs = [
        sandbox.run(code, entry, argument, Limits(), tenant="acme").output
        for code, entry, argument in zip(blocks(""), entries, given, strict=True)
    ]
    assert outputs == [
        {"total": 3.0},
        [{"action": "run", "function_id": "0196f1c0-5b1e-7a52-8c1e-9f430c3a3a01", "input": {"slow": "x"}}],
        {"a": 2, "b": 13, "big": "1267650600228229401496703205376", "text": "   2 3.14 'x'"},
        "2.25",
        7,
        [2, [2, 4], "2026-02-01T00:00:00+00:00", 2, "0.30", "[1]"],
        ["list", 1],
    ]


@pytest.mark.parametrize("code", parts("unsupported"))
def test_what_there_is_not(sandbox: Sandbox, code: str) -> None:
    with pytest.raises(SandboxError) as caught:
        sandbox.check(code + ENTRY, "main", tenant="acme")
    assert caught.value.code == "unsupported"
    assert caught.value.details["line"] >= 1


@pytest.mark.parametrize("statement", parts("runtime"))
def test_what_fails_when_it_runs(sandbox: Sandbox, statement: str) -> None:
    code = f"{IMPORTS}def main(input):\n    {statement}\n"
    sandbox.check(code, "main", tenant="acme")
    with pytest.raises(SandboxError) as caught:
        sandbox.run(code, "main", None, Limits(), tenant="acme")
    assert (caught.value.code, caught.value.details["line"]) == ("runtime", 4)


def test_modules_that_are_there(sandbox: Sandbox) -> None:
    listed = modules("Modules: ")
    assert len(listed) == 24
    sandbox.check("".join(f"import {module}\n" for module in listed) + ENTRY, "main")


@pytest.mark.parametrize("module", [
    *modules("often wanted and missing: "), *modules("all that talk to the system ("), "requests",
])  # fmt: skip
def test_modules_that_are_missing(sandbox: Sandbox, module: str) -> None:
    with pytest.raises(SandboxError, match=f"import {module}"):
        sandbox.check(f"import {module}\n{ENTRY}", "main", tenant="acme")


def test_the_numbers_are_the_defaults() -> None:
    defaults = Limits()
    assert (defaults.timeout_ms, Limits.of_policies({}).timeout_ms) == (5_000, 3_000)
    assert "| wall clock, sleep counted | 5 s | 3 s |" in PAGE
    assert f"| memory | {defaults.memory_mb} MB |" in PAGE
    assert f"and of the answer | {defaults.recursion} |" in PAGE
    assert f"| the answer's JSON | {defaults.output_bytes // 1024**2} MB |" in PAGE
    assert f"| printed text | {defaults.printed_bytes // 1024} KB |" in PAGE
    assert f"| source | {LONGEST // 1024} KB |" in PAGE
