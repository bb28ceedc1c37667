"""What the tests of the schema, the library and db-migration share: a ledger for a module, people, spans."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import pq, sql
from psycopg.types.json import Jsonb

from ledger.append import insert_sealed
from ledger.connection import Connection
from ledger.database import Identity
from ledger.ids import MANIFEST_ID, new_id
from ledger.proof import seal
from ledger.read import span_of
from ledger.span import ASSIGNED_COLUMNS, JSON_COLUMNS, Span, parse_span
from loglineos.local.postgres import Server
from tests.conftest import ROW_KEY, TEMPLATE, TestLedger, environment_of

NOBODY = Identity("", None)  # what an unset context becomes after a transaction
_numbers = itertools.count()
_idle: dict[tuple[str, str], list[Connection]] = {}


@contextmanager
def copied_database(server: Server, template: str = TEMPLATE) -> Iterator[TestLedger]:
    """A database of its own; the tests of a module that keep to their own tenants can share it."""
    name = f"shared_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server.url("rdsadmin", "postgres"), autocommit=True) as connection:
        statement = sql.SQL("CREATE DATABASE {} OWNER postgres TEMPLATE {} STRATEGY FILE_COPY")
        connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
        try:
            yield TestLedger(server, name, environment_of(server, name))
        finally:
            for key in [key for key in _idle if key[0] == name]:
                for idle in _idle.pop(key):
                    idle.close()
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def shared(cluster: Server) -> Iterator[TestLedger]:
    """A migrated and seeded ledger for all tests of a module."""
    with copied_database(cluster) as ledger:
        yield ledger


def someone(user: str = "alice") -> Identity:
    """A user whom no other test knows, in a tenant of one's own."""
    number = next(_numbers)
    return Identity(f"{user}-{number}", f"tenant-{number}")


def draft(owner: Identity, **values: Any) -> Span:
    """A valid span of the owner's, not yet sealed."""
    return parse_span(
        {
            "id": new_id(),
            "entity_type": "note",
            "who": "a test",
            "did": "wrote",
            "this": "note",
            "at": "2026-01-31T12:00:00.000001Z",
            "owner_id": owner.user_id,
            "tenant_id": owner.tenant_id,
            **values,
        }
    )


def sealed(owner: Identity, **values: Any) -> Span:
    """The same with its hash."""
    return seal(draft(owner, **values), None)


def following(span: Span, **values: Any) -> Span:
    """The next version of a sealed span, sealed."""
    version = {"seq": span.seq + 1, "prev_hash": span.curr_hash, "name": "next", **values}
    return seal(span.with_values(**version), None)


def insert(connection: Connection, span: Span, clause: str = "", ending: str = "", **columns: Any) -> list[Any]:
    """One plain INSERT, with nothing of the library between: `columns` replace or add values as they stand."""
    values = {name: value for name, value in span.columns().items() if value is not None} | columns
    given = [Jsonb(value) if name in JSON_COLUMNS else value for name, value in values.items()]
    statement = sql.SQL("INSERT INTO ledger.universal_registry ({}) {} VALUES ({}) {}").format(
        sql.SQL(", ").join(map(sql.Identifier, values)),
        sql.SQL(clause),
        sql.SQL(", ").join(
            sql.SQL("{}::text::xid8").format(sql.Placeholder()) if name == "xid" else sql.Placeholder()
            for name in values
        ),
        sql.SQL(ending),
    )
    cursor = connection.execute(statement, given)
    return cursor.fetchall() if cursor.description else []


def set_context(connection: Connection, identity: Identity) -> None:
    """The context of the open transaction."""
    connection.execute(
        "SELECT set_config('app.user_id', %s, true), set_config('app.tenant_id', %s, true)",
        [identity.user_id, identity.tenant_id or ""],
    )


@contextmanager
def session(ledger: TestLedger, role: str) -> Iterator[Connection]:
    """A connection that signed in as the role: to a module's database an earlier one, where it is idle and as new."""
    keep = ledger.name.startswith("shared_")
    idle = _idle.setdefault((ledger.name, role), []) if keep else []
    connection = idle.pop() if idle else ledger.connect(role)
    try:
        yield connection
    finally:
        if keep and not connection.closed and connection.info.transaction_status == pq.TransactionStatus.IDLE:
            idle.append(connection)
        else:
            connection.close()


@contextmanager
def acting(ledger: TestLedger, role: str, identity: Identity | None = None) -> Iterator[Connection]:
    """A transaction of a connection that signed in as the role, under the identity's context."""
    with session(ledger, role) as connection, connection.transaction():
        if identity is not None:
            set_context(connection, identity)
        yield connection


def ask(
    ledger: TestLedger, role: str, statement: str, parameters: Any = None, identity: Identity | None = None
) -> list[Any]:
    """`TestLedger.execute`, by a connection that is kept."""
    with acting(ledger, role, identity) as connection:
        cursor = connection.execute(statement.encode(), parameters)
        return cursor.fetchall() if cursor.description else []


def put(ledger: TestLedger, *spans: Span) -> None:
    """Insert sealed spans of anybody's as the seeder's login."""
    with acting(ledger, "postgres") as connection:
        for span in spans:
            insert(connection, span)


def announce(ledger: TestLedger, *keys: dict[str, Any]) -> None:
    """The manifest's next version, which names these keys, by the row key of the tests."""
    rows = ledger.execute(
        "readonly", "SELECT * FROM ledger.universal_registry WHERE id = %s ORDER BY seq DESC LIMIT 1", [MANIFEST_ID]
    )
    newest = span_of(rows[0])
    version = following(newest, metadata={**(newest.metadata or {}), "keys": list(keys)})
    with ledger.connect("admin") as connection:
        insert_sealed(connection, [seal(version, ROW_KEY)])


def assigned(ledger: TestLedger, span: Span) -> dict[str, int]:
    """What the database gave the span."""
    rows = ask(ledger,
        "readonly", "SELECT era, xid, position FROM ledger.universal_registry WHERE (id, seq) = (%s, %s)",
        [span.id, span.seq],
    )  # fmt: skip
    return {name: int(rows[0][name]) for name in ASSIGNED_COLUMNS}
