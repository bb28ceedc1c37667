"""`up`, `down`, `status`: the local stack's life."""

from __future__ import annotations

from typing import Any

import click

from ledger.errors import LedgerError
from loglineos.arguments import json_option
from loglineos.backend import AwsBackend, Backend, InProcessBackend, choose_backend
from loglineos.demo import show_demo
from loglineos.http_backend import HttpBackend
from loglineos.local.stack import LocalStack
from loglineos.output import Output
from loglineos.rehearsal import deploy_locally


@click.command()
@click.option("--demo", is_flag=True, help="Then store a memory, find it, and show the timeline.")
@json_option
def up(demo: bool, as_json: bool) -> None:
    """Start the local stack and deploy to it; a second time is an update.

    With DATABASE_URL: migrate and seed that database, without any AWS.
    """
    output, stack = Output(as_json), LocalStack()
    backend: Backend
    if stack.database_url is None:
        backend = deploy_locally(stack, output)
    else:
        backend = InProcessBackend(stack)
        with output.step("Migrating"):
            backend.migration({"action": "migrate"})
    with output.step("Seeding"):
        seeded = backend.migration({"action": "seed"})
    if as_json:
        output.json({**_described(stack), "seed": seeded})
        return
    if isinstance(backend, AwsBackend):
        output.line(f"The HTTP API is at {_described(stack)['url']}.")
    output.line(f"{len(seeded['inserted']) + len(seeded['unchanged'])} rows are in the ledger.")
    if demo:
        show_demo(backend, output)


@click.command()
@json_option
def down(as_json: bool) -> None:
    """Stop the local stack. The ledger's data, log, archive and keys stay; `up` deploys the rest again."""
    output, stack = Output(as_json), LocalStack()
    with output.step("Stopping the AWS emulator and PostgreSQL"):
        stopped = [stack.emulator.stop(), stack.postgres.stop()]
    if as_json:
        output.json({"stopped": any(stopped)})
    else:
        output.line("Stopped; data, log, archive and keys stay in .local." if any(stopped) else "It was not running.")


@click.command()
@json_option
def status(as_json: bool) -> None:
    """Tell whether the ledger runs, where, and whether it is migrated. Exit code 3 if it does not run."""
    output, backend = Output(as_json), choose_backend()
    if isinstance(backend, HttpBackend):
        _show(output, _described_over_https(backend))
        return
    facts: dict[str, Any] = _described(LocalStack()) if not _remote(backend) else {"environment": _remote(backend)}
    migrations = backend.migration({"action": "migrate", "dry_run": True})
    facts |= {"pending_migrations": migrations["pending"], "ahead": migrations["ahead"]}
    try:
        counted = backend.migration({"action": "query", "sql": "SELECT count(*) AS spans FROM ledger.visible_timeline"})
        facts["spans"] = counted["rows"][0]["spans"]
    except LedgerError:
        facts["spans"] = None  # not migrated yet
    _show(output, facts)


def _show(output: Output, facts: dict[str, Any]) -> None:
    if output.as_json:
        output.json(facts)
        return
    if "pending_migrations" in facts:
        pending = ", ".join(facts.pop("pending_migrations"))
        facts["migrations"] = f"pending: {pending}; run `loglineos migrate`" if pending else "up to date"
    for name, value in facts.items():
        if value not in (None, []):
            output.line(f"{name:12} {value}")


def _remote(backend: Backend) -> str | None:
    return backend.environment if isinstance(backend, AwsBackend) and not backend.variables else None


def _described_over_https(backend: HttpBackend) -> dict[str, Any]:
    health, device = backend.load({"action": "health"}), backend.device
    return {
        "url": backend.url,
        "database": health["database"],
        "device": device.device_id,
        "user": device.user_id,
        "tenant": device.tenant_id,
        "kernels": ", ".join(kernel["name"] for kernel in health["kernels"]),
    }


def _described(stack: LocalStack) -> dict[str, Any]:
    if stack.database_url is not None:
        return {"database": "the one of DATABASE_URL"}
    server, endpoint = stack.postgres.running(), stack.emulator.running()
    return {
        "database": f"PostgreSQL {server.version} at {server.host}:{server.port}" if server else "not running",
        "data": str(server.data_directory) if server else None,
        "aws": f"{endpoint.url} (region {endpoint.region})" if endpoint else "not running",
        "url": endpoint.api_url if endpoint else None,
    }
