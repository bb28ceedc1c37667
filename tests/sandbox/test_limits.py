"""Limits as the manifest gives them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sandbox import Limits, SandboxError


def test_the_released_manifests_limits_are_the_defaults() -> None:
    manifests = Path(__file__).parents[2] / "row" / "manifest" / "03-manifest.ndjson"
    line = manifests.read_text().splitlines()[-1]
    metadata = json.loads(line)["metadata"]
    assert Limits.of_functions(metadata) == Limits() == Limits.of_functions({})
    assert Limits.of_policies(metadata) == Limits(timeout_ms=3_000) == Limits.of_policies({})


def test_each_limit_is_taken() -> None:
    manifest = {
        "policy": {"slow_ms": 4_000},
        "sandbox": {
            "policy_timeout_ms": 2_000,
            "memory_mb": 32,
            "recursion": 100,
            "output_bytes": 10,
            "printed_bytes": 5,
        },
    }
    assert Limits.of_functions(manifest) == Limits(4_000, 32, 100, 10, 5)
    assert Limits.of_policies(manifest) == Limits(2_000, 32, 100, 10, 5)
    manifest["sandbox"]["timeout_ms"] = 1_000
    assert Limits.of_functions(manifest).timeout_ms == 1_000
    assert Limits.of_policies(manifest).timeout_ms == 2_000


@pytest.mark.parametrize(("sandbox", "named"), [
    ({"timeout_ms": 0}, "sandbox.timeout_ms"),
    ({"timeout_ms": 60_000}, "sandbox.timeout_ms"),
    ({"memory_mb": 1.5}, "sandbox.memory_mb"),
    ({"memory_mb": 100_000}, "sandbox.memory_mb"),
    ({"recursion": True}, "sandbox.recursion"),
    ({"output_bytes": "1"}, "sandbox.output_bytes"),
    ({"printed_bytes": None}, "sandbox.printed_bytes"),
    ([], "sandbox"),
])  # fmt: skip
def test_a_limit_that_cannot_be_kept_is_refused(sandbox: Any, named: str) -> None:
    if sandbox == []:
        sandbox = ["timeout_ms"]
    with pytest.raises(SandboxError, match=f"^{named}: ") as caught:
        Limits.of_functions({"sandbox": sandbox})
    assert caught.value.code == "sandbox_unavailable"
