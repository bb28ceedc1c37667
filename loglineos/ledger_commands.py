"""The commands that speak to the ledger through its two Lambdas."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from loglineos.arguments import identity_options, json_option, read_json, read_text
from loglineos.backend import Backend, choose_backend
from loglineos.caller import place_before
from loglineos.errors import CommandFailed
from loglineos.output import Output
from loglineos.spans import proof_of, show_spans

FOLLOW_PAUSE_S = 1.0


@click.command()
@click.option("--phase", type=click.Choice(["pre", "post"]), help="`pre` stops before the first `post` migration.")
@click.option("--dry-run", is_flag=True, help="Only tell what is pending.")
@json_option
def migrate(phase: str | None, dry_run: bool, as_json: bool) -> None:
    """Bring the schema up to this release."""
    output = Output(as_json)
    with output.step("Migrating"):
        result = choose_backend().migration({"action": "migrate", "phase": phase, "dry_run": dry_run})
    if as_json:
        output.json(result)
        return
    for name in result["applied"]:
        output.line(f"applied  {name}")
    for name in result["pending"]:
        output.line(f"pending  {name}")
    if result.get("warning"):
        output.line(f"Warning: {result['warning']}: {', '.join(result['ahead'])}", "yellow")
    if not result["applied"] and not result["pending"]:
        output.line("The schema is up to date.")


@click.command()
@json_option
def seed(as_json: bool) -> None:
    """Append the rows of `row/` that the ledger does not have."""
    output = Output(as_json)
    with output.step("Seeding"):
        result = choose_backend().migration({"action": "seed"})
    if as_json:
        output.json(result)
        return
    rows = [
        (state, row["name"], row["seq"], row["id"])
        for state in ("inserted", "unchanged", "skipped")
        for row in result[state]
    ]
    output.table(["", "name", "seq", "id"], rows)


@click.command()
@click.argument("sql")
@click.option("--param", "params", multiple=True, metavar="JSON", help="Fills $1, $2, … in order.")
@json_option
def query(sql: str, params: tuple[str, ...], as_json: bool) -> None:
    """Run one read-only statement as `readonly`, across all tenants: at most 10 s, 1,000 rows, 5 MB."""
    output = Output(as_json)
    given = [read_json(param, "--param") for param in params]
    result = choose_backend().migration({"action": "query", "sql": sql, "params": given})
    if as_json:
        output.json(result)
        return
    names = [column["name"] for column in result["columns"]]
    output.table(names, [[row[name] for name in names] for row in result["rows"]])
    if result["truncated"]:
        click.echo(f"Not all of it: {result['truncated']}.", err=True)


@click.command()
@click.argument("kernel")
@click.option("--input", "input_", default="{}", metavar="JSON|@FILE|-", help="The kernel's input.")
@click.option("--request-id", type=click.UUID, help="Makes the boot idempotent: a repeat answers the stored result.")
@click.option("--trace-id", help="Joins this boot's spans and log lines with yours.")
@identity_options
@json_option
def boot(
    kernel: str, input_: str, request_id: UUID | None, trace_id: str | None, user: str, tenant: str, as_json: bool
) -> None:
    """Boot KERNEL, by its id or its name, and print what it answers."""
    output, backend = Output(as_json), choose_backend()
    event: dict[str, Any] = {
        "action": "boot",
        "input": read_json(input_, "--input"),
        "user_id": user,
        "tenant_id": tenant,
    }
    event |= {"request_id": str(request_id)} if request_id else {}
    event |= {"trace_id": trace_id} if trace_id else {}
    try:
        body = backend.load({**event, "boot_function_id": _kernel_id(backend, kernel)})
    except CommandFailed as error:
        if as_json:
            output.json(error.details["answer"])
        raise
    if as_json:
        output.json(body)
        return
    output.json(body["output"])
    replayed = ", replayed" if body.get("replayed") else ""
    click.echo(f"{body['proof']}, {body['duration_ms']} ms{replayed}, execution {body['execution_id']}", err=True)


def _kernel_id(backend: Backend, kernel: str) -> str:
    try:
        return str(UUID(kernel))
    except ValueError:
        kernels = {item["name"]: item["id"] for item in backend.load({"action": "health"})["kernels"]}
    if kernel not in kernels:
        raise click.BadParameter(
            f"no kernel is called {kernel!r}; there are: {', '.join(kernels)}", param_hint="KERNEL"
        )
    return str(kernels[kernel])


@click.command()
@click.argument("span", metavar="JSON|@FILE|-")
@identity_options
@json_option
def append(span: str, user: str, tenant: str, as_json: bool) -> None:
    """Append one span, or a list of them, all or none.

    A span's `code_file` names the file that its `code` is in, seen from the span's own file.
    """
    output = Output(as_json)
    given = read_json(span, "SPAN")
    folder = Path(span[1:]).parent if span.startswith("@") else Path()
    given = [_with_code(one, folder) for one in given] if isinstance(given, list) else _with_code(given, folder)
    event = {"action": "append", "spans" if isinstance(given, list) else "span": given}
    body = choose_backend().load({**event, "user_id": user, "tenant_id": tenant})
    if as_json:
        output.json(body)
    else:
        rows = [
            (s["id"], s["seq"], "appended" if s["inserted"] else "was there", s["curr_hash"]) for s in body["spans"]
        ]
        output.table(["id", "seq", "", "hash"], rows)


def _with_code(span: Any, folder: Path) -> Any:
    """The rows of `row/` name the files of their code in the same way."""
    if not isinstance(span, dict) or "code_file" not in span:
        return span
    kept = {name: value for name, value in span.items() if name != "code_file"}
    return {**kept, "code": read_text(folder / str(span["code_file"]), "SPAN")}


@click.command()
@click.option("--follow", is_flag=True, help="Go on printing what is committed, until interrupted.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.option("--type", "entity_type", help="Only spans of this entity_type.")
@identity_options
@json_option
def timeline(follow: bool, limit: int, entity_type: str | None, user: str, tenant: str, as_json: bool) -> None:
    """Show the newest spans that the user may see, each hash and signature checked here.

    With --follow it prints in commit order; with --json too, one JSON object a line.
    """
    output, backend = Output(as_json), choose_backend()
    event: dict[str, Any] = {"action": "timeline", "limit": limit, "user_id": user, "tenant_id": tenant}
    event |= {"entity_type": entity_type} if entity_type else {}
    body = backend.load(event)
    if not follow:
        if as_json:
            output.json({**body, "spans": [{**span, "proof": proof_of(span)} for span in body["spans"]]})
        else:
            show_spans(output, body["spans"])
        return
    # From the oldest span of the page on everything comes again, in commit order, and nothing is missed.
    after, header = place_before(body["spans"][-1]) if body["spans"] else "beginning", True
    while True:
        body = backend.load({**event, "limit": 1000, "after": after})
        show_spans(output, body["spans"], header=header)
        after, header = body["cursor"], False
        if len(body["spans"]) < 1000:
            time.sleep(FOLLOW_PAUSE_S)
