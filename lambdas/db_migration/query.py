"""One read-only statement for people and reports. The database refuses what writes, not a list of words."""

from __future__ import annotations

import json
import math
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, cast

import psycopg
from psycopg.abc import Buffer
from psycopg.types.datetime import TimestampLoader, TimestamptzLoader
from psycopg.types.json import Jsonb
from psycopg.types.string import TextLoader

from ledger.canonical import check, check_text
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
    _answer_in_json(cursor)
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
    with closing(stream):  # which cancels the rest on the server; open, it would hold the connection's lock
        for record in stream:
            names = names or _names(cursor.description or [])
            row = dict(zip(names, map(_json_value, record), strict=True))
            size += len(json.dumps(row, ensure_ascii=False).encode())
            if len(rows) == MAX_ROWS or size > MAX_BYTES:
                truncated = f"cut at {MAX_ROWS} rows" if len(rows) == MAX_ROWS else f"cut at {MAX_BYTES} bytes"
                break
            rows.append(row)
    columns = cursor.description or _described(cursor, sql)
    shown = zip(_names(columns), columns, strict=True)
    return Answer([{"name": name, "type": column.type_display} for name, column in shown], rows, truncated)


def _described(cursor: psycopg.RawCursor[Any], sql: str) -> list[psycopg.Column]:
    """The columns of a statement that had no rows: a stream of none does not tell them."""
    connection = cursor.connection.pgconn
    connection.prepare(b"", sql.encode())
    cursor.pgresult = connection.describe_prepared(b"")
    return list(cursor.description or [])


def _names(columns: Sequence[psycopg.Column]) -> list[str]:
    """Column names, each once: a second `count` becomes `count_2`."""
    names: list[str] = []
    for column in columns:
        name, n = column.name, 2
        while name in names:
            name, n = f"{column.name}_{n}", n + 1
        names.append(name)
    return names


def _parameter(value: Any) -> Any:
    if isinstance(value, str):
        check_text(value, "params")
    if isinstance(value, dict | list):
        check(value, "params")
        return Jsonb(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise InvalidInput("params", "JSON values")


class _Timestamp(TimestampLoader):
    """ISO 8601, except for what Python has no time for: `infinity`, years before 1 and after 9999."""

    def load(self, data: Buffer) -> Any:
        try:
            return super().load(data).isoformat()
        except psycopg.DataError:
            return bytes(data).decode()


class _Timestamptz(TimestamptzLoader):
    """RFC 3339 in UTC, with the same exceptions."""

    def load(self, data: Buffer) -> Any:
        try:
            return format_instant(super().load(data))
        except psycopg.DataError:
            return bytes(data).decode()


# What JSON has a type for. Everything else is answered as PostgreSQL writes it.
_JSON_TYPES: Final = frozenset(
    ["bool", "int2", "int4", "int8", "oid", "xid8", "float4", "float8", "numeric", "json", "jsonb"]
)


def _answer_in_json(cursor: psycopg.RawCursor[Any]) -> None:
    for info in cursor.adapters.types:
        if info.name not in _JSON_TYPES:
            cursor.adapters.register_loader(info.oid, TextLoader)
    cursor.adapters.register_loader("timestamp", _Timestamp)
    cursor.adapters.register_loader("timestamptz", _Timestamptz)


def _json_value(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return _NOT_FINITE.get(value, "NaN")
    if isinstance(value, Decimal):
        return _number(value)
    if isinstance(value, list):
        return [_json_value(item) for item in value]
    if isinstance(value, dict):
        return {key: _json_value(item) for key, item in value.items()}
    return value


_NOT_FINITE: Final = {math.inf: "Infinity", -math.inf: "-Infinity"}


def _number(value: Decimal) -> int | float | str:
    """`numeric` as a JSON number where that loses nothing."""
    if not value.is_finite():
        return _NOT_FINITE.get(float(value), "NaN")
    if value == value.to_integral_value() and abs(value) < Decimal(10) ** 15:
        return int(value)
    return float(value) if Decimal(repr(float(value))) == value else str(value)
