"""Sealing signed spans against its floor: `.venv/bin/python -m benchmarks.notary [--spans N]`.

The floor, in the same run: the same rows read by the same statement, their stored hashes hashed once more. Memory is
what this process had at most: with another number of spans it stays the same.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import tempfile
import time

from benchmarks.fsck import NOTARY_KEY, ORIGIN, fill
from benchmarks.ledger import seeded_ledger
from db_migration.notary.leaves import PAGE, open_spans, page
from db_migration.notary.seal import seal
from db_migration.notary.settings import Settings
from ledger.connection import Target
from ledger.read import BEGINNING, Cursor
from loglineos.local.postgres import Server


def floor(server: Server) -> float:
    """Seconds to read every row, and one SHA-256 for each."""
    started, after = time.perf_counter(), BEGINNING
    with open_spans(Target(role="readonly", url=server.url("readonly"))) as connection:
        while rows := page(connection, after, PAGE):
            for row in rows:
                hashlib.sha256(row["curr_hash"].encode()).digest()
            after = Cursor(rows[-1]["era"], rows[-1]["xid"], rows[-1]["position"])
    return time.perf_counter() - started


def peak_mb() -> float:
    """What this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=50_000)
    options = parser.parse_args()
    with seeded_ledger() as server, tempfile.TemporaryDirectory() as folder:
        fill(server, options.spans)
        settings = Settings.from_environment(
            {
                "DATABASE_URL": server.url(),
                "CHECKPOINT_KEY_HEX": bytes(NOTARY_KEY).hex(),
                "LOG_ORIGIN": ORIGIN,
                "ARCHIVE_LOCATION": folder,
            }
        )
        least, before = floor(server), peak_mb()
        started = time.perf_counter()
        done = seal(settings, 720)
        took = time.perf_counter() - started
        size = done.newest.checkpoint.size if done.newest else 0
        print(
            f"{size} spans sealed in {len(done.sealed)} checkpoints   {took:7.2f} s   {size / took:8.0f} spans/s   "
            f"reading and one SHA-256 {least:6.2f} s   {took / least:5.2f}x   at most {peak_mb():.0f} MB (before"
            f" {before:.0f})"
        )


if __name__ == "__main__":
    main()
