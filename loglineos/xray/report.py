"""What `xray` knows, put together: the sections, what follows from them, and what of it needs a look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from loglineos.health import functions, keeping, ledger, work
from loglineos.health.facts import Facts
from loglineos.health.finding import FSCK, Finding, Level
from loglineos.xray.growth import growth

Report = dict[str, Any]
NEVER_DROP = "never scanned since the counters began; before dropping it, see that the replica does not use it either"


def build(facts: Facts, storage_gb: float | None) -> Report:
    """All of it, as `--json` answers it."""
    if storage_gb is not None:
        instance = {**facts.aws.get("instance", {}), "AllocatedStorage": storage_gb}
        facts = replace(facts, aws={**facts.aws, "instance": instance})
    # RDS grows the storage by itself, up to a limit: full is what the limit does not hold.
    instance = facts.aws.get("instance", {})
    limit = instance.get("MaxAllocatedStorage")
    storage = storage_gb or max((one for one in (instance.get("AllocatedStorage"), limit) if one), default=None)
    report: Report = {
        "made_at": facts.now.isoformat(timespec="seconds"),
        "ledger": facts.loader.get("database") or facts.command,
        "loader": facts.loader,
        **facts.xray,
        "growth": _growth(facts, storage),
        "storage_limit_gb": limit,
        "unused_indexes": unused_indexes(facts),
    }
    report["findings"] = [finding.as_json() for finding in _findings(facts, report)]
    return report


def _growth(facts: Facts, storage_gb: float | None) -> Report:
    counted, measured = facts.section("spans"), facts.section("size")
    if not counted or not measured:
        return {"unknown": facts.reason("spans" if not counted else "size")}
    return growth(counted["by_day"], counted["total"], measured, facts.now, storage_gb)


def unused_indexes(facts: Facts) -> list[dict[str, Any]]:
    """Indexes that neither server has scanned and that keep nothing unique."""
    scanned = {
        index["name"]
        for name in ("size", "replica_size")
        for index in facts.section(name).get("indexes", [])
        if index["scans"]
    }
    return [
        index
        for index in facts.section("size").get("indexes", [])
        if index["name"] not in scanned and not index["is_unique"]
    ]


def _findings(facts: Facts, report: Report) -> Iterator[Finding]:
    """What health says of the same facts, and what only shows here."""
    for check in (functions.migrations, functions.schema, ledger.manifest, ledger.kernels, ledger.signing, work.alerts,
                  keeping.storage, keeping.connections):  # fmt: skip
        yield from check(facts)
    checked = facts.section("integrity")
    for one in checked.get("first_broken", []):
        yield Finding("integrity", "failure", f"span {one['id']} seq {one['seq']}: {one['reason']}",
                      f"Compare with the log outside the database: {FSCK}.")  # fmt: skip
    if checked and not checked["broken"]:
        yield Finding("integrity", "ok", f"the newest {checked['checked']:,} spans are what their hashes say")
    days = report["growth"].get("days_until_full")
    if days is not None:
        level: Level = "failure" if days < 7 else "warning" if days < 60 else "ok"
        remedy = 'Raise storage_limit_gb: docs/archive.md, "When the database is full".'
        yield Finding("growth", level, f"full in {days:,} days at {report['growth']['spans_a_day']:,} spans a day",
                      "" if level == "ok" else remedy)  # fmt: skip
    yield from _upkeep(facts)


def _upkeep(facts: Facts) -> Iterator[Finding]:
    measured = facts.section("size")
    for table in measured.get("tables", []):
        if table["dead"] > 50_000 and table["dead"] > table["live"] / 2:
            yield Finding("bloat", "warning", f"{table['name']}: {table['dead']:,} dead rows of {table['live']:,} live",
                          f"As its owner: VACUUM (ANALYZE) {table['name']}.")  # fmt: skip
    for index in measured.get("indexes", []):
        if not index["is_valid"]:
            yield Finding("indexes", "warning", f"{index['name']} is not valid and serves nobody",
                          f"As its owner: REINDEX INDEX CONCURRENTLY {index['name']}.")  # fmt: skip
    hit = measured.get("cache_hit_percent")
    if hit is not None and hit < 90 and measured["database_bytes"] > 2**30:
        yield Finding("cache", "warning", f"only {hit} % of pages were in memory",
                      "Take a larger instance class: manual 10.2.")  # fmt: skip
