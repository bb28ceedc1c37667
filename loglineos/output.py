"""What people and scripts see: tables in a terminal, plain lines in a pipe, JSON where it is asked for."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.json import JSON
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

PLAIN_EVERY_S = 10.0


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

    @contextmanager
    def progress(self, text: str, unit: str) -> Iterator[Callable[[int, int], None]]:
        """What may take minutes: yields what is told how much is done, of how much.

        A bar in a terminal; elsewhere a plain line at most every ten seconds; with `as_json` nothing.
        """
        if self.as_json:
            yield lambda _done, _all: None
        elif self.console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn(f"{{task.completed:,}} of {{task.total:,}} {unit}"),
                TimeRemainingColumn(),
            )
            with Progress(*columns, console=self.console, transient=True) as bar:
                task = bar.add_task(escape(text), total=1)
                yield lambda done, all_of_it: bar.update(task, completed=done, total=all_of_it)
        else:
            yield _plain_progress(text, unit)


def _plain_progress(text: str, unit: str) -> Callable[[int, int], None]:
    told = time.monotonic()

    def tell(done: int, all_of_it: int) -> None:
        nonlocal told
        if time.monotonic() - told >= PLAIN_EVERY_S:
            told = time.monotonic()
            click.echo(f"{text}: {done} of {all_of_it} {unit}", err=True)

    return tell


def cell(value: Any) -> str:
    """One value in a table."""
    if value is None:
        return ""
    if isinstance(value, str):
        return "".join(c if c.isprintable() else " " for c in value)
    return json.dumps(value, ensure_ascii=False)
