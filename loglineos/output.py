"""What people and scripts see: tables in a terminal, plain lines in a pipe, JSON where it is asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.json import JSON
from rich.markup import escape
from rich.table import Table


class Output:
    """One command's output. With `as_json` standard output holds one JSON document, and steps go unsaid."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())

    def json(self, value: Any) -> None:
        """The whole answer, for scripts; coloured where a person looks at it."""
        text = json.dumps(value, ensure_ascii=False, indent=2)
        if self.console.is_terminal and not self.as_json:
            self.console.print(JSON(text))
        else:
            click.echo(text)

    def line(self, text: str = "", style: str | None = None) -> None:
        """A sentence for people."""
        if not self.as_json:
            self.console.print(escape(text), style=style)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Rows for people; in a pipe, tab-separated."""
        if not self.console.is_terminal:
            for row in [columns, *rows]:
                click.echo("\t".join(cell(value) for value in row))
            return
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in columns:
            table.add_column(escape(column), overflow="fold")
        for row in rows:
            table.add_row(*(escape(cell(value)) for value in row))
        self.console.print(table)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Something that may take seconds: a spinner in a terminal, a plain line elsewhere."""
        if self.as_json:
            yield
        elif self.console.is_terminal:
            with self.console.status(escape(text)):
                yield
            self.console.print(f"[green]✓[/green] {escape(text)}")
        else:
            click.echo(f"{text} ...")
            yield


def cell(value: Any) -> str:
    """One value in a table."""
    if value is None:
        return ""
    if isinstance(value, str):
        return "".join(c if c.isprintable() else " " for c in value)
    return json.dumps(value, ensure_ascii=False)
