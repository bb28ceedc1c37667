"""The report as one page: no script, nothing from elsewhere, light and dark, its own words apart from everybody's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

from loglineos.health.finding import LEVELS, size
from loglineos.xray import plots
from loglineos.xray.growth import GIB
from loglineos.xray.markup import Markup, join, tag, trusted
from loglineos.xray.report import Report

KINDS: Final = 6
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
STYLE: Final = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
WORDS: Final = {"ok": "ok", "unknown": "not known", "warning": "warning", "failure": "failure"}


def page(report: Report) -> str:
    """The whole document."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("title", f"LogLineOS X-Ray, {report['made_at']}"),
        tag("style", trusted(STYLE)),
    )
    header = tag("header", tag("h1", "LogLineOS X-Ray"), tag("p", f"{report['ledger']}, {report['made_at']}"))
    body = tag("body", header, tag("main", *_sections(report)))
    return "<!doctype html>\n" + tag("html", head, body, lang="en") + "\n"


def _sections(report: Report) -> list[Markup]:
    return [
        _cards(report), _findings(report), _spans(report), _activity(report), _growth(report), _kernels(report),
        _signatures(report), _structure(report), _performance(report), _manual(report),
    ]  # fmt: skip


def _section(title: str, *children: Markup) -> Markup:
    return tag("section", tag("h2", title), *children)


def _unknown(found: dict[str, Any]) -> Markup:
    return tag("p", f"Not known: {found.get('unknown', 'it was not asked for')}.", class_="unknown")


def _cards(report: Report) -> Markup:
    counted, measured, grown = report.get("spans", {}), report.get("size", {}), report["growth"]
    about = "≈ " if counted.get("estimated") else ""
    days = grown.get("days_until_full")
    shown = [
        ("spans", f"{about}{counted['total']:,}" if "total" in counted else "?"),
        ("a day", f"{grown['spans_a_day']:,}" if "spans_a_day" in grown else "?"),
        ("size", size(measured["database_bytes"]) if "database_bytes" in measured else "?"),
        ("days until full", "not known" if days is None else f"{days:,}"),
        ("tenants", f"{counted['tenants']:,}" if "tenants" in counted else "?"),
        ("checked spans", f"{report.get('integrity', {}).get('checked', 0):,}"),
    ]
    return tag("div", *(tag("div", tag("b", value), tag("span", name)) for name, value in shown), class_="cards")


def _findings(report: Report) -> Markup:
    found = sorted(report["findings"], key=lambda one: -LEVELS.index(one["level"]))
    items = [
        tag("li", tag("b", WORDS[one["level"]], class_=f"mark {one['level']}"), " ", tag("b", one["check"]), ": ",
            one["said"], tag("p", one["remedy"]) if one["remedy"] else "")
        for one in found
    ]  # fmt: skip
    return _section("Findings", tag("ul", *items, class_="findings"))


def _spans(report: Report) -> Markup:
    counted = report.get("spans", {})
    if "total" not in counted:
        return _section("Spans", _unknown(counted))
    names = [one["entity_type"] for one in counted["by_type"][:KINDS]]
    days = counted["by_day"]
    series = [(name, [float(day["types"].get(name, 0)) for day in days]) for name in names]
    others = [float(day["spans"] - sum(day["types"].get(name, 0) for name in names)) for day in days]
    types = [[one["entity_type"], one["spans"]] for one in counted["by_type"]]
    owners = [[one["tenant_id"], one["spans"]] for one in counted["by_tenant"]]
    tenants = [(one["tenant_id"] or "(none)", float(one["spans"])) for one in counted["by_tenant"][:12]]
    note = f"Estimated from {counted['sample_percent']} % of the pages. " if counted["estimated"] else ""
    return _section(
        "Spans",
        tag("p", f"{note}Days are UTC, by the caller's clock (at)."),
        plots.stacked("Spans a day by type", [day["day"][5:] for day in days], [*series, ("others", others)]),
        _details("Spans a day", ["day", "spans"], [[day["day"], day["spans"]] for day in days]),
        _details("Spans by type", ["type", "spans"], types),
        plots.across("Spans by tenant", tenants),
        _details("Spans by tenant", ["tenant", "spans"], owners),
    )


