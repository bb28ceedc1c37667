"""Athena's view of the archive: its columns are the files', its saved queries run, to the letter, over real ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stacks.archive import COLUMNS, SPANS
from stacks.archive_queries import QUERIES
from tests.archive.kit import FEBRUARY, JANUARY, Archived
from tests.conftest import TestLedger
from tests.ledger.kit import ask, copied_database, draft, following, put, sealed, someone

# How Athena names what Parquet holds (its documentation: Data types in Amazon Athena).
ATHENA = {
    pa.string(): "string",
    pa.int32(): "int",
    pa.int64(): "bigint",
    pa.bool_(): "boolean",
    pa.timestamp("us", tz="UTC"): "timestamp",
    pa.list_(pa.field("element", pa.string())): "array<string>",
}
# Words that Athena does not take as names in a SELECT (its documentation: Escape reserved keywords).
RESERVED = """
alter and as between by case cast constraint create cross cube current_catalog current_date current_path current_schema
current_time current_timestamp current_user deallocate delete describe distinct drop else end escape except exists
extract false for from full group grouping having in inner insert intersect into is join json_array json_exists
json_object json_query json_table json_value left like listagg localtime localtimestamp natural normalize not null on or
order outer prepare recursive right rollup select skip table then trim true uescape union unnest using values when where
with
"""
ALL = ["2025-01", "2025-02"]


@pytest.fixture(scope="module")
def archived(cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archived]:
    """Executions, memories and apps of two tenants in two months, a deleted one among them."""
    with copied_database(cluster) as ledger:
        made = Archived(ledger, tmp_path_factory.mktemp("archive"))
        ana, bob = someone("ana"), someone("bob")
        for owner in (ana, bob):
            made.append(
                draft(owner, entity_type="execution", status="complete", at="2025-01-10T09:59:59.999999Z"),
                draft(owner, entity_type="execution", status="complete", at="2025-01-10T10:00:00Z"),
                draft(owner, entity_type="memory", metadata={"content": "用户偏好 🌙"}),
                draft(owner, entity_type="app_registration", status="active"),
            )
        made.append(draft(bob, entity_type="memory", metadata={"content": "bob's"}))
        made.seal(JANUARY)
        made.append(draft(ana, entity_type="execution", status="error", at="2025-02-01T00:00:00Z"))
        memory = sealed(ana, entity_type="memory", metadata={"content": "to be forgotten"})
        put(ledger, memory, following(memory, is_deleted=True))
        size = made.seal(FEBRUARY).size
        assert made.run()["archived"] == size
        yield made


@pytest.fixture(scope="module")
def engine(archived: Archived) -> duckdb.DuckDBPyConnection:
    """DuckDB over the archive's folder, with nothing from a network, and the one function that it calls otherwise."""
    offline: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
    }
    connection = duckdb.connect(config=offline)
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("CREATE MACRO json_extract_scalar(document, path) AS json_extract_string(document, path)")
    files = archived.folder / SPANS / "*" / "*.parquet"
    connection.execute(
        f"CREATE VIEW spans AS SELECT * FROM read_parquet('{files}', hive_partitioning = true,"
        " hive_types = {'month': VARCHAR})"
    )
    return connection


def run(engine: duckdb.DuckDBPyConnection, name: str, *asked: str) -> list[tuple[Any, ...]]:
    (query,) = (query for query in QUERIES if query.name == name)
    return engine.execute(query.sql, asked).fetchall()


def test_the_tables_columns_are_the_files(archived: Archived) -> None:
    for name in archived.files():
        schema = pq.read_schema(archived.folder / name)
        assert {field.name: ATHENA[field.type] for field in schema} == COLUMNS
        assert schema.names == list(COLUMNS)


def test_the_files_hold_nothing_but_what_every_reader_knows(archived: Archived) -> None:
    """No type of Arrow's own, times as 64-bit integers (Athena reads INT96 wrongly before 1582), zstd."""
    with pq.ParquetFile(archived.folder / archived.files()[0]) as file:
        group = file.metadata.row_group(0)
        kinds = {group.column(n).path_in_schema: group.column(n) for n in range(group.num_columns)}
    assert {str(kind.compression) for kind in kinds.values()} == {"ZSTD"}
    assert kinds["at"].physical_type == "INT64"
    assert "related_to.list.element" in kinds
    assert file.schema_arrow.metadata is None


def test_the_manuals_reports_count_what_the_ledger_counts(
    archived: Archived, engine: duckdb.DuckDBPyConnection
) -> None:
    ledger: TestLedger = archived.ledger
    for name, asked in {
        "executions-by-hour": "SELECT date_trunc('hour', at), status, count(*) FROM ledger.visible_timeline"
        " WHERE entity_type = 'execution' GROUP BY 1, 2 ORDER BY 1 DESC, 2",
        "memories-by-tenant": "SELECT tenant_id, count(*), sum(length(metadata ->> 'content'))"
        " FROM ledger.visible_timeline WHERE entity_type = 'memory' GROUP BY 1 ORDER BY 1",
        "apps-by-tenant": "SELECT tenant_id, count(DISTINCT id) FROM ledger.visible_timeline"
        " WHERE entity_type = 'app_registration' AND status = 'active' GROUP BY 1 ORDER BY 1",
    }.items():
        wanted = [tuple(row.values()) for row in ask(ledger, "readonly", asked)]
        assert len(wanted) > 1
        assert run(engine, name, *ALL) == wanted, name


def test_a_month_is_read_alone(archived: Archived, engine: duckdb.DuckDBPyConnection) -> None:
    assert {row[1] for row in run(engine, "executions-by-hour", *ALL)} == {"complete", "error"}
    assert {row[1] for row in run(engine, "executions-by-hour", "2025-01", "2025-01")} == {"complete"}
    types = run(engine, "spans-by-type", "2025-02", "2025-02")
    assert {(row[0], row[1], row[2]) for row in types} == {
        ("2025-02", "checkpoint", 1), ("2025-02", "execution", 1), ("2025-02", "memory", 2)
    }  # fmt: skip


def test_all_versions_of_a_span(archived: Archived, engine: duckdb.DuckDBPyConnection) -> None:
    (forgotten,) = engine.execute("SELECT id FROM spans WHERE is_deleted").fetchone() or ("",)
    found = run(engine, "versions-of-a-span", forgotten)
    assert [(row[0], row[1], row[7]) for row in found] == [("2025-02", 0, False), ("2025-02", 1, True)]
    assert found[1][9] == found[0][10]  # prev_hash, curr_hash


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.name)
def test_names_are_none_that_athena_takes_for_its_own(query: Any) -> None:
    bare = re.sub(r"\"[^\"]*\"|'[^']*'", "", query.sql)
    for name in [*COLUMNS, *re.findall(r"(?i)\bAS (\w+)", query.sql)]:
        assert name not in RESERVED.split()
    assert not re.search(r"(?i)\b(at|position)\b", bare)
    assert query.sql.count("?") in (1, 2)


def test_a_partition_is_a_folder_of_the_month(archived: Archived) -> None:
    folders = {Path(name).parent.as_posix() for name in archived.files()}
    assert folders == {f"{SPANS}/month={month}" for month in ALL}
