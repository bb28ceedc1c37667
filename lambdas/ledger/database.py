"""One connection: checked before use, re-made when dead; each transaction carries its own context."""

from __future__ import annotations

import json
import select
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, LiteralString, NoReturn, Protocol, TypeVar

import psycopg
from psycopg import pq

from .connection import CONNECT_TIMEOUT_S, Connection, Target, connect
from .errors import LedgerError, LedgerUnavailable, NotPermitted, QueryFailed, QuotaExceeded, VersionConflict

Row = dict[str, Any]
Parameters = Sequence[Any] | Mapping[str, Any] | None
Result = TypeVar("Result")

IDLE_CHECK_S = 30.0
STATEMENT_TIMEOUT_S = 30
RETRY_PAUSE_S = 0.2
CANCEL_TIMEOUT_S = 1.0
INSUFFICIENT_PRIVILEGE = "42501"
WRONG_PARAMETERS = "08P01"  # a protocol violation in name only
_SET_CONTEXT: LiteralString = "SELECT set_config('app.user_id', %s, true), set_config('app.tenant_id', %s, true)"

# What the guards of migrations/ raise (class LL), and row-level security itself.
_REFUSALS: dict[str, type[LedgerError]] = {
    "LL001": QueryFailed,
    "LL002": NotPermitted,
    "LL003": QueryFailed,
    "LL004": QuotaExceeded,
    "LL005": VersionConflict,
    "LL006": VersionConflict,
    INSUFFICIENT_PRIVILEGE: NotPermitted,
}


@dataclass(frozen=True)
class Identity:
    """Who acts: a user within a tenant. It becomes `app.user_id` and `app.tenant_id` of a transaction."""

    user_id: str
    tenant_id: str | None


class Queries(Protocol):
    """What runs statements under an identity's rights: a `Database`, or a `Unit` of work within it."""

    def query(self, identity: Identity | None, sql: LiteralString, parameters: Parameters = None) -> list[Row]:
        """Run one statement."""

    def unit(self) -> AbstractContextManager[Unit]:
        """Run several as one: all or nothing."""


