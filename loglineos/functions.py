"""A user's functions: found by name, versioned, tried in the sandbox with the limits that a deployed run has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from db_migration.rows import read_rows
from ledger.errors import LedgerError
from ledger.ids import MANIFEST_ID
from ledger.settings import asset_directory
from loglineos.arguments import read_text
from loglineos.caller import Caller, SpanBody
from sandbox import Limits, Sandbox, SandboxError
from stage0_loader.permitted import CAUSE

ENTRY = "main"
HERE = "this machine"  # whose code it is that the local sandbox runs
# What a function is, and so what its next version keeps. Time, trace and proof are the version's own.
_KEPT = ("id", "entity_type", "this", "visibility", "name", "description", "code", "language", "runtime", "input")


class FunctionFailed(LedgerError):
    """A function did not do what it was to: the kind of error, its sentence, and what to do where that is known."""

    code = "failed"

    def __init__(self, kind: str, message: str, step: str = "") -> None:
        super().__init__(f"{kind}: {message.rstrip('.')}. {step}".strip())


def functions_of(caller: Caller) -> list[SpanBody]:
    """The latest version of each function of the tenant that the caller may see, those they own first.

    Read from the caller's timeline: their own rights decide, and no kernel has to run.
    """
    visible = caller.newest("function", latest=True)
    found = [span for span in visible if span.get("tenant_id") == caller.tenant and span["owner_id"] != "system"]
    return sorted(found, key=lambda span: (span["owner_id"] != caller.user, span.get("name") or "", span["id"]))


def function_called(caller: Caller, wanted: str, *, owned: bool) -> SpanBody:
    """The function of that name or id; `owned`: it has to be the caller's. Their own comes before a colleague's.

    Raises click.BadParameter if there is none, or more than one.
    """
    functions = [span for span in functions_of(caller) if not owned or span["owner_id"] == caller.user]
    key = "id" if is_id(wanted) else "name"
    found = [span for span in functions if span.get(key) == (str(UUID(wanted)) if key == "id" else wanted)]
    own = [span for span in found if span["owner_id"] == caller.user] or found
    if len(own) == 1:
        return own[0]
    if own:
        ids = ", ".join(span["id"] for span in own)
        raise click.BadParameter(f"several functions are called {wanted!r}: {ids}. Give the id.", param_hint="NAME|ID")
    names = ", ".join(dict.fromkeys(str(span.get("name")) for span in functions)) or "none yet"
    raise click.BadParameter(
        f"{caller.user} of {caller.tenant} has no function {wanted!r}; there are: {names}."
        " `loglineos function append FILE` appends one; --user and --tenant say whose you mean.",
        param_hint="NAME|ID",
    )


def id_of(caller: Caller, wanted: str) -> str:
    """The id of the function of that name; an id is its own, the ledger says whether there is such a function."""
    return str(UUID(wanted)) if is_id(wanted) else str(function_called(caller, wanted, owned=False)["id"])


def is_id(text: str) -> bool:
    """Is it a UUID, not a name?"""
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def first_version(name: str) -> dict[str, Any]:
    """A new function, to append once it has its code."""
    return {"entity_type": "function", "this": "function", "did": "wrote", "name": name, "metadata": {}}


def next_version(before: SpanBody, **changes: Any) -> dict[str, Any]:
    """A function's next version, to append: what it is, with these changes."""
    kept = {name: before[name] for name in _KEPT if name in before}
    metadata = {name: value for name, value in (before.get("metadata") or {}).items() if name != CAUSE}
    return {**kept, "metadata": metadata, **changes, "seq": before["seq"] + 1}


def read_code(file: str) -> str:
    """A function's source. Raises click.BadParameter."""
    return read_text(Path(file), "FILE", "`loglineos function new NAME` writes a file to begin with.")


def limits() -> Limits:
    """What a run may use: the released manifest's limits."""
    return Limits.of_functions(read_rows(asset_directory("row"))[MANIFEST_ID][-1].metadata or {})


@contextmanager
def local_sandbox() -> Iterator[Sandbox]:
    """The sandbox of a deployed run, on this machine."""
    sandbox = Sandbox(require_seccomp=False)
    try:
        yield sandbox
    finally:
        sandbox.close()


def check(code: str, file: str) -> None:
    """Show the place and raise FunctionFailed for what could never run."""
    with local_sandbox() as sandbox:
        try:
            sandbox.check(code, ENTRY, tenant=HERE)
        except SandboxError as error:
            show_place(code, file, error)
            raise FunctionFailed(error.code, error.message) from None


def show_place(code: str, file: str, error: SandboxError) -> None:
    """On standard error, the line of the source that an error is about, with a mark under its column."""
    line, column = error.details.get("line"), error.details.get("column")
    lines = code.splitlines()
    if not isinstance(line, int) or not 1 <= line <= len(lines):
        return
    click.echo(f"{file}:{line}:{column or 1}\n    {lines[line - 1]}", err=True)
    if isinstance(column, int):
        # Tabs stay tabs, so that the mark stands where the text does.
        lead = "".join(c if c == "\t" else " " for c in lines[line - 1][: column - 1])
        click.echo(f"    {lead}^", err=True)
