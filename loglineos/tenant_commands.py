"""`loglineos tenant`: set a tenant up (manual 4.3), by a span with its hash and signature."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID, uuid5

import click

from ledger.ids import new_id
from loglineos.arguments import json_option
from loglineos.backend import Backend, choose_backend
from loglineos.caller import Caller
from loglineos.errors import CommandFailed
from loglineos.http_backend import HttpBackend
from loglineos.output import Output

# A caller may not choose the ids that the system derives (version 8), so this one is a name-based UUID (RFC 9562, 5.5).
TENANTS: Final = UUID("6a1e5bb0-9f0b-4f4a-8d62-0e3a56d0c7a4")
_BY_ID: Final = """
SELECT id, entity_type, tenant_id, owner_id FROM ledger.universal_registry WHERE id = $1 AND seq = 0
"""
_LIST: Final = """
SELECT tenant_id, owner_id, min(at) AS created, min(id::text) AS id FROM ledger.visible_timeline
WHERE entity_type = 'tenant_setup' AND tenant_id IS NOT NULL GROUP BY tenant_id, owner_id ORDER BY created, tenant_id
"""


@click.group()
def tenant() -> None:
    """Set tenants up, and list those that were. (A tenant also comes to be by its first span.)"""


@tenant.command()
@click.argument("name")
@click.option("--owner", required=True, help="The user whose span says so, such as admin@example.com.")
@json_option
def create(name: str, owner: str, as_json: bool) -> None:
    """Record that tenant NAME was set up for its owner. A second time it says that it was.

    It replaces the manual's INSERT (4.3), which has no hash and is refused.
    """
    output, backend = Output(as_json), choose_backend()
    if isinstance(backend, HttpBackend):
        raise CommandFailed("a device acts in its own tenant only: leave --url away, and give --env or DATABASE_URL")
    body, created = _create(backend, name, owner)
    if as_json:
        output.json({"tenant": name, "owner": body["owner_id"], "id": body["id"], "created": created})
    elif created:
        output.line(f"Tenant {name} is set up for {owner}: span {body['id']}, {body['curr_hash']}.")
    else:
        output.line(f"Tenant {name} was set up for {body['owner_id']} already: span {body['id']}.")


def _create(backend: Backend, name: str, owner: str) -> tuple[dict[str, Any], bool]:
    """The span, and whether it is new. Raises CommandFailed."""
    span_id = uuid5(TENANTS, name)
    try:
        return _append(backend, span_id, name, owner), True
    except CommandFailed as error:
        if error.details.get("answer", {}).get("error", {}).get("code") not in ("version_conflict", "not_permitted"):
            raise
        found = backend.migration({"action": "query", "sql": _BY_ID, "params": [str(span_id)]})["rows"]
        if not found:
            raise
    (row,) = found
    if (row["entity_type"], row["tenant_id"]) == ("tenant_setup", name):
        if row["owner_id"] != owner:
            raise CommandFailed(f"tenant {name} was set up for {row['owner_id']} already: choose another name")
        return row, False
    # Somebody else took the id beforehand: ids of callers are nobody's.
    return _append(backend, new_id(), name, owner), True


def _append(backend: Backend, span_id: UUID, name: str, owner: str) -> dict[str, Any]:
    return Caller(backend, owner, name).append(
        id=str(span_id), entity_type="tenant_setup", who="admin", did="created", this="tenant", status="active"
    )


@tenant.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the tenants that were set up."""
    output = Output(as_json)
    rows = choose_backend().migration({"action": "query", "sql": _LIST})["rows"]
    if as_json:
        output.json({"tenants": rows})
    else:
        output.table(
            ["tenant", "owner", "created", "span"],
            [(row["tenant_id"], row["owner_id"], row["created"], row["id"]) for row in rows],
        )
