"""How long, how large and how deep untrusted code may go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from .errors import SandboxError

# What a manifest can ask for. Beyond it the worker's own bounds (jail/launcher.py) would strike first.
_HIGHEST = {
    "timeout_ms": 25_000,
    "memory_mb": 256,
    "recursion": 1_000,
    "output_bytes": 16_777_216,
    "printed_bytes": 1_048_576,
}


@dataclass(frozen=True)
class Limits:
    """The limits of one call. Sleeping counts towards `timeout_ms`.

    Raises SandboxError (`sandbox_unavailable`) for a value that cannot be enforced; the message names it.
    """

    timeout_ms: int = 5_000
    memory_mb: int = 64
    recursion: int = 200
    output_bytes: int = 1_048_576
    printed_bytes: int = 65_536

    def __post_init__(self) -> None:
        for field in fields(self):
            value, highest = getattr(self, field.name), _HIGHEST[field.name]
            if type(value) is not int or not 1 <= value <= highest:
                raise SandboxError(
                    "sandbox_unavailable",
                    f"sandbox.{field.name}: an integer from 1 to {highest} is expected; correct the manifest",
                )

    @classmethod
    def of_functions(cls, manifest: Mapping[str, Any]) -> Limits:
        """The limits of user functions, from the manifest's metadata: `sandbox`, and `policy.slow_ms` for the time."""
        timeout = _section(manifest, "policy").get("slow_ms", cls.timeout_ms)
        return cls._of(manifest, "timeout_ms", timeout)

    @classmethod
    def of_policies(cls, manifest: Mapping[str, Any]) -> Limits:
        """The limits of policies: those of functions, but for the time (`sandbox.policy_timeout_ms`)."""
        return cls._of(manifest, "policy_timeout_ms", 3_000)

    @classmethod
    def _of(cls, manifest: Mapping[str, Any], timeout_key: str, timeout: Any) -> Limits:
        given = _section(manifest, "sandbox")
        others = {name: given[name] for name in _HIGHEST if name in given and name != "timeout_ms"}
        return cls(timeout_ms=given.get(timeout_key, timeout), **others)


def _section(manifest: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = manifest.get(name) or {}
    if not isinstance(section, Mapping):
        raise SandboxError("sandbox_unavailable", f"{name}: an object is expected; correct the manifest")
    return section
