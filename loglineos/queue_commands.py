"""`loglineos queue`: what is pending, running and dead, and the proof that it is derived."""

from __future__ import annotations

import click

from loglineos.arguments import json_option
from loglineos.backend import choose_backend
from loglineos.output import Output

COLUMNS = ["status", "tenant", "owner", "request", "attempts", "ready or died at"]


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def queue(context: click.Context, as_json: bool) -> None:
    """Show the requests of all tenants that are pending, running or dead."""
    if context.invoked_subcommand is not None:
        return
    output = Output(as_json)
    result = choose_backend().migration({"action": "queue"})
    if as_json:
        output.json(result)
        return
    output.line(
        f"{result['scheduled']} pending, {result['running']} running, {result['dead']} dead; "
        f"{result['functions']} functions on a schedule"
    )
    rows = [
        (item["status"], item["tenant_id"], item["owner_id"], item["request_id"], item["attempts"], item["at"][:23])
        for item in result["requests"]
    ]
    if rows:
        output.table(COLUMNS, rows)


@queue.command()
@json_option
def rebuild(as_json: bool) -> None:
    """Build the index of the queue again from the spans, and say how far it was off."""
    output = Output(as_json)
    with output.step("Rebuilding the queue from the spans (appends wait)"):
        result = choose_backend().migration({"action": "queue", "rebuild": True})
    if as_json:
        output.json(result)
        return
    for item in result["rebuilt"]:
        off = ", ".join(f"{item[kind]} {kind}" for kind in ("missing", "wrong", "surplus") if item[kind])
        output.line(f"{item['index']}: {item['entries']} by the spans; {off or 'the index agreed'}")
