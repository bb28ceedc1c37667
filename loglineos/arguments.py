"""Arguments that several commands take."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_USER, DEFAULT_TENANT = "edge:stage0", "system"
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document, for scripts.")


class OutFile(click.Path):
    """A file to write to. That it can be written is known before the work whose result it is to hold."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, writable=True, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """See click."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        try:
            if not path.exists():
                tempfile.TemporaryFile(dir=path.absolute().parent).close()
        except OSError as error:
            self.fail(f"cannot write {path}: {error.strerror}", param, ctx)
        return path


class OutFolder(click.Path):
    """A folder to write to, made where it is missing, before the work whose result it is to hold."""

    def __init__(self) -> None:
        super().__init__(file_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """See click."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        try:
            path.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=path).close()
        except OSError as error:
            self.fail(f"cannot write to {path}: {error.strerror}", param, ctx)
        return path


def identity_options(command: Command) -> Command:
    """`--user` and `--tenant`: whom the command acts as. IAM (or access to this machine) decides who may.

    Over HTTPS the device's key decides, and they are not taken.
    """
    for name, default, sentence in (
        ("user", DEFAULT_USER, "Act as this user."),
        ("tenant", DEFAULT_TENANT, "Act in this tenant."),
    ):
        variable = f"LOGLINEOS_{name.upper()}"
        command = click.option(
            f"--{name}", default=default, envvar=variable, show_default=True, show_envvar=True, help=sentence
        )(command)
    return command


def read_json(text: str, name: str) -> Any:
    """A JSON argument: itself, `@file`, or `-` for standard input. Repeated keys are refused."""
    if text == "-":
        text = sys.stdin.read()
    elif text.startswith("@"):
        text = read_text(Path(text[1:]), name)
    try:
        return json.loads(text, object_pairs_hook=_once)
    except ValueError as error:
        raise click.BadParameter(f"expected JSON, @file or -: {error}", param_hint=name) from error


def read_text(path: Path, name: str, step: str = "") -> str:
    """A text file that an argument names; `step` says what to do if it cannot be read."""
    try:
        return path.read_bytes().decode()  # every byte as it is: some of these texts are signed
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"cannot read {path}: {error}. {step}".strip(), param_hint=name) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        repeated = next(key for n, (key, _) in enumerate(pairs) if key in dict(pairs[:n]))
        raise ValueError(f"the key {repeated!r} stands twice")
    return values


class DefaultGroup(click.Group):
    """A group whose first command needs not be named: `backup FOLDER` is `backup make FOLDER`.

    What happens to be called like one of the commands is given as a path (`./verify`), or after the command's name.
    """

    def __init__(self, *arguments: Any, default: str, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.default = default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click."""
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = [self.default, *args]
        return super().parse_args(ctx, args)