class Database:
    """The one connection of a process. Not for use from several threads."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._connection: Connection | None = None
        self._used_at = 0.0

    def query(self, identity: Identity | None, sql: LiteralString, parameters: Parameters = None) -> list[Row]:
        """Run one statement in a transaction of its own, under the identity's rights, in one round trip."""
        return self._run(lambda connection: _pipelined(connection, identity, sql, parameters))

    @contextmanager
    def transaction(self, identity: Identity | None) -> Iterator[Connection]:
        """Several statements in one READ COMMITTED transaction, under the identity's rights."""
        connection = self.connection()
        try:
            with connection.transaction():
                if identity is not None:
                    connection.execute(_SET_CONTEXT, (identity.user_id, identity.tenant_id or ""))
                yield connection
        except psycopg.Error as error:
            raise_typed(error)
        finally:
            self._used_at = time.monotonic()

    @contextmanager
    def unit(self) -> Iterator[Unit]:
        """A READ COMMITTED transaction in which each statement has the identity that it is given."""
        with self.transaction(None) as connection:
            yield Unit(connection)
            if connection.info.transaction_status == pq.TransactionStatus.INERROR:
                # PostgreSQL would answer COMMIT with ROLLBACK, and nobody would know.
                raise QueryFailed("a statement of this transaction failed: what may fail needs a unit within it")

    def connection(self, timeout_s: float = CONNECT_TIMEOUT_S) -> Connection:
        """The connection, known to be alive a moment ago; `timeout_s` is for making a new one.

        Raises:
            LedgerUnavailable: it was dead and a new one cannot be made.
        """
        if self._connection is None or not self._alive(self._connection):
            self.close()
            self._connection = connect(self.target, timeout_s=timeout_s, statement_timeout_s=STATEMENT_TIMEOUT_S)
        return self._connection

    def wait_until_reachable(self, deadline: float) -> None:
        """Connect, trying again until `deadline` (a `time.monotonic` value).

        Raises:
            LedgerUnavailable: it could not be reached by then.
        """
        while True:
            try:
                self.connection(deadline - time.monotonic())
                return
            except LedgerUnavailable as error:
                if not error.passing or time.monotonic() + RETRY_PAUSE_S >= deadline:
                    raise
            time.sleep(RETRY_PAUSE_S)

    def close(self) -> None:
        """Let the connection go; the next use makes a new one."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if connection.info.transaction_status == pq.TransactionStatus.ACTIVE:
            # Nobody waits for it any more; without this the server would go on with it.
            with suppress(psycopg.Error):
                connection.cancel_safe(timeout=CANCEL_TIMEOUT_S)
        connection.close()

    def _run(self, work: Callable[[Connection], Result]) -> Result:
        connection = self.connection()
        try:
            return work(connection)
        except psycopg.Error as error:
            raise_typed(error)
        finally:
            self._used_at = time.monotonic()

    def _alive(self, connection: Connection) -> bool:
        """No round trip while it is in use: a peer that hung up has made the idle socket readable.

        After a pause (a frozen Lambda) the peer may be gone without a word, so then it is asked.
        """
        if connection.closed or connection.broken or connection.info.transaction_status != pq.TransactionStatus.IDLE:
            return False
        if select.select([connection.fileno()], [], [], 0)[0]:
            return False
        if time.monotonic() - self._used_at < IDLE_CHECK_S:
            return True
        try:
            connection.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True


@dataclass(frozen=True)
class Unit:
    """An open transaction. What fails in it undoes all of it; a unit within it is a savepoint."""

    connection: Connection

    def query(self, identity: Identity | None, sql: LiteralString, parameters: Parameters = None) -> list[Row]:
        """Run one statement under the identity's rights, in one round trip."""
        try:
            return _pipelined(self.connection, identity, sql, parameters)
        except psycopg.Error as error:
            raise_typed(error)

    @contextmanager
    def unit(self) -> Iterator[Unit]:
        """A part that can fail without undoing the rest."""
        try:
            with self.connection.transaction():
                yield self
        except psycopg.Error as error:
            raise_typed(error)


def _pipelined(
    connection: Connection, identity: Identity | None, sql: LiteralString, parameters: Parameters
) -> list[Row]:
    if identity is None:
        cursor = connection.execute(sql, parameters, prepare=True)
    else:
        # In autocommit, what a pipeline sends between two syncs is one implicit transaction: the context is
        # local to it, and context and statement travel together.
        with connection.pipeline():
            connection.execute(_SET_CONTEXT, (identity.user_id, identity.tenant_id or ""), prepare=True)
            cursor = connection.execute(sql, parameters, prepare=True)
    return cursor.fetchall() if cursor.description else []


def raise_typed(error: psycopg.Error) -> NoReturn:
    """Turn psycopg's error into this project's, so that nobody above needs to know PostgreSQL's codes."""
    state, diag = error.sqlstate or "", error.diag
    # Class 57P: the server is going down; class 08 and no code at all: the connection is lost.
    lost = not state or state[:2] in ("08", "53") or state[:3] == "57P"
    if (
        isinstance(error, psycopg.OperationalError) and lost and state != "08P01"
    ):  # that is a wrong number of parameters
        raise LedgerUnavailable(str(error).strip()) from error
    message = diag.message_primary or str(error).strip()
    kind = _REFUSALS.get(state, QueryFailed)
    if state == INSUFFICIENT_PRIVILEGE:  # PostgreSQL's sentence names tables
        message = "row-level security does not let the caller do this"
    details: dict[str, Any] = {}
    if state.startswith("LL") and diag.message_detail:
        details = json.loads(diag.message_detail)
    elif kind is QueryFailed:
        details = {"sqlstate": state}
    raise kind(message, **details) from error
