"""Statements that are bounded in time, and answers that are JSON: one that takes too long is a fact too."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, LiteralString
from uuid import UUID

import psycopg

from ledger.connection import Connection, Target, connect
from ledger.errors import LedgerUnavailable
from ledger.span import format_instant

STATEMENT_TIMEOUT_S: Final = 5
Row = dict[str, Any]
Section = dict[str, Any]


class Reader:
    """One read-only connection. A statement has 5 s; what fails says why and does not end the rest."""

    def __init__(self, target: Target) -> None:
        started = time.monotonic()
        self._connection = connect(target, timeout_s=5, statement_timeout_s=STATEMENT_TIMEOUT_S)
        self.connected_ms = _milliseconds(started)
        self._connection.execute("SET default_transaction_read_only = on")

    def rows(self, sql: LiteralString, parameters: Any = None) -> list[Row]:
        """The statement's rows as JSON values: ids and times as text, intervals as seconds. Raises psycopg.Error."""
        return [{name: plain(value) for name, value in row.items()} for row in self.stored(sql, parameters)]

    def row(self, sql: LiteralString, parameters: Any = None) -> Row:
        """Its first row; empty where there is none."""
        return next(iter(self.rows(sql, parameters)), {})

    def stored(self, sql: LiteralString, parameters: Any = None) -> list[Row]:
        """The rows as psycopg gives them, for what is to be verified."""
        return self._connection.execute(sql, parameters).fetchall()

    def latency_ms(self) -> float:
        """One round trip, in milliseconds."""
        started = time.monotonic()
        self._connection.execute("SELECT 1")
        return _milliseconds(started)

    @property
    def connection(self) -> Connection:
        """For what needs several statements in one transaction."""
        return self._connection

    def close(self) -> None:
        """Let the connection go."""
        self._connection.close()


def section(read: Callable[[], Section]) -> Section:
    """What `read` answers; or `{"unknown": the reason}` where the database did not tell, or not in time.

    Raises:
        LedgerUnavailable: the connection is lost.
    """
    try:
        return read()
    except psycopg.errors.QueryCanceled:
        return {"unknown": f"a statement took longer than {STATEMENT_TIMEOUT_S} s and was stopped"}
    except psycopg.OperationalError as error:
        if error.sqlstate is None or error.sqlstate[:2] in ("08", "57"):
            raise LedgerUnavailable(str(error).strip()) from error
        return {"unknown": _sentence(error)}
    except psycopg.Error as error:
        return {"unknown": _sentence(error)}


def _sentence(error: psycopg.Error) -> str:
    return error.diag.message_primary or str(error).strip()


def plain(value: Any) -> Any:
    """A column's value as JSON has it."""
    if isinstance(value, datetime):
        return format_instant(value)
    if isinstance(value, timedelta):
        return round(value.total_seconds(), 3)
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def _milliseconds(since: float) -> float:
    return round((time.monotonic() - since) * 1000, 2)
