"""Functions and policies are looked at when they are appended: what could never run is refused with its place."""

from __future__ import annotations

from typing import Any, Final

from ledger.errors import InvalidInput
from ledger.schedule import check_schedule
from ledger.span import Span
from policies.definition import check_definition
from sandbox import Sandbox, SandboxError

# What each type of code begins with: `def main(input)`, `def on(span)`.
ENTRIES: Final = {"function": "main", "policy": "on"}
LANGUAGES: Final = ("python",)
MOST_AT_ONCE: Final = 1000


def check_code(span: Span, path: str, sandbox: Sandbox) -> None:
    """Nothing for other spans and for tombstones.

    Raises:
        InvalidInput: `language`, `code` or a setting in `metadata` is not what it should be.
        SandboxError: `compile` or `unsupported`, with line and column.
    """
    if span.entity_type not in ENTRIES or span.is_deleted:
        return
    if span.language not in LANGUAGES:
        raise InvalidInput(f"{path}.language", f"expected {' or '.join(LANGUAGES)}, the only language supported")
    if not span.code:
        raise InvalidInput(f"{path}.code", f"expected Python with a function {ENTRIES[span.entity_type]}")
    metadata = span.metadata or {}
    if span.entity_type == "function":
        _check_settings(metadata, f"{path}.metadata")
    else:
        check_definition(metadata, f"{path}.metadata")
    sandbox.check(span.code, ENTRIES[span.entity_type], tenant=span.tenant_id or "")


def sandbox_facts(sandbox: Sandbox) -> dict[str, Any]:
    """What holds for the sandbox's worker, by one that was started; `problem` says why none could be."""
    try:
        sandbox.check(f"def {ENTRIES['function']}(input): return input", ENTRIES["function"], tenant="system")
    except SandboxError as error:
        return {**sandbox.facts(), "problem": error.message}
    return sandbox.facts()


def _check_settings(metadata: dict[str, Any], path: str) -> None:
    if metadata.get("schedule") is not None:
        check_schedule(metadata["schedule"], f"{path}.schedule")
    most = metadata.get("max_concurrency")
    if most is not None and (type(most) is not int or not 1 <= most <= MOST_AT_ONCE):
        raise InvalidInput(f"{path}.max_concurrency", f"expected a whole number from 1 to {MOST_AT_ONCE}")
