"""Claims from the queue against a floor: `.venv/bin/python -m benchmarks.queue [--finished N] [--tenants N]`.

The floor is what PostgreSQL itself needs to take one row of a plain table of those that wait, in turns with it.
"""

from __future__ import annotations

import argparse
import time
from functools import partial

from benchmarks.ledger import compare, seeded_ledger
from ledger.connection import Connection, Target, connect

# Filler rows get their versions guarded like any others; only their hashes mean nothing.
FILL = """
INSERT INTO ledger.universal_registry
  (id, seq, entity_type, who, did, this, at, owner_id, tenant_id, visibility, status, curr_hash)
SELECT gen_random_uuid(), 0, 'request', 'b', 'b', 'b', '2026-01-01', 'u', 't' || n %% %s::integer, 'private', %s,
       encode(sha256(int4send(n)), 'hex')
  FROM generate_series(%s::integer, %s::integer) n
"""
BATCH = 5000
CLAIM = "SELECT * FROM ledger.claim_request('{}', %s)"
FLOOR = """
UPDATE plain SET taken_at = now()
 WHERE id = (SELECT id FROM plain WHERE taken_at IS NULL ORDER BY ready_at LIMIT 1 FOR UPDATE SKIP LOCKED)
"""


def fill(connection: Connection, count: int, tenants: int, status: str) -> None:
    """Append that many requests of so many tenants."""
    started = time.perf_counter()
    for first in range(1, count + 1, BATCH):
        connection.execute(FILL.encode(), [tenants, status, first, min(first + BATCH - 1, count)])
    connection.execute("VACUUM ANALYZE ledger.universal_registry")
    connection.execute("VACUUM ANALYZE ledger_idx.pending")
    print(f"{count} {status}, of {tenants} tenants, within {time.perf_counter() - started:.0f} s", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--finished", type=int, default=1_000_000, help="how many requests are done already")
    parser.add_argument("--waiting", type=int, default=10_000)
    parser.add_argument("--tenants", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=300)
    options = parser.parse_args()
    with seeded_ledger() as server, connect(Target(role=None, url=server.url())) as admin:
        admin.execute("CREATE TABLE plain (id bigint PRIMARY KEY, ready_at timestamptz, taken_at timestamptz)")
        admin.execute("INSERT INTO plain SELECT n, now(), NULL FROM generate_series(1, %s) n", [options.waiting])
        admin.execute("CREATE INDEX ON plain (ready_at) WHERE taken_at IS NULL")
        with connect(Target(role="lambda_exec", url=server.url("lambda_exec"))) as worker:

            def claims(name: str, tenant: str | None) -> None:
                claim = partial(worker.execute, CLAIM.encode(), [tenant])
                compare(name, "one of the plain table", claim, partial(admin.execute, FLOOR), options.rounds)

            fill(admin, options.waiting, 1, "scheduled")
            claims("claim, 1 tenant waits, none done", None)
            fill(admin, options.finished, options.tenants, "complete")
            claims("claim, 1 tenant waits", None)
            fill(admin, options.waiting, options.tenants, "scheduled")
            claims(f"claim, {options.tenants} tenants wait", None)
            claims("  within a tenant's turn", "t7")
        started = time.perf_counter()
        admin.execute("SELECT * FROM ledger.rebuild_pending()")
        print(f"rebuilt within {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
