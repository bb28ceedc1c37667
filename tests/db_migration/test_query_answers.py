"""What `query` answers: JSON's types kept, parameters as values, and the truth about what was cut."""

from __future__ import annotations

import json
from typing import Any

import pytest

from db_migration.handler import answer
from db_migration.query import MAX_BYTES, MAX_ROWS
from ledger.database import Identity
from tests.conftest import TestLedger
from tests.ledger.kit import put, sealed, someone


def query(ledger: TestLedger, sql: str, *params: Any) -> dict[str, Any]:
    result = answer({"action": "query", "sql": sql, "params": list(params)}, ledger.environment)
    json.dumps(result, allow_nan=False)  # it has to be JSON, as Lambda sends it
    return result


# SQL, and its value as JSON.
VALUES: list[tuple[str, Any]] = [
    ("""'{"a": [1, 2.5, null, true, "é"]}'::jsonb""", {"a": [1, 2.5, None, True, "é"]}),
    ("""'{"b": 1, "a": 2}'::json""", {"b": 1, "a": 2}),
    ("'[1]'::jsonb", [1]),
    ("'null'::jsonb", None),
    ("'1e400'::jsonb", None),
    ("42", 42),
    ("9007199254740993::bigint", 9007199254740993),
    ("12::numeric", 12),
    ("12.5::numeric", 12.5),
    ("12.50::numeric", 12.5),
    ("0.1::numeric", 0.1),
    ("1e20::numeric", 1e20),
    ("0.12345678901234567890123::numeric", "0.12345678901234567890123"),
    ("'NaN'::numeric", "NaN"),
    ("'NaN'::float8", "NaN"),
    ("'Infinity'::float8", "Infinity"),
    ("'-Infinity'::float4", "-Infinity"),
    ("1.5::float8", 1.5),
    ("true", True),
    ("NULL", None),
    ("'text 🌙'", "text 🌙"),
    ("'6ba7b810-9dad-41d1-80b4-00c04fd430c8'::uuid", "6ba7b810-9dad-41d1-80b4-00c04fd430c8"),
    ("'2026-01-31T12:00:00.5+02'::timestamptz", "2026-01-31T10:00:00.500000Z"),
    ("'2026-01-31T12:00:00'::timestamp", "2026-01-31T12:00:00"),
    ("'2026-01-31'::date", "2026-01-31"),
    ("'12:30'::time", "12:30:00"),
    ("'infinity'::timestamptz", "infinity"),
    ("'0044-03-15 BC'::date", "0044-03-15 BC"),
    ("interval '1 month 2 days 03:04:05'", "1 mon 2 days 03:04:05"),
    ("ARRAY[1, 2]", [1, 2]),
    ("ARRAY[[1], [NULL::int]]", [[1], [None]]),
    ("ARRAY['a', NULL]", ["a", None]),
    ("ARRAY['6ba7b810-9dad-41d1-80b4-00c04fd430c8'::uuid]", ["6ba7b810-9dad-41d1-80b4-00c04fd430c8"]),
    ("ARRAY[1.5, 'NaN']::numeric[]", [1.5, "NaN"]),
    ("'{}'::int[]", []),
    ("'\\xdead'::bytea", "\\xdead"),
    ("int4range(1, 5)", "[1,5)"),
    ("ROW(1, 'a')", "(1,a)"),
    ("'18446744073709551615'::xid8", 18446744073709551615),
    ("'10.0.0.0/8'::cidr", "10.0.0.0/8"),
]


@pytest.mark.parametrize(("sql", "value"), VALUES, ids=[sql for sql, _ in VALUES])
def test_json_keeps_its_types_and_the_rest_is_what_postgresql_writes(shared: TestLedger, sql: str, value: Any) -> None:
    result = query(shared, f"SELECT {sql} AS v")
    assert result["ok"], result
    (row,) = result["rows"]
    if sql == "'1e400'::jsonb":
        assert "v" in row, "whatever it is shown as: a number that JSON's readers cannot hold is no crash"
    else:
        assert (row["v"], type(row["v"])) == (value, type(value))


def test_columns_are_named_once_each_and_typed_even_without_rows(shared: TestLedger) -> None:
    sql = "SELECT 1 AS a, 'x'::text AS a, 2.5 AS a_2, now() AS a, '{}'::jsonb AS j, ARRAY[1] AS l"
    result = query(shared, sql)
    names = ["a", "a_2", "a_2_2", "a_3", "j", "l"]
    assert [column["name"] for column in result["columns"]] == names
    assert [column["type"] for column in result["columns"]] == [
        "int4",
        "text",
        "numeric",
        "timestamptz",
        "jsonb",
        "int4[]",
    ]
    assert list(result["rows"][0]) == names
    empty = query(shared, f"{sql} WHERE false")
    assert (empty["columns"], empty["rows"], empty["row_count"]) == (result["columns"], [], 0)


