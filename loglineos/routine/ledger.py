"""The tasks that look at the ledger itself: health, executions, storage, growth, policies, archive, tuning."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from ledger.errors import LedgerError
from loglineos.health import keeping
from loglineos.health.checks import run_checks
from loglineos.health.finding import Finding, size, worst
from loglineos.routine.task import Outcome, Round, checked
from loglineos.xray.report import build

FAILED_SHARE: Final = 0.05
ENOUGH: Final = 20
SLOW_MS: Final = 25_000  # manual 5.3: Lambda Duration > 25 s
OLD: Final = "SELECT count(*) AS spans FROM ledger.universal_registry WHERE at < now() - interval '1 year'"


def health(round_: Round) -> Outcome:
    """All of `loglineos health`: beyond the manual's list, and the first thing that a day needs."""
    found = run_checks(round_.facts)
    wrong = [finding for finding in found if finding.level in ("warning", "failure")]
    state = "failed" if worst(found) == "failure" else "done"
    return Outcome("failed" if state == "failed" else "done", f"{len(found)} checks, {len(wrong)} to look at", wrong)


def executions(round_: Round) -> Outcome:
    """Boots, failures and durations of the last 24 hours, by kernel."""
    found = round_.facts.section("activity")
    if not found:
        return Outcome("person", round_.facts.reason("activity"))
    boots, runs = sum(hour["boots"] for hour in found["hours"]), found["kernels"]
    findings = []
    for one in runs:
        if one["executions"] >= ENOUGH and one["failed"] / one["executions"] > FAILED_SHARE:
            said = f"{one['failed']} of {one['executions']} executions failed"
            remedy = f"`{round_.facts.command} xray`, then the errors in its log."
            findings.append(Finding(one["kernel"], "warning", said, remedy))
        if (one["p95_ms"] or 0) > SLOW_MS:
            findings.append(Finding(one["kernel"], "warning", f"one in twenty takes more than {one['p95_ms']:.0f} ms",
                                    "Manual 8.1, Lambda Timeout: less work a boot, or an index."))  # fmt: skip
    details = [
        f"{one['kernel']}: {one['executions']}, {one['failed']} failed, p50 {one['p50_ms']}, p95 {one['p95_ms']} ms"
        for one in runs
    ]
    return checked(f"{boots} boots, {sum(one['executions'] for one in runs)} executions in 24 h", findings, details)


def storage(round_: Round) -> Outcome:
    """Storage and connections as health sees them."""
    findings = [*keeping.storage(round_.facts), *keeping.connections(round_.facts)]
    return checked("; ".join(finding.said for finding in findings[:1]), findings)


def growth(round_: Round) -> Outcome:
    """Spans and bytes a day, and when it is full."""
    report = build(round_.facts, round_.storage_gb)
    grown = report["growth"]
    if "unknown" in grown:
        return Outcome("person", grown["unknown"])
    findings = [Finding(**one) for one in report["findings"] if one["check"] == "growth"]
    said = f"{grown['spans_a_day']:,} spans and {size(grown['bytes_a_day'])} a day"
    if grown["storage_gb"] is None:
        said += "; give --storage-gb to learn when it is full"
    return checked(said, findings)


def policies(round_: Round) -> Outcome:
    """Active policies, who published them, and those that are new since a month ago."""
    found = round_.facts.section("policies")
    if not found:
        return Outcome("person", round_.facts.reason("policies"))
    since = round_.facts.now - timedelta(days=31)
    active = found["policies"]
    details = [f"{one['name'] or one['id']} seq {one['seq']} of {one['tenant_id']}, by {one['published_by']}"
               f" on {(one['published_at'] or '')[:10]}" for one in active]  # fmt: skip
    new = [
        one for one in active if one["tenant_id"] != "system" and datetime.fromisoformat(one["published_at"]) > since
    ]
    if not new:
        return Outcome("done", f"{len(active)} active, no tenant's is newer than a month", details=details)
    named = ", ".join(f"{one['name'] or one['id']} of {one['tenant_id']}" for one in new[:10])
    return Outcome("person", f"{len(active)} active; read the code of those that are new: {named}", details=details)


def old_spans(round_: Round) -> Outcome:
    """Manual 9.3, "Limpeza de spans antigos (opcional, com cuidado)": nothing is deleted, old spans are archived."""
    pulse = round_.facts.section("pulse")
    try:
        answer = round_.backend.migration({"action": "query", "sql": OLD})
        old = f"{answer['rows'][0]['spans']:,} spans are older than a year"
    except LedgerError as error:
        old = f"how many spans are older than a year is not known ({error.message})"
    last = pulse.get("archive")
    archived = f"archived up to span {last['to']:,}" if last else "nothing is archived"
    findings = list(keeping.archive(round_.facts))
    return checked(f"{old}; {archived}. Nothing is ever deleted: `{round_.facts.command} archive` copies them out",
                   findings)  # fmt: skip


def tuning(round_: Round) -> Outcome:
    """Indexes, slow statements, bloat, cache: what to look at; changing it is a migration."""
    report = build(round_.facts, round_.storage_gb)
    findings = [Finding(**one) for one in report["findings"] if one["check"] in ("bloat", "indexes", "cache")]
    unused = [f"index {one['name']} ({size(one['bytes'])}): no scan since the counters began"
              for one in report["unused_indexes"]]  # fmt: skip
    slow = report.get("performance", {}).get("slow", {"unknown": round_.facts.reason("performance")})
    statements = [
        f"{one['mean_ms']} ms × {one['calls']}: {one['statement'][:120]}" for one in slow.get("rows", [])[:10]
    ]
    if "unknown" in slow:
        findings.append(Finding("slow statements", "warning", "not known", slow["unknown"]))
    said = f"{len(unused)} indexes without a scan, {len(statements)} statements that took most time"
    return checked(said, findings, [*unused, *statements])
