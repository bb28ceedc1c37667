"""One read-only statement for people and reports. The database refuses what writes, not a list of words."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, cast
from uuid import UUID

import psycopg

from ledger.connection import Connection
from ledger.database import raise_typed
from ledger.errors import InvalidInput, QueryFailed
from ledger.span import format_instant

MAX_ROWS: Final = 1000
MAX_BYTES: Final = 5 * 1024 * 1024
TIMEOUT_S: Final = 10


@dataclass(frozen=True)
class Answer:
    """Rows with JSON's types, in the order of `columns`. `truncated` says why there are not more of them."""

    columns: list[dict[str, str]]
    rows: list[dict[str, Any]]
    truncated: str | None


def run_query(connection: Connection, sql: str, parameters: Sequence[Any]) -> Answer:
    """Run one statement as the connection's role, read-only, for at most 10 s; 1,000 rows and 5 MB at most.

    Parameters stand in the SQL as `$1`, `$2`, ….

    Raises:
        QueryFailed: PostgreSQL's own message; `sqlstate` in the details.
    """
    cursor: psycopg.RawCursor[tuple[Any, ...]] = psycopg.RawCursor(connection, row_factory=psycopg.rows.tuple_row)
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("SET TRANSACTION READ ONLY")
            connection.execute(f"SET LOCAL statement_timeout = '{TIMEOUT_S}s'")
            return _read(cursor, sql, [_parameter(value) for value in parameters])
    except psycopg.errors.QueryCanceled as error:
        raise QueryFailed(f"the statement took longer than {TIMEOUT_S} s and was stopped", sqlstate="57014") from error
    except psycopg.errors.ReadOnlySqlTransaction as error:
        raise QueryFailed("this action only reads: the database refused to write", sqlstate="25006") from error
    except psycopg.Error as error:
        raise_typed(error)


def _read(cursor: psycopg.RawCursor[tuple[Any, ...]], sql: str, parameters: list[Any]) -> Answer:
    rows: list[dict[str, Any]] = []
    names: list[str] = []
    size, truncated = 0, None
    # Streamed: memory holds what is answered, not what the statement could give. And the extended protocol
    # that this uses takes one statement only.
    stream = cast(Generator[tuple[Any, ...]], cursor.stream(sql.encode(), parameters))
    for record in stream:
        names = names or _names(cursor)
        row = dict(zip(names, map(_json_value, record), strict=True))
        size += len(json.dumps(row, ensure_ascii=False).encode())
        if len(rows) == MAX_ROWS or size > MAX_BYTES:
            truncated = f"cut at {MAX_ROWS} rows" if len(rows) == MAX_ROWS else f"cut at {MAX_BYTES} bytes"
            stream.close()  # cancels the rest on the server
            break
        rows.append(row)
    return Answer(_columns(cursor, names or _names(cursor)), rows, truncated)


def _names(cursor: psycopg.RawCursor[Any]) -> list[str]:
    """Column names, each once: a second `count` becomes `count_2`."""
    names: list[str] = []
    for column in cursor.description or []:
        name, n = column.name, 2
        while name in names:
            name, n = f"{column.name}_{n}", n + 1
        names.append(name)
    return names


def _columns(cursor: psycopg.RawCursor[Any], names: list[str]) -> list[dict[str, str]]:
    return [
        {"name": name, "type": column.type_display}
        for name, column in zip(names, cursor.description or [], strict=True)
    ]


def _parameter(value: Any) -> Any:
    if isinstance(value, dict | list):
        return psycopg.types.json.Jsonb(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise InvalidInput("params", "JSON values")


def _json_value(value: Any) -> Any:
    """What JSON has a type for keeps it; the rest becomes text, as PostgreSQL would write it."""
    if value is None or isinstance(value, bool | int | float | str | dict):
        return value if not isinstance(value, float) or (value == value and abs(value) != float("inf")) else str(value)
    if isinstance(value, Decimal):
        return _number(value)
    if isinstance(value, datetime):
        return format_instant(value) if value.tzinfo else value.isoformat()
    if isinstance(value, list):
        return [_json_value(item) for item in value]
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, date | time | timedelta | UUID):
        return str(value)
    return str(value)


def _number(value: Decimal) -> int | float | str:
    """`numeric` as a JSON number where that loses nothing."""
    if not value.is_finite():
        return str(value)
    if value == value.to_integral_value() and abs(value) < Decimal(10) ** 15:
        return int(value)
    return float(value) if Decimal(repr(float(value))) == value else str(value)
