"""Is it kept: sealed by checkpoints, archived, backed up; and is there room?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from loglineos.health.facts import Facts
from loglineos.health.finding import FSCK, Finding, Level, age, size

SEAL_LATE_S: Final = 30 * 60  # sealed every five minutes; the alarm is at half an hour
SEAL_TOO_LATE_S: Final = 2 * 3_600
ARCHIVE_LATE_S: Final = (365 + 40) * 86_400  # monthly, of what was sealed a year ago
BACKUP_LATE_S: Final = 26 * 3_600  # nightly; a restorable time is five minutes old on RDS
STORAGE_WARNING, STORAGE_FAILURE = 0.8, 0.95  # manual 5.3, 10.1
CONNECTIONS_WARNING, CONNECTIONS_FAILURE = 0.75, 0.9
FREEZE_WARNING: Final = 0.9  # of autovacuum_freeze_max_age times five: a billion transactions by default
WRAPAROUND: Final = 2**31


def checkpoint(facts: Facts) -> Iterator[Finding]:
    """The newest one, and how many spans came since."""
    pulse = facts.section("pulse")
    if not pulse or not pulse["origin"]:
        yield Finding("checkpoint", "unknown", facts.reason("pulse") if not pulse else "LOG_ORIGIN is not set",
                      f"`{facts.command} checkpoint show`")  # fmt: skip
        return
    newest, others = pulse["checkpoint"]["newest"], pulse["checkpoint"]["others"]
    lag = f"{'more than ' if pulse['checkpoint']['cut'] else ''}{others:,} spans not sealed"
    seal = f"Seal now: `{facts.command} checkpoint`."
    if newest is None:
        yield Finding("checkpoint", "warning", f"there is none yet; {lag}", seal)
        return
    seconds = _age(facts, newest["at"])
    said = f"size {newest['size']:,}, {age(seconds)} ago; {lag}"
    if newest["proof"] != "signed":
        yield Finding("checkpoint", "failure", f"{said}; it is {newest['proof']}",
                      f"Compare with the log outside the database: {FSCK}.")  # fmt: skip
    elif others and seconds > SEAL_TOO_LATE_S:
        yield Finding("checkpoint", "failure", said, f"{seal} If it refuses, its sentence says why.")
    else:
        late = bool(others) and seconds > SEAL_LATE_S
        yield Finding("checkpoint", "warning" if late else "ok", said, seal if late else "")


def archive(facts: Facts) -> Iterator[Finding]:
    """The last archived range, and how old the first is that is none."""
    pulse = facts.section("pulse")
    if not pulse or not pulse["origin"]:
        return
    last, waiting = pulse["archive"], pulse.get("unarchived")
    waits_s = _age(facts, waiting["at"]) if waiting else 0.0
    said = f"spans up to {last['to']:,}, {age(_age(facts, last['at']))} ago" if last else "nothing is archived yet"
    if last and last["proof"] != "signed":
        yield Finding("archive", "failure", f"{said}; its span is {last['proof']}", f"`{facts.command} archive verify`")
    elif waits_s > ARCHIVE_LATE_S:
        yield Finding("archive", "warning", f"{said}; what was sealed {age(waits_s)} ago is not",
                      f"Run it: `{facts.command} archive`.")  # fmt: skip
    else:
        yield Finding("archive", "ok", said)


def backup(facts: Facts) -> Iterator[Finding]:
    """What RDS keeps, where there is an RDS."""
    instance = facts.aws.get("instance", {})
    if not facts.deployed:
        yield Finding("backup", "unknown", "a database of your own has the backups that you make",
                      "`loglineos backup FOLDER` makes one; `loglineos drill` proves that it restores.")  # fmt: skip
        return
    if "unknown" in instance:
        yield Finding(
            "backup", "unknown", instance["unknown"], "Ask with an identity that may rds:DescribeDBInstances."
        )
        return
    name, days = instance["DBInstanceIdentifier"], instance.get("BackupRetentionPeriod", 0)
    restorable, snapshot = instance.get("LatestRestorableTime"), facts.aws.get("snapshot", {}).get("SnapshotCreateTime")
    said = f"automatic, kept {days} days" if days else "no automatic backups"
    said += f"; restorable up to {restorable:%Y-%m-%d %H:%M} UTC" if restorable else ""
    said += f"; newest snapshot {snapshot:%Y-%m-%d %H:%M} UTC" if snapshot else "; no snapshot"
    newest = max((one for one in (restorable, snapshot) if one), default=None)
    if not days:
        yield Finding("backup", "failure", said, f"`aws rds modify-db-instance --db-instance-identifier {name}"
                      " --backup-retention-period 7 --apply-immediately`; then deploy with backup_days.")  # fmt: skip
    elif newest is None or (facts.now - newest).total_seconds() > BACKUP_LATE_S:
        yield Finding(
            "backup", "failure" if facts.on_aws else "unknown", said, f"Make one now: `{facts.command} snapshot`."
        )
    else:
        yield Finding("backup", "ok", said)


def storage(facts: Facts) -> Iterator[Finding]:
    """Of the instance, by its free space where AWS tells it, else by the size of the database."""
    measured = facts.section("size")
    if not measured:
        yield Finding("storage", "unknown", facts.reason("size"), f"`{facts.command} xray`")
        return
    allocated = facts.aws.get("instance", {}).get("AllocatedStorage")
    database = f"the database is {size(measured['database_bytes'])}"
    if not allocated:
        yield Finding("storage", "ok", f"{database}; how much there is for it is not known here")
    else:
        total = allocated * 1024**3
        free = facts.aws.get("free", {}).get("bytes")
        used = measured["database_bytes"] if free is None else total - free
        share = used / total
        level: Level = "failure" if share > STORAGE_FAILURE else "warning" if share > STORAGE_WARNING else "ok"
        remedy = (
            ""
            if level == "ok"
            else f"Plan archiving: `{facts.command} archive`; `{facts.command} xray` says when it is full."
        )
        yield Finding("storage", level, f"{share:.0%} of {allocated:g} GiB used; {database}", remedy)
    if measured["frozen_age"] > FREEZE_WARNING * WRAPAROUND / 2:
        yield Finding("transaction ids", "failure", f"{measured['frozen_age']:,} since the last freeze",
                      "Run VACUUM (FREEZE) as the owner, and end the transactions that hold it back.")  # fmt: skip


def connections(facts: Facts) -> Iterator[Finding]:
    """Of max_connections; and transactions that stay open, on which followers and vacuum wait."""
    found = facts.section("performance")
    if not found:
        yield Finding("connections", "unknown", facts.reason("performance"), f"`{facts.command} xray`")
        return
    used, most = found["connections"], found["max_connections"]
    share = used / most
    level: Level = "failure" if share > CONNECTIONS_FAILURE else "warning" if share > CONNECTIONS_WARNING else "ok"
    yield Finding("connections", level, f"{used} of {most}", "" if level == "ok" else
                  f"Look for leaks: `{facts.command} xray` lists the sessions; then manual 10.2.")  # fmt: skip
    for one in found["long_transactions"][:3]:
        yield Finding("open transaction", "warning",
                      f"{age(one['seconds'])} by {one['login']} ({one['application']}, {one['state']})",
                      f"Followers wait for it. As its login: SELECT pg_terminate_backend({one['pid']}).")  # fmt: skip


def _age(facts: Facts, at: Any) -> float:
    return (facts.now - datetime.fromisoformat(str(at))).total_seconds()