def _activity(report: Report) -> Markup:
    found = report.get("activity", {})
    if "hours" not in found:
        return _section("Activity", _unknown(found))
    hours = found["hours"]
    good = [float(hour["boots"] - hour["denied"]) for hour in hours]
    series = [("boots", good), ("denied", [float(hour["denied"]) for hour in hours])]
    failed = [("failed executions", [float(hour["failed"]) for hour in hours])]
    labels = [hour["hour"][11:16] for hour in hours]
    columns = ["kernel", "executions", "failed", "p50_ms", "p95_ms", "max_ms"]
    slowest = [(one["kernel"], float(one["p95_ms"] or 0)) for one in found["kernels"][:12]]
    cut = f"More than {found['newest']:,} spans came in a day: these figures are of the newest." if found["cut"] else ""
    return _section(
        "Activity of the last 24 hours",
        tag("p", cut or "By hour (UTC)."),
        plots.stacked("Boots an hour", labels, series),
        plots.stacked("Failed executions an hour", labels, failed),
        plots.across("95 % of executions end within", slowest, " ms"),
        _table(columns, [[one[name] for name in columns] for one in found["kernels"]]),
    )


def _growth(report: Report) -> Markup:
    grown, counted = report["growth"], report.get("spans", {})
    if "unknown" in grown or "by_day" not in counted:
        return _section("Size and growth", _unknown(grown))
    each, used = grown["bytes_a_span"], grown["used_bytes"]
    past, left = [], used
    for day in reversed(counted["by_day"]):
        past.append((day["day"][5:], left / GIB))
        left = max(0, left - day["spans"] * each)
    past.reverse()
    last = date.fromisoformat(counted["by_day"][-1]["day"]) if counted["by_day"] else date.today()
    ahead = [(f"{last + timedelta(days=n):%m-%d}", (used + n * grown["bytes_a_day"]) / GIB) for n in range(1, 91)]
    storage = grown["storage_gb"]
    near = storage if storage and storage < 3 * max(value for _, value in [*past, *ahead]) else None
    full = ("How much storage there is, is not known." if storage is None else
            "It does not grow." if grown["days_until_full"] is None else
            f"{storage:g} GiB are full in {grown['days_until_full']:,} days.")  # fmt: skip
    tables = [[one["name"], size(one["bytes"]), one["live"], one["dead"], one["vacuumed"], one["frozen_age"]]
              for one in report["size"]["tables"]]  # fmt: skip
    return _section(
        "Size and growth",
        tag("p", f"{grown['spans_a_day']:,} spans and {size(grown['bytes_a_day'])} a day (the median of"
                 f" {grown['days']} complete days, or of the last seven, if that is more). {full}"),
        plots.forecast("Size in GiB: the last days, and the next ninety at this pace", past, ahead, near),
        _table(["table", "size", "live", "dead", "last vacuum", "frozen age"], tables),
        _details("Indexes", ["index", "scans", "size"],
                 [[one["name"], one["scans"], size(one["bytes"])] for one in report["size"]["indexes"]]),
        tag("p", f"Without a scan since the counters began: "
                 f"{', '.join(one['name'] for one in report['unused_indexes']) or 'none'}."),
    )  # fmt: skip


def _kernels(report: Report) -> Markup:
    rows = report.get("rows", {}).get("rows", [])
    proofs = {one["id"]: one["proof"] for one in report["loader"].get("kernels", [])}
    shown = [[one["entity_type"], one["name"], one["seq"], proofs.get(one["id"], ""), one["curr_hash"][:16],
              (one["public_key"] or "unsigned")[:16], one["at"][:10]] for one in rows]  # fmt: skip
    return _section(
        "Kernels and other rows", _table(["type", "name", "seq", "proof", "hash", "signed by", "of"], shown)
    )


