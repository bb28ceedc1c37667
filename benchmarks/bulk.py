"""What is done with all spans at once: backup, restore, index builds, verification, vacuum. Seconds for a million."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from benchmarks.meter import Meter
from ledger.connection import Connection
from ledger.proof import span_hash, verify
from ledger.read import span_of

SAMPLE: Final = 100_000  # spans that are hashed, verified and compressed
FLOOR = "SELECT sum(octet_length(curr_hash)) FROM ledger.universal_registry"
OUT = "COPY ledger.universal_registry TO STDOUT (FORMAT binary)"
INTO = "COPY restored FROM STDIN (FORMAT binary)"
INDEXES = """
SELECT c.relname AS name, pg_get_indexdef(i.indexrelid) AS definition
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
 WHERE i.indrelid = 'ledger.universal_registry'::regclass ORDER BY 1
"""
COLUMNS = """
SELECT attname AS name FROM pg_attribute
 WHERE attrelid = 'ledger.universal_registry'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""


def bulk(superuser: Connection, meter: Meter) -> dict[str, Any]:
    """Seconds for a million spans, by the clock and of CPU; and bytes of a span that leaves."""
    count = _count(superuser)
    sample = min(count, SAMPLE)
    dump: list[bytes] = []
    for setting in ("max_parallel_maintenance_workers", "max_parallel_workers_per_gather"):
        superuser.execute(f"SET {setting} = 0".encode())  # the CPU of workers that have ended could not be told

    def timed(work: Callable[[], Any], spans: int = count) -> dict[str, float]:
        cost = meter.once(work)
        return {"wall": round(cost.wall_ms * 1e3 / spans, 2), "cpu": round(cost.cpu_ms * 1e3 / spans, 2)}

    def of_each(work: Callable[[dict[str, Any]], object]) -> dict[str, float]:
        return timed(partial(_each, superuser, sample, work), sample)

    seconds = {
        "floor: one pass": timed(partial(superuser.execute, FLOOR)),
        "copy_out": timed(partial(_copy_out, superuser, dump)),
        "copy_in": timed(partial(_copy_in, superuser, dump)),
    }
    for row in superuser.execute(INDEXES).fetchall():
        seconds[f"index {row['name']}"] = timed(partial(_build, superuser, row["definition"]))
    superuser.execute("DROP TABLE restored")
    seconds["vacuum_freeze"] = timed(partial(superuser.execute, "VACUUM (FREEZE) ledger.universal_registry"))
    seconds["read"] = of_each(span_of)
    seconds["read_and_hash"] = of_each(span_hash)
    seconds["read_and_verify"] = of_each(lambda row: verify(span_of(row), None))
    return {
        "bytes_copied": round(sum(map(len, dump)) / count),
        "bytes_compressed_by_column": round(_compressed(superuser, sample) / sample),
        "seconds_per_million": seconds,
    }


def _count(superuser: Connection) -> int:
    row = superuser.execute("SELECT count(*) AS n FROM ledger.universal_registry").fetchone()
    return int(row["n"]) if row else 0


def _copy_out(superuser: Connection, dump: list[bytes]) -> None:
    with superuser.cursor() as cursor, cursor.copy(OUT) as copy:
        dump.extend(bytes(block) for block in copy)


def _copy_in(superuser: Connection, dump: list[bytes]) -> None:
    """Into a table with its rules for rows, and neither indexes nor guards."""
    superuser.execute("CREATE TABLE restored (LIKE ledger.universal_registry INCLUDING CONSTRAINTS)")
    with superuser.cursor() as cursor, cursor.copy(INTO) as copy:
        for block in dump:
            copy.write(block)


def _build(superuser: Connection, definition: str) -> None:
    superuser.execute(re.sub(r"INDEX \w+ ON ledger\.universal_registry", "INDEX ON restored", definition).encode())


def _rows(superuser: Connection, sample: int) -> Iterator[dict[str, Any]]:
    """Streamed, as whoever checks a whole ledger has to."""
    with superuser.transaction(), superuser.cursor(name="sample") as cursor:
        cursor.itersize = 1000
        yield from cursor.execute("SELECT * FROM ledger.universal_registry LIMIT %s", [sample])


def _each(superuser: Connection, sample: int, work: Callable[[dict[str, Any]], object]) -> None:
    for row in _rows(superuser, sample):
        work(row)


def _compressed(superuser: Connection, sample: int) -> int:
    """Bytes of all columns, each for itself, as columnar files hold them: near to what Parquet makes of it."""
    total = 0
    for column in superuser.execute(COLUMNS).fetchall():
        packer = zlib.compressobj(6)
        statement = f"COPY (SELECT {column['name']} FROM ledger.universal_registry LIMIT {sample}) TO STDOUT"
        with superuser.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            total += sum(len(packer.compress(block)) for block in copy)
        total += len(packer.flush())
    return total
