"""Checking code without running it."""

from __future__ import annotations

import pytest

from sandbox import Limits, Sandbox, SandboxError

GOOD = {
    "plain": "def main(input):\n    return 1",
    "a default more": "def main(input, more=1):\n    return 1",
    "any number": "def main(*inputs):\n    return 1",
    "keyword with a default": "def main(input, *, more=1):\n    return 1",
    "lambda": "main = lambda input: 1",
    "behind a condition": "if True:\n    def main(input):\n        return 1",
    "optional import": "try:\n    import numpy\nexcept ImportError:\n    numpy = None\ndef main(input):\n    return 1",
    "modules that are there": "import json, re, math\nfrom datetime import datetime\ndef main(input):\n    return 1",
    "submodule": "import os.path\ndef main(input):\n    return os.path.join('a', 'b')",
    "would loop": "while True:\n    pass\ndef main(input):\n    return 1",
    "would raise": "1 / 0\ndef main(input):\n    return 1",
    "annotated": "from typing import Any\ndef main(input: dict[str, Any]) -> int | None:\n    return 1",
}  # fmt: skip
BAD = {
    "nothing": ("", "compile", "there is no function main"),
    "another name": ("def other(input):\n    return 1", "compile", "there is no function main"),
    "no argument": ("def main():\n    return 1", "compile", "line 1: main does not take one argument"),
    "two arguments": ("def main(a, b):\n    return 1", "compile", "line 1: main does not take one argument"),
    "keyword without default": ("def main(a, *, b):\n    return 1", "compile", "does not take one argument"),
    "asynchronous": ("async def main(input):\n    return 1", "compile", "main is async"),
    "redefined": ("def main(a):\n    return 1\ndef main(a, b):\n    return 1", "compile", "line 3: main does not"),
    "import in a function": ("def main(input):\n    import numpy", "unsupported", "line 2, column 5: `import numpy`"),
    "name that is not there": ("from math import nope\ndef main(a):\n    pass", "unsupported", "cannot import name"),
    "syntax": ("def main(input):\n    return (1", "compile", "line 2"),
    "nested": ("x = " + "(" * 50_000, "compile", "too deeply nested"),
}


@pytest.mark.parametrize("code", GOOD.values(), ids=GOOD)
def test_good_code_passes_and_none_of_it_runs(sandbox: Sandbox, code: str) -> None:
    sandbox.check(code, "main", tenant="acme")


@pytest.mark.parametrize(("code", "verdict", "says"), BAD.values(), ids=BAD)
def test_bad_code_is_refused_with_the_reason(sandbox: Sandbox, code: str, verdict: str, says: str) -> None:
    with pytest.raises(SandboxError) as caught:
        sandbox.check(code, "main", tenant="acme")
    assert caught.value.code == verdict
    assert says in caught.value.message


def test_checking_is_done_in_the_tenants_worker_or_in_one_for_this_alone(sandbox: Sandbox) -> None:
    sandbox.run(GOOD["plain"], "main", 1, Limits(), tenant="acme")
    worker = sandbox._worker
    sandbox.check(GOOD["plain"], "main", tenant="acme")
    assert sandbox._worker is worker
    sandbox.check(GOOD["plain"], "main")
    assert sandbox._worker is None
