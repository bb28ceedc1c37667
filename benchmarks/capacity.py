"""What spans cost, for `benchmarks.capacity_model`: `.venv/bin/python -m benchmarks.capacity [--spans N] [--out FILE]`.

A ledger is filled with spans as kernels leave them (`benchmarks/usage.py`). Bytes are exact, as PostgreSQL counts them;
speeds are of this machine, so each stands beside the least that PostgreSQL itself needs, taken in turns with it. Linux
only: CPU time is read from /proc. Prints JSON; `--out benchmarks/measured.json` is how the committed file was made.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from nacl.signing import SigningKey

from benchmarks.bulk import bulk
from benchmarks.ledger import LOADER_KEY, ROW_KEY, seeded_ledger
from benchmarks.meter import MS, Meter
from benchmarks.usage import (
    AGENT,
    MEAN_WORDS,
    TENANTS,
    USERS,
    WEIGHTS,
    Texts,
    Usage,
    everybody,
    new_loader,
    patterns,
    uses,
)
from ledger.append import insert_sealed
from ledger.connection import Connection, Target, connect
from ledger.database import Identity
from ledger.span import Span
from loglineos.local.postgres import Server

Figures = dict[str, Any]
EACH: Final = 12  # patterns of each kind of use
BATCH: Final = 500
STEPS: Final = 4  # how often pages are read while the ledger grows
SIZES = """
SELECT c.relname AS name, pg_relation_size(c.oid) AS bytes FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
 WHERE i.indrelid = 'ledger.universal_registry'::regclass
UNION ALL
SELECT 'heap', pg_relation_size('ledger.universal_registry')
UNION ALL
SELECT 'toast', pg_total_relation_size(reltoastrelid) FROM pg_class WHERE oid = 'ledger.universal_registry'::regclass
"""
BY_TYPE = """
SELECT entity_type, count(*) AS spans, round(avg(pg_column_size(r.*))) AS bytes
  FROM ledger.universal_registry r WHERE owner_id <> 'system' AND entity_type <> 'function' GROUP BY 1 ORDER BY 2 DESC
