"""What only AWS knows, by answers as its API gives them: each figure beyond its threshold, with what to do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from loglineos.health import functions, keeping, ledger
from loglineos.health.facts import Facts
from loglineos.health.finding import age, size

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
GIB = 1024**3
INSTANCE = {
    "DBInstanceIdentifier": "loglineos-prod", "DBInstanceStatus": "available", "AllocatedStorage": 100,
    "BackupRetentionPeriod": 30, "LatestRestorableTime": NOW - timedelta(minutes=5),
}  # fmt: skip


def facts(**changes: Any) -> Facts:
    given: dict[str, Any] = {
        "command": "loglineos --env prod", "on_aws": True, "deployed": True, "now": NOW,
        "aws": {"instance": INSTANCE, "snapshot": {}, "functions": {"db-deploy": {"state": "Active"}}, "free": {}},
        "xray": {"size": {"database_bytes": 10 * GIB, "frozen_age": 1000}},
    }  # fmt: skip
    return Facts(**{**given, **changes})


def with_aws(**changes: Any) -> Facts:
    return facts(aws={**facts().aws, **changes})


@pytest.mark.parametrize(
    ("free", "level"), [(50, "ok"), (19, "warning"), (4, "failure"), (None, "ok")]
)  # fmt: skip
def test_storage_is_what_is_not_free(free: int | None, level: str) -> None:
    (found,) = keeping.storage(with_aws(free={"bytes": free * GIB} if free is not None else {}))
    assert found.level == level
    assert ("`loglineos --env prod archive`" in found.remedy) == (level != "ok")


def test_transaction_ids_that_run_out() -> None:
    (_, found) = keeping.storage(facts(xray={"size": {"database_bytes": 1, "frozen_age": 1_500_000_000}}))
    assert (found.level, "VACUUM (FREEZE)" in found.remedy) == ("failure", True)


@pytest.mark.parametrize(
    ("change", "level", "remedy"),
    [
        ({}, "ok", ""),
        ({"BackupRetentionPeriod": 0}, "failure", "--backup-retention-period 7"),
        ({"LatestRestorableTime": NOW - timedelta(days=3)}, "failure", "`loglineos --env prod snapshot`"),
    ],
)
def test_backups(change: dict[str, Any], level: str, remedy: str) -> None:
    (found,) = keeping.backup(with_aws(instance={**INSTANCE, **change}))
    assert (found.level, remedy in found.remedy) == (level, True)


def test_what_may_not_be_asked_is_not_known() -> None:
    (found,) = keeping.backup(with_aws(instance={"unknown": "not authorized"}))
    assert (found.level, "rds:DescribeDBInstances" in found.remedy) == ("unknown", True)


def test_a_replica_that_is_behind_or_not_ready() -> None:
    server = {"version": "18", "latency_ms": 1.0, "connect_ms": 5.0, "replica": True, "lag_s": 600.0}
    _, found = functions.database(facts(xray={"pulse": {"server": server}}))
    assert (found.level, found.said) == ("warning", "reports are read from it, 10 min behind")
    creating = {"DBInstanceIdentifier": "loglineos-read-replica", "DBInstanceStatus": "creating"}
    known = {"pulse": {"server": {**server, "replica": False}}}
    _, found = functions.database(facts(xray=known, aws={"replicas": [creating]}))
    assert (found.level, "describe-events" in found.remedy) == ("warning", True)


def test_a_function_that_fails_or_is_not_there() -> None:
    problems = {"stage0-loader": "loglineos-stage0-loader failed: out of memory"}
    aws = {"functions": {"db-deploy": {"unknown": "Function not found"}}}
    loader, _, deploy = functions.functions(facts(problems=problems, aws=aws))
    assert (loader.level, loader.remedy) == (
        "failure", "Its log says why: `aws logs tail /aws/lambda/loglineos-stage0-loader --since 15m`."
    )  # fmt: skip
    assert (deploy.level, "`bash deploy.sh prod`" in deploy.remedy) == ("failure", True)


def test_connections_and_a_transaction_that_stays_open() -> None:
    long = {"pid": 7, "login": "ana", "application": "psql", "state": "idle in transaction", "seconds": 4000.0}
    busy = {"performance": {"connections": 95, "max_connections": 100, "long_transactions": [long]}}
    used, open_ = keeping.connections(facts(xray=busy))
    assert (used.level, used.said) == ("failure", "95 of 100")
    assert (open_.level, "pg_terminate_backend(7)" in open_.remedy) == ("warning", True)


def test_the_sandboxs_walls() -> None:
    (found,) = ledger.sandbox(facts(loader={"sandbox": {"seccomp": "off"}}))
    assert (found.level, "docs/deploy.md" in found.remedy) == ("warning", True)
    (found,) = ledger.sandbox(facts(loader={"sandbox": {"seccomp": "off", "problem": "no worker"}}))
    assert found.level == "failure"


def test_a_kernel_that_this_checkout_has_a_newer_version_of() -> None:
    kernel = {"id": "00000000-0000-4000-8000-000000000001", "name": "k", "seq": 4, "proof": "signed"}
    from loglineos.health.facts import released

    (found,) = ledger.kernels(facts(loader={"kernels": [kernel]}, released=released()))
    assert (found.level, found.said) == ("warning", "seq 4, signed; this checkout has seq 5")


def test_an_archive_that_is_late() -> None:
    last = {"at": (NOW - timedelta(days=50)).isoformat(), "to": 1000, "proof": "signed"}
    for archived in (last, None):
        for days, level in ((410, "warning"), (390, "ok"), (None, "ok")):
            waiting = None if days is None else {"at": (NOW - timedelta(days=days)).isoformat()}
            pulse = {"origin": "o", "archive": archived, "unarchived": waiting}
            (found,) = keeping.archive(facts(xray={"pulse": pulse}))
            late = "`loglineos --env prod archive`" in found.remedy
            assert (found.level, late) == (level, level == "warning"), (archived, days)


def test_figures_for_people() -> None:
    assert [age(n) for n in (None, 5, 150, 7_300, 200_000)] == ["never", "5 s", "2 min", "2 h", "2 days"]
    assert [size(n) for n in (0, 1536, 3 * GIB, 5 * GIB * 1024)] == ["0 B", "1.5 KiB", "3.0 GiB", "5.0 TiB"]
