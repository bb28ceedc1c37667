"""Arguments that several commands take."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document, for scripts.")


def identity_options(command: Command) -> Command:
    """`--user` and `--tenant`: whom the command acts as. IAM (or access to this machine) decides who may."""
    command = click.option("--user", default="edge:stage0", show_default=True, help="Act as this user.")(command)
    return click.option("--tenant", default="system", show_default=True, help="Act in this tenant.")(command)


def read_json(text: str, name: str) -> Any:
    """A JSON argument: itself, `@file`, or `-` for standard input. Repeated keys are refused."""
    if text == "-":
        text = sys.stdin.read()
    elif text.startswith("@"):
        try:
            text = Path(text[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise click.BadParameter(f"cannot read {text[1:]}: {error}", param_hint=name) from error
    try:
        return json.loads(text, object_pairs_hook=_once)
    except ValueError as error:
        raise click.BadParameter(f"expected JSON, @file or -: {error}", param_hint=name) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        repeated = next(key for n, (key, _) in enumerate(pairs) if key in dict(pairs[:n]))
        raise ValueError(f"the key {repeated!r} stands twice")
    return values
