"""The hostile corpus (hostile.toml): each snippet's verdict, in its time, and that the next call works."""

from __future__ import annotations

import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from sandbox import Limits, Sandbox, SandboxError

SNIPPETS: list[dict[str, Any]] = tomllib.loads((Path(__file__).parent / "hostile.toml").read_text())["snippet"]
LIMITS = Limits(timeout_ms=1_000)
SLACK_S = 5  # of a busy machine, beyond the limit; an endless loop that nobody stops has no end at all


def code_of(snippet: dict[str, Any]) -> str:
    return snippet["code"] if "code" in snippet else "".join(text * times for text, times in snippet["parts"])


def test_the_corpus_is_large_and_its_names_are_its_own() -> None:
    names = [snippet["name"] for snippet in SNIPPETS]
    assert len(set(names)) == len(names) >= 60


def outcome(sandbox: Sandbox, code: str) -> tuple[str, Any, str]:
    """The verdict, the output and the message; the two texts that the code makes are within their bounds."""
    try:
        result = sandbox.run(code, "main", {"n": 1}, LIMITS, tenant="acme")
    except SandboxError as error:
        return error.code, error.details.get("printed", ""), error.message
    return "ok", result.output, result.printed


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: snippet["name"])
def test_verdict(sandbox: Sandbox, snippet: dict[str, Any]) -> None:
    started = time.monotonic()
    verdict, output, text = outcome(sandbox, code_of(snippet))
    assert time.monotonic() - started < LIMITS.timeout_ms / 1000 + SLACK_S
    expected = snippet["verdict"]
    assert verdict in (expected if isinstance(expected, list) else [expected]), text
    if verdict == "ok":
        assert output == snippet.get("output")
        assert len(text.encode()) <= LIMITS.printed_bytes
    else:
        assert len(output.encode()) <= LIMITS.printed_bytes
        assert len(text) <= 500
        assert "\n" not in text
        assert snippet.get("says", "") in text
    assert outcome(sandbox, "def main(input):\n    return input\n")[:2] == ("ok", {"n": 1})
