"""The archive's files: Parquet, zstd, in row groups small enough to be held in memory one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from ledger.span import COLUMNS

from .columns import ArchiveRefused, Row

ROW_GROUP_ROWS: Final = 10_000
ROW_GROUP_CHARACTERS: Final = 16 * 1024 * 1024
_BATCH: Final = 1_000

_TIME: Final = pa.timestamp("us", tz="UTC")
_TYPES: Final[dict[str, pa.DataType]] = {
    "seq": pa.int32(),
    "at": _TIME,
    "related_to": pa.list_(pa.field("element", pa.string())),
    "is_deleted": pa.bool_(),
    "duration_ms": pa.int32(),
    "era": pa.int32(),
    "position": pa.int64(),
}
SCHEMA: Final = pa.schema([(name, _TYPES.get(name, pa.string())) for name in COLUMNS])
_AT: Final = COLUMNS.index("at")


class SpanFile:
    """A file that is being written: rows as they come, kept back only until they make a row group."""

    def __init__(self, path: Path) -> None:
        self._sink = pa.OSFile(str(path), "wb")
        # No Arrow schema beside Parquet's own: every reader is to see the same types.
        self._writer = pq.ParquetWriter(
            self._sink, SCHEMA, compression="zstd", version="2.6", store_schema=False, write_page_index=False
        )
        self._rows: list[Row] = []
        self._characters = 0

    def add(self, row: Row) -> None:
        """One more row."""
        self._rows.append(row)
        self._characters += sum(len(value) for value in row if isinstance(value, str))
        if len(self._rows) == ROW_GROUP_ROWS or self._characters >= ROW_GROUP_CHARACTERS:
            self._flush()

    @property
    def written(self) -> int:
        """Bytes on disk, without the rows that are kept back."""
        return int(self._sink.tell())

    def _flush(self) -> None:
        if self._rows:
            pairs = zip(zip(*self._rows, strict=True), SCHEMA.types, strict=True)
            columns = [_array(values, kind) for values, kind in pairs]
            self._writer.write_table(pa.Table.from_arrays(columns, schema=SCHEMA))
            self._rows, self._characters = [], 0

    def __enter__(self) -> SpanFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._writer.close()
        self._sink.close()


def _array(values: tuple[Any, ...], kind: pa.DataType) -> pa.Array:
    if kind == _TIME:
        return pa.array(values, pa.int64()).cast(kind)
    return pa.array(values, kind)


def read_file(path: Path, name: str) -> Iterator[Row]:
    """The rows of a file. Raises ArchiveRefused: it is none of the archive's."""
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            if not file.schema_arrow.equals(SCHEMA):
                raise ArchiveRefused(f"{name} has other columns than the archive's", name=name)
            for group in range(file.num_row_groups):  # or as much as the file has would be read ahead
                for batch in file.iter_batches(batch_size=_BATCH, row_groups=[group]):
                    yield from _rows_of(batch)
    except (pa.ArrowException, OSError) as error:
        raise ArchiveRefused(f"{name} cannot be read as Parquet: {error}", name=name) from None


def _rows_of(batch: pa.RecordBatch) -> Iterator[Row]:
    columns = [
        (column.cast(pa.int64()) if place == _AT else column).to_pylist() for place, column in enumerate(batch.columns)
    ]
    return zip(*columns, strict=True)