PARAMS: list[tuple[str, list[Any], Any]] = [
    ("SELECT $1 AS v", ["a'; DROP TABLE x; --"], "a'; DROP TABLE x; --"),
    ("SELECT $1::int + $2::int AS v", [1, 2], 3),
    ("SELECT $2::text || $1::text AS v", ["a", "b"], "ba"),
    ("SELECT $1::boolean AS v", [True], True),
    ("SELECT $1::text AS v", [None], None),
    ("SELECT $1::float8 AS v", [1.5], 1.5),
    ("SELECT $1::jsonb AS v", [{"a": [1]}], {"a": [1]}),
    ("SELECT $1::jsonb -> 0 AS v", [[5]], 5),
    ("SELECT $1::numeric AS v", [2**80], str(2**80)),
    ("SELECT count(*) AS v FROM ledger.visible_timeline WHERE id = $1", ["00000000-0000-4000-8000-000000000201"], 1),
    ("SELECT '%s %(x)s $1' AS v", [], "%s %(x)s $1"),
    ("SELECT count(*) AS v FROM ledger.visible_timeline WHERE name LIKE 'memory%kernel'", [], 1),
]


@pytest.mark.parametrize(("sql", "params", "value"), PARAMS)
def test_parameters_are_values(shared: TestLedger, sql: str, params: list[Any], value: Any) -> None:
    result = query(shared, sql, *params)
    assert result["ok"], result
    assert result["rows"] == [{"v": value}]


@pytest.mark.parametrize(
    ("sql", "params"),
    [
        ("SELECT 1", ["one too many"]),
        ("SELECT $1::int, $2::int", [1]),
        ("SELECT $1::int", []),
        ("SELECT $1::int", ["no number"]),
        ("SELECT $1::text", ["a\x00b"]),
        ("SELECT $1::text", ["\ud800"]),
        ("SELECT $0", []),
    ],
)
def test_wrong_parameters_are_the_callers_mistake(shared: TestLedger, sql: str, params: list[Any]) -> None:
    error = query(shared, sql, *params)["error"]
    assert error["code"] in ("query_failed", "invalid_input"), error


@pytest.mark.parametrize(
    ("rows", "kept", "cut"),
    [(MAX_ROWS - 1, MAX_ROWS - 1, False), (MAX_ROWS, MAX_ROWS, False), (MAX_ROWS + 1, MAX_ROWS, True)],
)
def test_a_thousand_rows_are_answered_and_what_is_cut_is_said(
    shared: TestLedger, rows: int, kept: int, cut: bool
) -> None:
    result = query(shared, "SELECT n FROM generate_series(1, $1::int) n", rows)
    assert result["row_count"] == len(result["rows"]) == kept
    assert result["rows"][-1] == {"n": kept}
    assert result["truncated"] == (f"cut at {MAX_ROWS} rows" if cut else None)


def test_endless_rows_are_not_waited_for(shared: TestLedger) -> None:
    result = query(shared, "SELECT generate_series(1, 1000000000000) AS n")
    assert (result["row_count"], result["truncated"]) == (MAX_ROWS, f"cut at {MAX_ROWS} rows")
    assert query(shared, "SELECT 1 AS one")["rows"] == [{"one": 1}]


@pytest.mark.parametrize(("size", "at_most"), [(100_000, 52), (3_000_000, 1), (6_000_000, 0)])
def test_five_megabytes_are_answered_and_what_is_cut_is_said(shared: TestLedger, size: int, at_most: int) -> None:
    result = query(shared, "SELECT repeat('é', $1::int / 2) AS text FROM generate_series(1, 900)", size)
    assert result["truncated"] == f"cut at {MAX_BYTES} bytes"
    assert result["row_count"] == len(result["rows"]) == at_most
    assert len(json.dumps(result["rows"], ensure_ascii=False).encode()) <= MAX_BYTES


def test_reports_see_the_rows_of_all_tenants(shared: TestLedger) -> None:
    people = [someone(), someone(), Identity("tenantless", None)]
    put(shared, *(sealed(person, entity_type="census") for person in people))
    result = query(shared, "SELECT tenant_id FROM ledger.visible_timeline WHERE entity_type = 'census'")
    assert {row["tenant_id"] for row in result["rows"]} == {person.tenant_id for person in people}
