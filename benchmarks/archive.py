"""The archive of signed, sealed spans against reading them: `.venv/bin/python -m benchmarks.archive [--spans N]`.

Archiving, and reading the files back, run in processes of their own and stand beside the time in which PostgreSQL
writes the same rows to nobody (COPY). How much memory they had at most does not grow with the spans. Texts are of
random words, so that Parquet's bytes for each span mean something.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.fsck import NOTARY_KEY, ORIGIN, copy_to_nobody
from benchmarks.ledger import BIG, LOADER_KEY, seeded_ledger
from ledger.append import append
from ledger.connection import Target, connect
from ledger.database import Database
from ledger.ids import new_id
from ledger.span import parse_span
from loglineos.local.postgres import Server

WORDS = 150  # about 1,000 characters, as a memory or an execution has

CHILD = """
import json, os, resource, sys, time
from db_migration.handler import answer
from loglineos.archive_commands import _checked, _tree
from ledger.storage import storage_at
from ledger.connection import Target, connect
from ledger.read import span_of
started = time.perf_counter()
if sys.argv[1] == "verify":
    place = os.environ["ARCHIVE_LOCATION"]
    with connect(Target(role="readonly", url=os.environ["READONLY_DATABASE_URL"])) as connection:
        rows = connection.execute("SELECT * FROM ledger.universal_registry WHERE entity_type = 'archive' ORDER BY seq")
        spans = [span_of(row) for row in rows]
    checked = _checked(spans, storage_at(place), _tree(storage_at(f"{place}/log")), None)
    problems = [one for _, found in checked for one in found]
    said = {"ok": not problems, "problems": problems}
else:
    said = answer({"action": sys.argv[1], **json.loads(sys.argv[2])}, os.environ)
said["seconds"] = time.perf_counter() - started
said["processor"] = time.process_time()
said["megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps(said))
"""


def fill(server: Server, count: int) -> None:
    """Signed spans of one tenant, a thousand in each transaction."""
    chance = random.Random(1)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(3, 9))) for _ in range(5000)]
    database = Database(Target(role="lambda_exec", url=server.url("lambda_exec")))
    for begin in range(0, count, 1000):
        drafts = [
            {
                "id": new_id(), "entity_type": "memory", "who": "edge:memory", "did": "stored", "this": "memory",
                "at": f"2026-01-31T12:{begin // 1000 % 60:02}:00Z", "owner_id": BIG.user_id, "tenant_id": BIG.tenant_id,
                "metadata": {"content": " ".join(chance.choices(words, k=WORDS)), "n": n},
            }
            for n in range(begin, min(begin + 1000, count))
        ]  # fmt: skip
        append(database, BIG, [parse_span(draft) for draft in drafts], LOADER_KEY)
    database.close()


def child(server: Server, folder: str, action: str, **event: Any) -> dict[str, Any]:
    """What the action answers, with the seconds that it took and the memory that it had at most."""
    environment = {
        **os.environ,
        "DATABASE_URL": server.url(),
        "READONLY_DATABASE_URL": server.url("readonly"),
        "LAMBDA_EXEC_DATABASE_URL": server.url("lambda_exec"),
        "CHECKPOINT_KEY_HEX": bytes(NOTARY_KEY).hex(),
        "LOG_ORIGIN": ORIGIN,
        "ARCHIVE_LOCATION": folder,
        "LOG_LEVEL": "ERROR",
    }
    done = subprocess.run(
        [sys.executable, "-c", CHILD, action, json.dumps(event)],
        env=environment, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if not said["ok"]:
        raise RuntimeError(said)
    return said


def bytes_in_postgres(server: Server) -> tuple[int, int]:
    """Of the table, and of its indexes."""
    with connect(Target(role="readonly", url=server.url("readonly"))) as connection:
        row = connection.execute(
            "SELECT pg_table_size('ledger.universal_registry') AS rows,"
            " pg_indexes_size('ledger.universal_registry') AS indexes"
        ).fetchone()
    return (row["rows"], row["indexes"]) if row else (0, 0)


def main() -> None:
    """Print a line for each of archiving and verifying, and what a span takes where."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=50_000)
    options = parser.parse_args()
    with seeded_ledger() as server, tempfile.TemporaryDirectory() as folder:
        fill(server, options.spans)
        child(server, folder, "checkpoint")
        for action, event in (("archive", {"older_than_days": 0}), ("verify", {})):
            floor = copy_to_nobody(server)
            said = child(server, folder, action, **event)
            took, spans = said["seconds"], options.spans
            print(
                f"{action:8} {spans} spans   {took:7.2f} s   {spans / took:8.0f} spans/s   COPY to nobody"
                f" {floor:6.2f} s   {took / floor:6.2f}x   {said['processor']:.2f} s of a processor"
                f"   at most {said['megabytes']:.0f} MB",
                flush=True,
            )
        rows, indexes = bytes_in_postgres(server)
        files = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet"))
        print(
            f"a span takes {rows / spans:.0f} bytes in the table, {indexes / spans:.0f} in its indexes,"
            f" {files / spans:.0f} in the archive"
        )


if __name__ == "__main__":
    main()
