"""The report in a terminal: short, the rest is in --json and --html."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loglineos.health.command import show_findings
from loglineos.health.finding import Finding, size
from loglineos.output import Output
from loglineos.xray.report import Report

SHOWN = 10


def show(output: Output, report: Report) -> None:
    """Findings that are not well come last, where a terminal ends."""
    _pulse(output, report)
    _spans(output, report)
    _activity(output, report)
    _size(output, report)
    _performance(output, report)
    _manual(output, report)
    findings = [Finding(**one) for one in report["findings"]]
    output.line()
    show_findings(output, [one for one in findings if one.level != "ok"])
    well = sum(one.level == "ok" for one in findings)
    output.line(f"{well} of {len(findings)} findings are well.")


def _title(output: Output, text: str) -> None:
    output.line()
    output.line(text, "bold")


def _known(output: Output, report: Report, name: str) -> dict[str, Any]:
    """A section; one that is unknown says why."""
    found: dict[str, Any] = report.get(name, {})
    if "unknown" in found:
        output.line(f"{name}: not known, {found['unknown']}", "yellow")
        return {}
    return found


def _pulse(output: Output, report: Report) -> None:
    if pulse := _known(output, report, "pulse"):
        server = pulse["server"]
        where = "the replica" if server["replica"] else "the primary"
        output.line(f"{report['ledger']}: PostgreSQL {server['version']}, read on {where}")
    kernels = report["loader"].get("kernels", [])
    by_id = {row["id"]: row for row in report.get("rows", {}).get("rows", [])}
    if kernels:
        _title(output, "Kernels")
        output.table(
            ["kernel", "seq", "proof", "hash", "signed by"],
            [
                (kernel["name"], kernel["seq"], kernel["proof"],
                 by_id.get(kernel["id"], {}).get("curr_hash", "")[:16],
                 (by_id.get(kernel["id"], {}).get("public_key") or "")[:16])
                for kernel in kernels
            ],
        )  # fmt: skip


def _spans(output: Output, report: Report) -> None:
    counted = _known(output, report, "spans")
    if not counted:
        return
    about = f", estimated from {counted['sample_percent']} % of the pages" if counted["estimated"] else ""
    _title(output, f"Spans: {counted['total']:,}{about}")
    output.table(["type", "spans"], _top(counted["by_type"], "entity_type"))
    _title(output, f"Tenants: {counted['tenants']:,}")
    output.table(["tenant", "spans"], _top(counted["by_tenant"], "tenant_id"))
    _title(output, f"Signed: {counted['signed']:,}, unsigned: {counted['unsigned']:,}")
    keys = [one for one in counted["by_key"] if one["public_key"]]
    if keys:
        output.table(["key", "spans"], _top(keys, "public_key"))


def _activity(output: Output, report: Report) -> None:
    found = _known(output, report, "activity")
    if not found:
        return
    hours = found["hours"]
    boots, failed = sum(hour["boots"] for hour in hours), sum(hour["failed"] for hour in hours)
    _title(output, f"Last 24 h: {boots:,} boots, {failed:,} failed executions")
    if found["cut"]:
        output.line(f"More than {found['newest']:,} spans came in that time; these figures are of the newest.")
    columns = ("kernel", "executions", "failed", "p50_ms", "p95_ms", "max_ms")
    output.table([name.replace("_", " ") for name in columns], _rows(found["kernels"], columns))


def _size(output: Output, report: Report) -> None:
    if measured := _known(output, report, "size"):
        _title(output, f"Size: {size(measured['database_bytes'])}; cache hit {measured['cache_hit_percent']} %")
        output.table(
            ["table", "size", "live", "dead", "last vacuum", "frozen age"],
            [
                (table["name"], size(table["bytes"]), table["live"], table["dead"],
                 (table["vacuumed"] or "never")[:19], table["frozen_age"])
                for table in measured["tables"][:5]
            ],
        )  # fmt: skip
    grown = report["growth"]
    if "unknown" not in grown:
        output.line(f"Growth: {grown['spans_a_day']:,} spans, {size(grown['bytes_a_day'])} a day. {_full(grown)}")
    if report["unused_indexes"]:
        names = ", ".join(f"{one['name']} ({size(one['bytes'])})" for one in report["unused_indexes"])
        output.line(f"Indexes without a scan since the counters began: {names}")


def _full(grown: dict[str, Any]) -> str:
    if grown["storage_gb"] is None:
        return "Give --storage-gb to learn when it is full."
    if grown["days_until_full"] is None:
        return "It does not grow."
    return f"{grown['storage_gb']:g} GiB are full in {grown['days_until_full']:,} days."


def _performance(output: Output, report: Report) -> None:
    found = _known(output, report, "performance")
    if not found:
        return
    _title(output, f"Sessions: {found['connections']} of {found['max_connections']}")
    if found["long_transactions"]:
        columns = ("pid", "login", "application", "state", "seconds", "statement")
        output.table(list(columns), _rows(found["long_transactions"], columns))
    slow = found["slow"]
    if "unknown" in slow:
        output.line(f"Slow statements: {slow['unknown']}")
        return
    _title(output, "Statements that took most time")
    kept = ("role", "calls", "total_ms", "mean_ms", "statement")
    output.table([name.replace("_", " ") for name in kept], [
        [str(cell)[:100] for cell in row] for row in _rows(slow["rows"][:SHOWN], kept)])  # fmt: skip


def _manual(output: Output, report: Report) -> None:
    """The reports of manual 5.2."""
    for name, title in (("executions", "Executions of the last 24 h"), ("memories", "Memories by tenant"),
                        ("apps", "Active apps by tenant")):  # fmt: skip
        rows = _known(output, report, name).get("rows", [])
        if rows:
            _title(output, title)
            output.table(list(rows[0]), _rows(rows[:SHOWN], list(rows[0])))


def _top(rows: Sequence[dict[str, Any]], name: str) -> list[tuple[Any, ...]]:
    shown = [(row[name] or "(none)", row["spans"]) for row in rows[:SHOWN]]
    rest = sum(row["spans"] for row in rows[SHOWN:])
    return [*shown, *([("others", rest)] if rest else [])]


def _rows(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> list[list[Any]]:
    return [[row[name] for name in columns] for row in rows]
