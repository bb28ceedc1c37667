"""Backup, check and restore: `.venv/bin/python -m benchmarks.backup [--spans N]`.

Each beside a floor of the same run: the same rows by COPY to nobody, and their signatures alone. Seconds of processor
time are this program's own; the rest is PostgreSQL's, or waiting for it.
"""

from __future__ import annotations

import argparse
import resource
import secrets
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from benchmarks.ledger import LOADER_KEY, seeded_ledger
from ledger.append import append
from ledger.connection import Target, connect
from ledger.database import Database, Identity
from ledger.ids import new_id
from ledger.proof import signature_matches
from ledger.span import COLUMNS, parse_span
from loglineos.backup.files import read_lines
from loglineos.backup.manifest import read_chain
from loglineos.backup.restore import restore_backup
from loglineos.backup.take import take_backup
from loglineos.backup.verify import verify_backup
from loglineos.local.postgres import Server

TYPES = ("memory", "execution", "boot_event", "note")


def fill(server: Server, count: int) -> None:
    """Signed spans of 1 kB, of 50 tenants."""
    database = Database(Target(role="lambda_exec", url=server.url("lambda_exec")))
    for n in range(0, count, 500):
        owner = Identity(f"user{n % 50}", f"tenant{n % 50}")
        spans = [
            parse_span(
                {
                    "id": new_id(), "entity_type": TYPES[i % 4], "who": "b", "did": "b", "this": "b",
                    "at": datetime.now(UTC), "owner_id": owner.user_id, "tenant_id": owner.tenant_id,
                    "metadata": {"content": f"{secrets.token_hex(200)} {'words of every day ' * 20}"},
                }
            )
            for i in range(min(500, count - n))
        ]  # fmt: skip
        append(database, owner, spans, LOADER_KEY)
    database.close()


def measure(name: str, spans: int, work: Callable[[], object]) -> None:
    """Run it once and print what it took."""
    began, processor = time.perf_counter(), time.process_time()
    work()
    seconds, own = time.perf_counter() - began, time.process_time() - processor
    print(f"{name:44} {seconds:8.2f} s   {spans / seconds:9,.0f} spans/s   {own:8.2f} s of this processor", flush=True)


def main() -> None:
    """Fill, back up, check, restore."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=20_000)
    count = parser.parse_args().spans
    with seeded_ledger() as server, tempfile.TemporaryDirectory() as place:
        fill(server, count)
        with psycopg.connect(server.url("rdsadmin", "postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE target OWNER postgres")
        run(server, Path(place), count)
    print(f"at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB of memory")


def run(server: Server, place: Path, count: int) -> None:
    """The measurements."""
    source, target = Target(role=None, url=server.url()), Target(role=None, url=server.url("postgres", "target"))
    folder = place / "backup"

    def nothing(done: int, total: int) -> None:
        pass

    def copy_to_nobody() -> None:
        with connect(source) as connection, connection.transaction():
            connection.execute("SET LOCAL ROLE admin")
            statement = "COPY (SELECT * FROM ledger.universal_registry) TO STDOUT"
            with connection.cursor().copy(statement) as copy:
                for _ in copy:
                    pass

    measure("floor: COPY to nobody, in no order", count, copy_to_nobody)
    measure("backup", count, lambda: take_backup(folder, source, incremental=False, tell=nothing))
    lines = [line.split(b"\t") for part in read_lines(folder, read_chain(folder)[0].manifest.file) for line in part]
    hash_, signature, key = (COLUMNS.index(name) for name in ("curr_hash", "signature", "public_key"))
    signed = [(one[hash_].decode(), one[signature].decode(), one[key].decode()) for one in lines]
    measure("floor: signatures alone, one after another", count, lambda: [signature_matches(*one) for one in signed])
    measure("backup verify", count, lambda: verify_backup(folder, nothing))
    measure("restore", count, lambda: restore_backup(folder, target, tell=nothing))


if __name__ == "__main__":
    main()
