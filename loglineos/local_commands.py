"""`up`, `down`, `status`: the local ledger's life."""

from __future__ import annotations

from typing import Any

import click

from ledger.errors import LedgerError
from loglineos.arguments import json_option
from loglineos.backend import LocalBackend
from loglineos.demo import show_demo
from loglineos.local.postgres import Server
from loglineos.local.stack import LocalStack
from loglineos.output import Output


@click.command()
@click.option("--demo", is_flag=True, help="Then store a memory, find it, and show the timeline.")
@json_option
def up(demo: bool, as_json: bool) -> None:
    """Start the local ledger, migrate and seed it. A second time it changes nothing."""
    output, stack = Output(as_json), LocalStack()
    if stack.database_url is None:
        with output.step("Starting PostgreSQL"):
            stack.start()
    backend = LocalBackend(stack)
    with output.step("Migrating"):
        migrated = backend.migration({"action": "migrate"})
    with output.step("Seeding"):
        seeded = backend.migration({"action": "seed"})
    if backend.server is not None:
        stack.write_client_settings(backend.server)
    if as_json:
        output.json({"server": _described(backend.server), "migrate": migrated, "seed": seeded})
        return
    inserted, unchanged = len(seeded["inserted"]), len(seeded["unchanged"])
    output.line(f"{len(migrated['applied'])} migrations applied, {inserted} rows seeded, {unchanged} unchanged.")
    if demo:
        show_demo(backend, output)


@click.command()
@json_option
def down(as_json: bool) -> None:
    """Stop the local ledger. Its data stay."""
    output = Output(as_json)
    with output.step("Stopping PostgreSQL"):
        stopped = LocalStack().postgres.stop()
    if as_json:
        output.json({"stopped": stopped})
    else:
        output.line("Stopped; the data stay in .local." if stopped else "It was not running.")


@click.command()
@json_option
def status(as_json: bool) -> None:
    """Tell whether the ledger runs, where, and whether it is migrated. Exit code 3 if it does not run."""
    output, backend = Output(as_json), LocalBackend()
    server = backend.server  # raises, with what to do, where it is down
    facts: dict[str, Any] = {"server": _described(server)}
    migrations = backend.migration({"action": "migrate", "dry_run": True})
    facts |= {"pending_migrations": migrations["pending"], "ahead": migrations["ahead"]}
    try:
        counted = backend.migration({"action": "query", "sql": "SELECT count(*) AS spans FROM ledger.visible_timeline"})
        facts["spans"] = counted["rows"][0]["spans"]
    except LedgerError:
        facts["spans"] = None  # not migrated yet
    if as_json:
        output.json(facts)
        return
    for name, value in facts["server"].items():
        output.line(f"{name:20} {value}")
    pending = ", ".join(facts["pending_migrations"])
    output.line(f"{'migrations':20} {f'pending: {pending}; run `loglineos migrate`' if pending else 'up to date'}")
    output.line(f"{'spans':20} {facts['spans'] if facts['spans'] is not None else 'none yet'}")


def _described(server: Server | None) -> dict[str, Any]:
    if server is None:
        return {"database": "the one of DATABASE_URL"}
    return {
        "database": f"PostgreSQL {server.version} at {server.host}:{server.port}",
        "pid": server.pid,
        "data": str(server.data_directory),
    }