"""
WAL = """
SELECT sum(record_size) AS records, sum(fpi_size) AS pages FROM pg_get_wal_stats(%s::text::pg_lsn, %s::text::pg_lsn)
"""
NOW = "SELECT pg_current_wal_flush_lsn()::text AS lsn, (SELECT last_value FROM ledger.position) AS spans"


class Measurement:
    """One ledger and what is asked of it."""

    def __init__(
        self, server: Server, database: str, row_key: SigningKey, spans: int, rounds: int, each: int = EACH
    ) -> None:
        self.spans, self.rounds = spans, rounds
        self.meter = Meter(server.pid)
        url = partial(server.url, database=database)
        self.superuser = connect(Target(role=None, url=url("rdsadmin")))
        self.admin = connect(Target(role=None, url=url("postgres")))
        self.superuser.execute("CREATE EXTENSION IF NOT EXISTS pg_walinspect")
        # It would come when it likes. What it does is measured by itself.
        self.superuser.execute("ALTER TABLE ledger.universal_registry SET (autovacuum_enabled = off)")
        self.admin.execute("CREATE TABLE plain (id uuid PRIMARY KEY, payload jsonb)")
        self.log = io.StringIO()
        loader = new_loader(url("lambda_exec"), row_key, LOADER_KEY, self.log)
        self.usage = Usage(loader, Texts.of_docs(), everybody()[0])
        self.patterns = patterns(self.usage, self.superuser, each)

    def close(self) -> None:
        """Leave the ledger."""
        for connection in (self.superuser, self.admin):
            connection.close()
        self.usage.loader.sandbox.close()
        self.usage.loader.database.close()

    def figures(self) -> Figures:
        """Everything."""
        use = self.use()
        pages, filling = self.grow()
        self.superuser.execute("VACUUM ANALYZE ledger.universal_registry")
        return {
            "measured": self.circumstances(),
            "use": use,
            "bytes_per_span": self.sizes(),
            "by_type": self.by_type(),
            "wal_bytes_per_span": self.wal(),
            "operations": self.operations(),
            "agent": self.agent(),
            "pages": pages,
            "cpu_seconds_per_million_inserts": filling,
            **bulk(self.superuser, self.meter),
        }

    def circumstances(self) -> Figures:
        """Of what these figures are true."""
        return {
            "on": datetime.now(UTC).date().isoformat(),
            "with": "python -m benchmarks.capacity",
            "postgres": self.superuser.info.parameter_status("server_version"),
            "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
            "spans": self.count(),
            "tenants": TENANTS,
            "users_per_tenant": USERS,
            "words_per_memory": MEAN_WORDS,
        }

    def count(self) -> int:
        """Of spans."""
        return int(_one(self.superuser, "SELECT count(*) AS n FROM ledger.universal_registry")["n"])

    def use(self) -> Figures:
        """Spans and boots of a hundred uses, and of a minute in which nobody does anything."""
        self.usage.minute()
        before = _one(self.superuser, NOW)["spans"]
        minutes = min(10, self.rounds)
        for _ in range(minutes):
            self.usage.minute()
        quiet = (_one(self.superuser, NOW)["spans"] - before) / minutes
        spans = {name: sum(map(len, found)) / len(found) for name, found in self.patterns.items()}
        types = {
            name: [span.entity_type for pattern in found for span in pattern] for name, found in self.patterns.items()
        }
        executions = {name: types[name].count("execution") / len(found) for name, found in self.patterns.items()}
        return {
            "weights": WEIGHTS,
            "spans_of_each": spans,
            "spans_per_use": _mean(spans),
            "executions_per_use": _mean(executions),
            "spans_per_quiet_minute": quiet,
        }

    def grow(self) -> tuple[list[Figures], float]:
        """Fill the ledger, reading pages at every step; seconds of PostgreSQL's and this CPU for a million inserts."""
        source = uses(self.patterns, self.usage.texts, LOADER_KEY, everybody())
        pages, cpu = [], 0.0
        for step in range(1, STEPS + 1):
            missing = self.spans * step // STEPS - self.count()
            while missing > 0:
                batch: list[Span] = []
                while len(batch) < BATCH:
                    batch += next(source)
                cpu += self.meter.once(partial(insert_sealed, self.admin, batch)).cpu_ms / MS
                missing -= len(batch)
            self.superuser.execute("VACUUM ANALYZE ledger.universal_registry")
            print(f"{self.count()} spans", file=sys.stderr, flush=True)
            pages.append({"spans": self.count(), **self.page_costs()})
        return pages, round(cpu / self.count() * 1e6, 1)

    def page_costs(self) -> Figures:
        """A page of 50 of the busiest tenant, a search there, and a page of a tenant that has nothing, by the floor of
        50 rows by their key."""
        ids = [row["id"] for row in self.superuser.execute("SELECT id FROM ledger.universal_registry LIMIT 50")]
        by_key = "SELECT * FROM ledger.universal_registry WHERE id = ANY(%s)"
        nobody = Identity("nobody", "nowhere")
        few = max(1, self.rounds // 10)
        costs = self.meter.in_turns(
            {
                "floor": lambda: self.superuser.execute(by_key, [ids]).fetchall(),
                "busiest": lambda: self.usage.send({"action": "timeline", "limit": 50}),
                "nobody": lambda: self.usage.send({"action": "timeline", "limit": 50}, nobody),
                "search for any word": self.usage.search,
            },
            few,
        )
        texts = self.usage.texts
        dear: dict[str, Callable[[], Any]] = {
            "search for the commonest word": partial(self.usage.search, None, texts.commonest()),
            "search for two letters": partial(self.usage.search, None, texts.commonest(2, 2)),
        }
        costs |= self.meter.in_turns(dear, max(1, few // 4))
        return {name: cost.figures() for name, cost in costs.items()}

    def sizes(self) -> Figures:
        """Bytes of a span in the table and in each index."""
        count = self.count()
        rows = self.superuser.execute(SIZES).fetchall()
        return {row["name"]: round(row["bytes"] / count, 1) for row in sorted(rows, key=lambda row: -row["bytes"])}

    def by_type(self) -> Figures:
        """How many there are of each type, and the bytes of one as it lies in the table."""
        rows = self.superuser.execute(BY_TYPE).fetchall()
        return {row["entity_type"]: {"spans": row["spans"], "bytes": int(row["bytes"])} for row in rows}

    def wal(self) -> Figures:
        """Bytes of write-ahead log of a span, committed as the loader commits; pages are logged whole after a
        checkpoint, so the first uses after it cost most."""
        some = max(1, self.rounds // 10)
        self.superuser.execute("CHECKPOINT")
        return {"after_checkpoint": self._wal_of(some), "later": self._wal_of(10 * some)}

    def _wal_of(self, times: int) -> Figures:
        before = _one(self.superuser, NOW)
        for _ in range(times):
            for name, use in self.usage.kinds().items():
                if self.usage.texts.random.random() < WEIGHTS[name] / 30:  # the commonest always
                    self.usage.identity = self.usage.texts.random.choice(everybody()[:TENANTS])
                    use(None)
        after = _one(self.superuser, NOW)
        spans = after["spans"] - before["spans"]
        found = _one(self.superuser, WAL, [before["lsn"], after["lsn"]])
        return {"spans": spans, **{name: round(found[name] / spans) for name in ("records", "pages")}}

    def operations(self) -> Figures:
        """What one of each costs by the clock and in CPU, by the least that PostgreSQL needs for as many commits."""
        self.usage.identity = everybody()[10 * USERS]  # neither of the busiest tenant nor of a quiet one
        plain = partial(self.admin.execute, "INSERT INTO plain VALUES (gen_random_uuid(), %s)", ["{}"])
        floors: dict[str, Callable[[], Any]] = {
            "floor: one commit": plain,
            "floor: two commits": partial(_twice, plain),
        }
        work: dict[str, Callable[[], Any]] = {
            "boot prompt": self.usage.prompt, "boot store": self.usage.store, "append": self.usage.note,
            "page": lambda: self.usage.send({"action": "timeline", "limit": 50}),
        }  # fmt: skip
        costs = self.meter.in_turns(floors | work, self.rounds)
        logged = self._logged(work)
        for name, use in {
            "boot search": self.usage.search,
            "boot run": self.usage.run,
            "request": self.usage.request,
        }.items():
            costs |= self.meter.in_turns({name: use}, min(self.rounds, 40))
            logged |= self._logged({name: use})
        floor = costs["floor: two commits"].wall_ms
        return {
            name: {**cost.figures(), "by_floor": round(cost.wall_ms / floor, 2), "log_bytes": logged.get(name, 0)}
            for name, cost in costs.items()
        }

    def agent(self) -> Figures:
        """One boot of the policy agent that has more to do than it can: executions seen by all policies together."""
        output: Figures = {}
        cost = self.meter.once(lambda: output.update(self.usage.by_schedule(AGENT)))
        seen = [policy.get("evaluated", 0) for policy in output["policies"]]
        figures = cost.figures()
        return {"evaluated": seen, **{f"{name}_each": round(figures[name] / max(1, sum(seen)), 3) for name in figures}}

    def _logged(self, work: dict[str, Callable[[], Any]]) -> dict[str, int]:
        """Bytes that each writes to the function's log."""
        found = {}
        for name, call in work.items():
            before = self.log.tell()
            call()
            found[name] = self.log.tell() - before
        return found


def _one(connection: Connection, statement: str, given: list[Any] | None = None) -> dict[str, Any]:
    row = connection.execute(statement.encode(), given).fetchone()
    if row is None:
        raise RuntimeError(f"no answer to {statement}")
    return row


def _mean(of_each: dict[str, float]) -> float:
    return round(sum(weight * of_each[name] for name, weight in WEIGHTS.items()) / sum(WEIGHTS.values()), 3)


def _twice(call: Callable[[], Any]) -> None:
    call()
    call()


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=300_000, help="to fill the ledger with")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--out", type=Path, help="a file for the JSON, instead of standard output")
    options = parser.parse_args()
    logging.getLogger("loglineos-db-migration").setLevel(logging.WARNING)  # standard output is the figures'
    with seeded_ledger() as server:
        measurement = Measurement(server, "loglineos", ROW_KEY, options.spans, options.rounds)
        try:
            text = json.dumps(measurement.figures(), indent=2) + "\n"
        finally:
            measurement.close()
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
