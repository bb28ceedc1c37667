"""Boots, appends and timeline pages against floors: `.venv/bin/python -m benchmarks.ledger [--spans N]`.

Machines differ and are noisy, so each figure is a median beside the median of the least that PostgreSQL itself
needs for the same commits, rows or page, taken in turns with it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from aws_lambda_powertools import Logger
from nacl.signing import SigningKey

from db_migration.handler import answer
from ledger.append import append
from ledger.connection import Connection, Target, connect
from ledger.database import Database, Identity
from ledger.ids import new_id
from ledger.read import BEGINNING, newest_page, next_page
from ledger.span import Span, parse_span
from loglineos.local.postgres import LocalPostgres, Server
from stage0_loader.handler import handle, make_loader
from stage0_loader.settings import Settings

ROW_KEY, LOADER_KEY = SigningKey(b"r" * 32), SigningKey(b"l" * 32)
PROMPT_FETCH = "00000000-0000-4000-8000-000000000006"
BIG, TINY, DORMANT = Identity("big", "big"), Identity("tiny", "tiny"), Identity("dormant", "dormant")
PAYLOAD = {"content": "x" * 900}

# Filler rows get their versions guarded like any others; only their hashes mean nothing.
FILL = """
INSERT INTO ledger.universal_registry
  (id, seq, entity_type, who, did, this, at, owner_id, tenant_id, visibility, metadata, curr_hash)
SELECT gen_random_uuid(), 0, (ARRAY['memory', 'execution', 'boot_event'])[1 + n %% 3], 'b', 'b', 'b', now(),
       CASE WHEN n %% 6 = 0 THEN 'big' ELSE 'user' || n %% 500 END,
       CASE WHEN n %% 6 = 0 THEN 'big' ELSE 'tenant' || n %% 100 END,
       CASE WHEN n %% 10 = 0 THEN 'tenant' ELSE 'private' END, %s, encode(sha256(int4send(n)), 'hex')
FROM generate_series(%s::integer, %s::integer) n
"""


@contextmanager
def seeded_ledger() -> Iterator[Server]:
    """A durable PostgreSQL of its own, migrated and seeded; removed afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="loglineos-benchmark-"))
    directory.chmod(0o755)
    local = LocalPostgres(directory)
    try:
        server = local.start()
        for role in ("lambda_exec", "readonly"):
            local.ensure_login(role)
        environment = {"DATABASE_URL": server.url(), "ROW_SIGNING_KEY_HEX": bytes(ROW_KEY).hex()}
        for action in ("migrate", "seed"):
            result = answer({"action": action}, environment)
            if not result["ok"]:
                raise RuntimeError(result)
        yield server
    finally:
        local.remove()
        shutil.rmtree(directory, ignore_errors=True)


def compare(name: str, floor_name: str, work: Callable[[], Any], floor: Callable[[], Any], rounds: int) -> None:
    """Run both in turns and print medians and their ratio."""
    took: dict[str, list[float]] = {"work": [], "floor": []}
    for n in range(rounds + 20):
        for label, call in (("floor", floor), ("work", work)):
            started = time.perf_counter()
            call()
            if n >= 20:  # warm: statements prepared, kernels compiled
                took[label].append((time.perf_counter() - started) * 1000)
    medians = {label: statistics.median(values) for label, values in took.items()}
    ratio = medians["work"] / medians["floor"]
    print(
        f"{name:34} {medians['work']:8.3f} ms   {floor_name:38} {medians['floor']:8.3f} ms   {ratio:5.2f}x", flush=True
    )


def boots(server: Server, floor: Connection, rounds: int) -> None:
    """A boot is one read and two commits, and what Python does between them."""
    logger = Logger(service="benchmark", level="ERROR")
    settings = {
        "DATABASE_URL": server.url("lambda_exec"),
        "SIGNING_KEY_HEX": bytes(LOADER_KEY).hex(),
        "TRUSTED_ROW_KEYS": bytes(ROW_KEY.verify_key).hex(),
    }
    loader = make_loader(Settings.from_environment(settings), logger)
    event = {
        "action": "boot", "boot_function_id": PROMPT_FETCH, "user_id": "big", "tenant_id": "big",
        "input": {"prompt_id": "00000000-0000-4000-8000-000000000101", "variables": {"user_name": "Ana"}},
    }  # fmt: skip

    def boot() -> None:
        result = handle(loader, event, None)
        if result["statusCode"] != 200:
            raise RuntimeError(result)

    def two_commits() -> None:
        floor.execute("INSERT INTO plain VALUES (gen_random_uuid(), %s)", [json.dumps(PAYLOAD)])
        floor.execute("INSERT INTO plain VALUES (gen_random_uuid(), %s)", [json.dumps(PAYLOAD)])

    compare("boot of prompt_fetch_kernel", "two commits of one plain row", boot, two_commits, rounds)


def appends(server: Server, floor: Connection, rounds: int) -> None:
    """One span, and a thousand in one statement, signed."""
    database = Database(Target(role="lambda_exec", url=server.url("lambda_exec")))
    for count in (1, 1000):

        def spans(count: int = count) -> None:
            append(database, BIG, [_span() for _ in range(count)], LOADER_KEY)

        def rows(count: int = count) -> None:
            floor.execute(
                "INSERT INTO plain SELECT gen_random_uuid(), %s FROM generate_series(1, %s)",
                [json.dumps(PAYLOAD), count],
            )

        floor_name = f"{count} plain row{'s' if count > 1 else ''}, one index"
        compare(f"append of {count} signed", floor_name, spans, rows, max(5, rounds // count))


def pages(server: Server, floor: Connection, rounds: int) -> None:
    """A page of 50 as different tenants see it, against 50 rows by their primary key."""
    database = Database(Target(role="lambda_exec", url=server.url("lambda_exec")))
    ids = [row["id"] for row in floor.execute("SELECT id FROM ledger.universal_registry LIMIT 50")]

    def by_key() -> None:
        floor.execute("SELECT * FROM ledger.universal_registry WHERE id = ANY(%s)", [ids]).fetchall()

    for identity in (BIG, TINY, DORMANT):
        name, floor_name = identity.user_id, "50 rows by primary key"
        pages_by_name = {
            f"newest page, {name} tenant": partial(newest_page, database, identity),
            "  of one type": partial(newest_page, database, identity, entity_type="memory"),
            "  forwards": partial(next_page, database, identity, after=BEGINNING),
        }
        for page_name, page in pages_by_name.items():
            compare(page_name, floor_name, page, by_key, rounds)


def _span() -> Span:
    return parse_span(
        {"id": new_id(), "entity_type": "note", "who": "big", "did": "said", "this": "note", "at": datetime.now(UTC),
         "owner_id": "big", "tenant_id": "big", "metadata": PAYLOAD}
    )  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=100_000, help="how many the ledger holds already")
    parser.add_argument("--rounds", type=int, default=300)
    options = parser.parse_args()
    with seeded_ledger() as server, connect(Target(role=None, url=server.url())) as floor:
        floor.execute("CREATE TABLE plain (id uuid PRIMARY KEY, payload jsonb)")
        started = time.perf_counter()
        for first in range(1, options.spans, 5000):
            floor.execute(FILL.encode(), [json.dumps(PAYLOAD), first, min(first + 4999, options.spans)])
        floor.execute("VACUUM ANALYZE ledger.universal_registry")
        print(f"{options.spans} spans filled in within {time.perf_counter() - started:.0f} s\n", flush=True)
        boots(server, floor, options.rounds)
        appends(server, floor, options.rounds)
        pages(server, floor, options.rounds)


if __name__ == "__main__":
    main()