def _signatures(report: Report) -> Markup:
    counted, checked = report.get("spans", {}), report.get("integrity", {})
    if "by_key" not in counted:
        return _section("Signatures and integrity", _unknown(counted))
    keys = [[one["public_key"] or "(unsigned)", one["spans"]] for one in counted["by_key"]]
    told = "None was recomputed."
    if "checked" in checked:
        told = f"Hash and signature of the newest {checked['checked']:,} were recomputed: {checked['broken']} broken."
    return _section("Signatures and integrity", tag("p", told), _table(["key", "spans"], keys))


def _structure(report: Report) -> Markup:
    found = report.get("structure", {})
    if "catalog" not in found:
        return _section("Structure and privileges", _unknown(found))
    counts = Counter({kind: len(items) for kind, items in found["catalog"].items()})
    policies = [[name, one["command"], ", ".join(one["roles"]), one["reads"] or one["writes"]]
                for name, one in found["catalog"]["row-level policy"].items()]  # fmt: skip
    grants = [[name, one["privileges"]] for name, one in found["catalog"]["grant"].items()]
    different = [[one["kind"], one["name"], one["what"], str(one["expected"]), str(one["found"])]
                 for one in found["differences"]]  # fmt: skip
    return _section(
        "Structure and privileges",
        tag("p", ", ".join(f"{kind}: {count}" for kind, count in counts.items())),
        tag("p", f"Differences from this release's migrations: {len(different) or 'none'}."),
        *([_table(["kind", "name", "what", "release", "here"], different)] if different else []),
        _details("Row-level policies", ["policy", "command", "roles", "predicate"], policies),
        _details("Grants", ["to", "privileges"], grants),
    )


def _performance(report: Report) -> Markup:
    found = report.get("performance", {})
    if "connections" not in found:
        return _section("Sessions and statements", _unknown(found))
    told = (
        f"{found['connections']} of {found['max_connections']} connections, {found['idle_in_transaction']} idle in a"
        f" transaction, {found['waiting_for_a_lock']} wait for a lock."
    )
    long = ["pid", "login", "application", "state", "seconds", "statement"]
    slow, columns = found["slow"], ["role", "calls", "total_ms", "mean_ms", "max_ms", "rows", "statement"]
    return _section(
        "Sessions and statements",
        tag("p", told),
        _table(long, [[one[name] for name in long] for one in found["long_transactions"]]),
        _unknown(slow)
        if "unknown" in slow
        else _table(columns, [[one[name] for name in columns] for one in slow["rows"]]),
    )


def _manual(report: Report) -> Markup:
    tables = []
    for name, title in (("executions", "Executions of the last 24 hours"), ("memories", "Memories by tenant"),
                        ("apps", "Active apps by tenant")):  # fmt: skip
        rows = report.get(name, {}).get("rows", [])
        tables += [tag("h3", title), _table(list(rows[0]) if rows else [], [list(row.values()) for row in rows])]
    return _section("The manual's reports (5.2)", *tables)


def _details(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Markup:
    return tag("details", tag("summary", f"{title} as a table"), _table(columns, rows))


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Markup:
    if not rows:
        return tag("p", "None.", class_="unknown")
    head = tag("tr", *(tag("th", name.replace("_", " "), scope="col") for name in columns))
    body = [tag("tr", *(_cell(value) for value in row)) for row in rows]
    return tag("div", tag("table", tag("thead", head), tag("tbody", join(body))), class_="scroll", tabindex="0")


def _cell(value: Any) -> Markup:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return tag("td", value)
    return tag("td", f"{value:,}" if isinstance(value, int) else f"{value:,.2f}", class_="number")
