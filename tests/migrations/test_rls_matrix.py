"""Who sees what: role, context and way of access against owner, tenant and visibility of a row.

The expectation is written down by hand, and knows nothing of the SQL that is to meet it.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from ledger.database import Identity
from loglineos.local.postgres import Server
from tests.conftest import TestLedger
from tests.ledger.kit import ask, copied_database, put, sealed, session, set_context

# Seen by alice of acme, and by a context that is unset or was left over by a transaction.
#                          alice of acme            nobody
#                      table  pages  search   table  pages  search
MATRIX = """
own        private       x      x      x        .      .      .
own        tenant        x      x      x        .      .      .
own        public        x      x      x        x      x      .
namesake   private       .      .      .        .      .      .
namesake   tenant        .      .      .        .      .      .
namesake   public        x      x      .        x      x      .
tenantless private       .      .      .        .      .      .
tenantless tenant        .      .      .        .      .      .
tenantless public        x      x      .        x      x      .
colleague  private       .      .      .        .      .      .
colleague  tenant        x      x      x        .      .      .
colleague  public        x      x      x        x      x      .
stranger   private       .      .      .        .      .      .
stranger   tenant        .      .      .        .      .      .
stranger   public        x      x      .        x      x      .
drifter    private       .      .      .        .      .      .
drifter    tenant        .      .      .        .      .      .
drifter    public        x      x      .        x      x      .
"""
OWNERS = {
    "own": Identity("alice", "acme"),
    "namesake": Identity("alice", "globex"),
    "tenantless": Identity("alice", None),
    "colleague": Identity("bob", "acme"),
    "stranger": Identity("carol", "globex"),
    "drifter": Identity("dave", None),
}
KINDS = ("table", "pages", "search")
ROWS = [line.split() for line in MATRIX.strip().splitlines()]
EVERYTHING = {f"{relation} {visibility}" for relation, visibility, *_ in ROWS}

_AHEAD = "2147483647, '18446744073709551615', 9223372036854775807"
ACCESS = {
    "the table": ("table", "SELECT name FROM ledger.universal_registry WHERE entity_type = 'memory'"),
    "visible_timeline": ("table", "SELECT name FROM ledger.visible_timeline WHERE entity_type = 'memory'"),
    "current_span": ("table", "SELECT name FROM ledger.current_span WHERE entity_type = 'memory'"),
    "a page back": ("pages", f"SELECT name FROM ledger.timeline(false, {_AHEAD}, 1000) WHERE entity_type = 'memory'"),
    "a page back of the type": ("pages", f"SELECT name FROM ledger.timeline(false, {_AHEAD}, 1000, 'memory')"),
    "a page on": ("pages", "SELECT name FROM ledger.timeline(true, 0, '0', 0, 1000) WHERE entity_type = 'memory'"),
    "a page on of the type": ("pages", "SELECT name FROM ledger.timeline(true, 0, '0', 0, 1000, 'memory')"),
    "search_memory": (
        "search",
        "SELECT m.name FROM ledger.search_memory(ARRAY['needle'], 100)"
        " JOIN ledger.universal_registry m USING (id, seq)",
    ),
}
REFUSED = "refused"


@pytest.fixture(scope="module")
def people(cluster: Server) -> Iterator[TestLedger]:
    """One memory for each owner and visibility; its name says whose it is."""
    with copied_database(cluster) as ledger:
        put(
            ledger,
            *(
                sealed(
                    OWNERS[relation],
                    entity_type="memory",
                    name=f"{relation} {visibility}",
                    visibility=visibility,
                    metadata={"content": "a needle"},
                )
                for relation, visibility, *_ in ROWS
            ),
        )
        yield ledger


def expected(role: str, context: str, kind: str) -> set[str] | str:
    """The hand-written answer: `readonly` reports on everything, but has no page or search of anybody's."""
    if role == "readonly":
        return EVERYTHING if kind == "table" else REFUSED
    if role in ("admin", "postgres") and kind == "table":
        return EVERYTHING
    column = 2 + KINDS.index(kind) + (0 if context == "alice" else 3)
    return {f"{row[0]} {row[1]}" for row in ROWS if row[column] == "x"}


@pytest.mark.parametrize("context", ["alice", "unset", "after a transaction"])
@pytest.mark.parametrize("access", ACCESS)
@pytest.mark.parametrize("role", ["lambda_exec", "readonly", "admin", "postgres"])
def test_each_role_sees_what_the_matrix_says(people: TestLedger, role: str, access: str, context: str) -> None:
    kind, statement = ACCESS[access]
    # Only a new session has never had a context.
    with people.connect(role) if context == "unset" else session(people, role) as connection:
        if context == "after a transaction":
            with connection.transaction():
                set_context(connection, OWNERS["own"])
            left = connection.execute("SELECT current_setting('app.user_id', true) AS left").fetchall()
            assert left == [{"left": ""}]
        with connection.transaction():
            if context == "alice":
                set_context(connection, OWNERS["own"])
            try:
                names = [row["name"] for row in connection.execute(statement.encode())]
            except psycopg.errors.InsufficientPrivilege:
                assert expected(role, context, kind) == REFUSED
                return
    assert set(names) == expected(role, context, kind)
    assert len(names) == len(set(names)), "a row came twice"


def test_the_matrix_names_every_combination_once() -> None:
    assert len(ROWS) == len(EVERYTHING) == len(OWNERS) * 3
    assert all(len(row) == 2 + 2 * len(KINDS) for row in ROWS)


def test_row_level_security_is_enabled_and_forced(people: TestLedger) -> None:
    rows = ask(
        people,
        "readonly",
        "SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE relname = 'universal_registry'",
    )
    assert rows == [{"relrowsecurity": True, "relforcerowsecurity": True}]


@pytest.mark.parametrize("view", ["visible_timeline", "current_span"])
def test_a_view_runs_with_the_rights_of_its_caller(people: TestLedger, view: str) -> None:
    rows = ask(people, "readonly", "SELECT reloptions FROM pg_class WHERE relname = %s", [view])
    assert rows == [{"reloptions": ["security_invoker=true"]}]
