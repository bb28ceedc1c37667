"""The numbered SQL files of `migrations/`: read, compared with what a database has, applied in order."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal, LiteralString, cast

import psycopg

from ledger.connection import Connection
from ledger.errors import LedgerError

Phase = Literal["pre", "post"]

LOCK_KEY: Final = 0x6C6F676C  # "logl"
LOCK_WAIT_S: Final = 30.0
LOCK_POLL_S: Final = 0.1
_NAME = re.compile(r"^\d{4}_[a-z0-9_]+\.sql$")
_HEADER = re.compile(r"^-- phase: (pre|post)( breaking)?$")

# The row of a migration is inserted first, inside its transaction: a duplicate key means a peer has done it.
_BOOTSTRAP: Final[LiteralString] = """
CREATE SCHEMA IF NOT EXISTS app;
CREATE TABLE IF NOT EXISTS app.schema_migration (
  name        text        PRIMARY KEY,
  sha256      text        NOT NULL,
  phase       text        NOT NULL,
  breaking    boolean     NOT NULL,
  applied_at  timestamptz NOT NULL DEFAULT now()
);
"""
_RECORD: Final[LiteralString] = (
    "INSERT INTO app.schema_migration (name, sha256, phase, breaking) VALUES (%s, %s, %s, %s)"
)


class MigrationFailed(LedgerError):
    """The migrations cannot go on. Whatever failed has left nothing behind."""

    code = "migration_failed"


class DatabaseAhead(MigrationFailed):
    """A newer release has applied a breaking migration that this code does not know."""

    code = "database_ahead"


@dataclass(frozen=True)
class Migration:
    """One file. `pre` may run while the previous release still serves; `post` needs the new one in place.

    `breaking` says that older code cannot work on the schema that results.
    """

    name: str
    sql: str = field(repr=False)
    sha256: str
    phase: Phase
    breaking: bool


@dataclass(frozen=True)
class State:
    """A database against the files: what is pending, and what it has beyond them."""

    pending: list[Migration]
    ahead: list[str]
    applied: list[str]


def read_migrations(directory: Path) -> list[Migration]:
    """The files in order. Raises MigrationFailed for a misnamed one, a missing header or a number used twice."""
    migrations = [_read(path) for path in sorted(directory.glob("*.sql"))]
    numbers = [migration.name[:4] for migration in migrations]
    for first, second in pairwise(numbers):
        if first == second:
            raise MigrationFailed(f"two migrations have the number {first}: give the newer one the next free number")
    if not migrations:
        raise MigrationFailed(f"no migrations in {directory}: the package is incomplete")
    return migrations


def _read(path: Path) -> Migration:
    data = path.read_bytes()
    sql = data.decode(errors="replace")
    header = _HEADER.match(sql.partition("\n")[0])
    if "\ufffd" in sql:
        raise MigrationFailed(f"{path.name}: expected UTF-8 text")
    if not _NAME.match(path.name) or header is None:
        raise MigrationFailed(
            f"{path.name}: expected a name like 0001_words.sql and a first line '-- phase: pre' or '-- phase: post', "
            "either with ' breaking' at its end"
        )
    return Migration(path.name, sql, hashlib.sha256(data).hexdigest(), cast(Phase, header[1]), breaking=bool(header[2]))


def state_of(connection: Connection, migrations: Sequence[Migration]) -> State:
    """Compare. Raises MigrationFailed naming an applied file that has changed since."""
    if connection.execute("SELECT to_regclass('app.schema_migration') AS t").fetchall()[0]["t"] is None:
        return State(list(migrations), [], [])
    rows = connection.execute("SELECT name, sha256, breaking FROM app.schema_migration ORDER BY name").fetchall()
    applied: dict[str, dict[str, Any]] = {row["name"]: row for row in rows}
    for migration in migrations:
        row = applied.get(migration.name)
        if row is not None and row["sha256"] != migration.sha256:
            raise MigrationFailed(
                f"{migration.name} has changed since it was applied: restore the file and write a new migration",
                migration=migration.name,
            )
    known = {migration.name for migration in migrations}
    ahead = [name for name in applied if name not in known]
    breaking = [name for name in ahead if applied[name]["breaking"]]
    if breaking:
        raise DatabaseAhead(
            f"the database is ahead of this release and {breaking[0]} breaks older code: deploy the newer release",
            ahead=ahead,
        )
    pending = [migration for migration in migrations if migration.name not in applied]
    last = max((name for name in applied if name in known), default="")
    if pending and pending[0].name < last:
        raise MigrationFailed(
            f"{pending[0].name} comes before {last}, which is applied already: give it the next free number",
            migration=pending[0].name,
        )
    return State(pending, ahead, sorted(applied))


def migrate(
    connection: Connection, migrations: Sequence[Migration], phase: Phase | None = None
) -> tuple[list[str], State]:
    """Apply what is pending, in order, each in its own transaction; a second migrator waits for the first.

    `phase="pre"` stops before the first pending `post` migration. Returns the names applied and the state then.

    Raises:
        MigrationFailed: with the file's name and PostgreSQL's message; that file has left nothing behind.
    """
    done: list[str] = []
    with _only_migrator(connection):
        connection.execute(_BOOTSTRAP)
        for migration in state_of(connection, migrations).pending:
            if phase == "pre" and migration.phase == "post":
                break
            if _apply(connection, migration):
                done.append(migration.name)
        return done, state_of(connection, migrations)


def _apply(connection: Connection, migration: Migration) -> bool:
    record = (migration.name, migration.sha256, migration.phase, migration.breaking)
    try:
        with connection.transaction():
            connection.execute(_RECORD, record)
            # Without parameters psycopg sends the whole file at once, as psql would; bytes, since it is no literal.
            connection.execute(migration.sql.encode())
    except psycopg.errors.UniqueViolation as error:
        if error.diag.table_name != "schema_migration":
            raise _failure(migration, error) from error
        return False  # a peer has applied it
    except psycopg.Error as error:
        raise _failure(migration, error) from error
    return True


def _failure(migration: Migration, error: psycopg.Error) -> MigrationFailed:
    position = error.diag.statement_position
    line = f", line {migration.sql[: int(position)].count(chr(10)) + 1}" if position else ""
    message = error.diag.message_primary or str(error).strip()
    return MigrationFailed(f"{migration.name}{line}: {message}. Nothing of it was applied.", migration=migration.name)


@contextmanager
def _only_migrator(connection: Connection) -> Iterator[None]:
    # Polled: a session that waits for an advisory lock holds a snapshot, on which CREATE INDEX CONCURRENTLY
    # of the session that has the lock would wait in turn.
    deadline = time.monotonic() + LOCK_WAIT_S
    while not connection.execute("SELECT pg_try_advisory_lock(%s) AS got", [LOCK_KEY]).fetchall()[0]["got"]:
        if time.monotonic() > deadline:
            raise MigrationFailed(
                f"another migration has been running for {LOCK_WAIT_S:.0f} s: try again when it has ended"
            )
        time.sleep(LOCK_POLL_S)
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(%s)", [LOCK_KEY])
