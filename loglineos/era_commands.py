"""`loglineos era`: which eras there are, and beginning the next one after a physical restore."""

from __future__ import annotations

from typing import Any

import click

from loglineos.arguments import json_option
from loglineos.backend import choose_backend
from loglineos.output import Output


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def era(context: click.Context, as_json: bool) -> None:
    """Show the ledger's eras: each begins after a restore."""
    if context.invoked_subcommand is None:
        _show(Output(as_json), choose_backend().migration({"action": "era"}))


@era.command()
@click.option("--reason", required=True, help="Why: it is kept, such as 'PITR to 2026-01-31T12:00:00Z'.")
@json_option
def begin(reason: str, as_json: bool) -> None:
    """Begin the next era, after a restore of a snapshot or to a point in time. (`loglineos restore` does it itself.)

    What is appended from now on comes after all that is there, whatever its transaction ids: followers miss nothing.
    """
    output = Output(as_json)
    with output.step("Beginning the next era (waits for appends under way)"):
        answer = choose_backend().migration({"action": "era", "reason": reason})
    _show(output, answer)


def _show(output: Output, answer: dict[str, Any]) -> None:
    if output.as_json:
        output.json(answer)
    else:
        rows = [(row["era"], row["started_at"], row["reason"]) for row in answer["eras"]]
        output.table(["era", "began", "reason"], rows)
