"""fsck of signed, sealed spans against reading them: `.venv/bin/python -m benchmarks.fsck [--spans N]`.

Each figure stands beside the time in which PostgreSQL writes the same rows to nobody (COPY), taken in the same run, and
the memory that this process had at most: with another number of spans it stays the same.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

from nacl.signing import SigningKey

from benchmarks.ledger import BIG, LOADER_KEY, PAYLOAD, ROW_KEY, seeded_ledger
from ledger.append import append
from ledger.connection import Target, connect
from ledger.database import Database
from ledger.ids import new_id
from ledger.keys import Use
from ledger.proof import public_key_of
from ledger.span import parse_span
from ledger.storage import Folder
from loglineos.fsck import Plan, fsck
from loglineos.fsck.reading import processors
from loglineos.local.postgres import Server
from tlog.checkpoint import Checkpoint
from tlog.growth import Growth
from tlog.merkle import EMPTY_ROOT
from tlog.note import NoteKey

NOTARY_KEY, ORIGIN = SigningKey(b"n" * 32), "loglineos-benchmark"
ROOTS: dict[Use, frozenset[str]] = {
    "row": frozenset({public_key_of(ROW_KEY)}),
    "loader": frozenset({public_key_of(LOADER_KEY)}),
    "checkpoint": frozenset({public_key_of(NOTARY_KEY)}),
}


def fill(server: Server, count: int) -> None:
    """Signed spans of one tenant, a thousand in each transaction."""
    database = Database(Target(role="lambda_exec", url=server.url("lambda_exec")))
    for begin in range(0, count, 1000):
        drafts = [
            {
                "id": new_id(), "entity_type": "note", "who": "b", "did": "b", "this": "b", "owner_id": BIG.user_id,
                "tenant_id": BIG.tenant_id, "at": "2026-01-31T12:00:00Z", "metadata": {**PAYLOAD, "n": n},
            }
            for n in range(begin, min(begin + 1000, count))
        ]  # fmt: skip
        append(database, BIG, [parse_span(draft) for draft in drafts], LOADER_KEY)
    database.close()


def seal(server: Server, log: Folder) -> None:
    """A log over all that is there, by its stored hashes: the notary has a benchmark of its own."""
    growth = Growth(log, 0, EMPTY_ROOT)
    with connect(Target(role="readonly", url=server.url("readonly"))) as connection:
        for row in connection.execute(
            "SELECT curr_hash FROM ledger.universal_registry WHERE position >= 0 ORDER BY era, xid, position"
        ):
            growth.append([bytes.fromhex(row["curr_hash"])])
    log.replace("checkpoint", Checkpoint(ORIGIN, growth.size, growth.finish()).sign(NOTARY_KEY).encode())


def copy_to_nobody(server: Server) -> float:
    """Seconds in which PostgreSQL reads and writes all rows as text."""
    started = time.perf_counter()
    with (
        connect(Target(role="readonly", url=server.url("readonly"))) as connection,
        connection.cursor().copy("COPY (SELECT * FROM ledger.universal_registry) TO STDOUT") as copy,
    ):
        for _ in copy:
            pass
    return time.perf_counter() - started


def main() -> None:
    """Print a line for one process and one for as many as there are processors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=50_000)
    options = parser.parse_args()
    with seeded_ledger() as server, tempfile.TemporaryDirectory() as folder:
        fill(server, options.spans)
        log = Folder(Path(folder))
        seal(server, log)
        target = Target(role="readonly", url=server.url("readonly"))
        for jobs in sorted({1, processors()}):
            floor = copy_to_nobody(server)
            started = time.perf_counter()
            report = fsck(Plan(target, ROOTS, log, [NoteKey(ORIGIN, bytes(NOTARY_KEY.verify_key))], (), jobs))
            took = time.perf_counter() - started
            if report.count:
                raise RuntimeError(report.ordered()[0])
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(
                f"fsck of {report.spans} spans, {jobs} at once   {took:7.2f} s   {report.spans / took:8.0f} spans/s   "
                f"COPY to nobody {floor:6.2f} s   {took / floor:6.2f}x   at most {peak:.0f} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()
