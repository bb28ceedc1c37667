"""The tables of `docs/capacity.md`: `.venv/bin/python -m benchmarks.capacity_model [--spans N --days N] [--write]`.

Prints all of them, or what a load of one's own needs; `--write` puts them into the page.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import prices
from benchmarks.needs import (
    ARCHIVE_S,
    ARCHIVED_A_SECOND,
    BACKUP_S,
    DAY_S,
    MEMORY_FOR_PAGES,
    RESTORE_S,
    STORAGE_USED,
    Costs,
    Load,
    Needs,
    bill,
    on_aurora,
)
from benchmarks.prices import CLASSES, GB
from stacks.environment import Environment, load_environment
from stacks.rules import OTHER_CONNECTIONS

PAGE: Final = Path(__file__).parent.parent / "docs" / "capacity.md"
SIZES: Final = (10_000_000, 100_000_000, 1_000_000_000)
LOG_BYTES: Final = 32 * 256 / 255 + 34  # of a span: its leaf and its part of the tiles above, and its entry
YEAR_S: Final = 365 * DAY_S
ZONES: Final = {"us-east-1": ("us-east-1a", "us-east-1b")}


def environment(name: str) -> Environment:
    """As it is deployed without settings of one's own."""
    return load_environment(name, {}, ZONES)


def short(value: float) -> str:
    """Two digits that count, and the unit of thousands: 1234567 is 1.2 M."""
    for size, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e4, " k")):
        if value >= size:
            return f"{_two(value / (1e3 if unit == ' k' else size))}{unit}"
    return _two(value)


def _two(value: float) -> str:
    if value >= 100:
        digits = len(str(int(value))) - 2
        return str(int(round(value / 10**digits) * 10**digits))
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def spans(value: float) -> str:
    """So many spans: billions are said as people say them."""
    return short(value).replace(" G", " B").replace(" T", " trillion")


def duration(seconds: float) -> str:
    """45 s, 12 min, 3.5 h, 9 days."""
    for size, unit in ((3 * 365 * DAY_S, "years"), (3 * DAY_S, "days"), (5400, "h"), (90, "min")):
        if seconds >= size:
            by = {"years": YEAR_S, "days": DAY_S, "h": 3600, "min": 60}[unit]
            return f"{_two(seconds / by)} {unit}"
    return f"{_two(seconds)} s"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def one_span(costs: Costs) -> str:
    """What a span takes."""
    found = dict(costs.figures["bytes_per_span"])
    heap, toast = found.pop("heap"), found.pop("toast")
    shown = {name: size for name, size in found.items() if size >= 10}
    rows = [["the row", _two(heap)], ["what was too long for it (TOAST)", _two(toast)]]
    rows += [[f"`{name}`", _two(size)] for name, size in shown.items()]
    rows += [["the other indexes", _two(sum(found.values()) - sum(shown.values()))]]
    rows += [["**in the database**", f"**{_two(costs.bytes_per_span)}**"]]
    rows += [["write-ahead log, soon after a checkpoint", _two(costs.wal_bytes())]]
    rows += [["write-ahead log, later", _two(costs.wal_bytes("later"))]]
    rows += [["a binary `COPY`", _two(costs.figures["bytes_copied"])]]
    rows += [["compressed by column, as in Parquet", _two(costs.archived_bytes)]]
    return table(["bytes of a span", "mean"], rows)


def growth(costs: Costs) -> str:
    """What reading costs as the ledger grows: milliseconds of PostgreSQL's CPU."""
    names = {
        "floor": "50 rows by key",
        "busiest": "a page, busiest tenant",
        "nobody": "a page, no spans",
        "search for any word": "search: any word",
        "search for the commonest word": "search: the commonest",
        "search for two letters": "search: two letters",
    }

    rows = [
        [spans(step["spans"]), *(_two(step[name]["postgres_cpu_ms"]) for name in names)]
        for step in costs.figures["pages"]
    ]
    return table(["spans", *names.values()], rows)


def needed(costs: Costs, loads: Sequence[Load]) -> str:
    """What each load needs, and what it costs in prod's shape."""
    prod = environment("prod")
    all_needs = [Needs(load, costs) for load in loads]
    names = bill(prod, CLASSES[0], 0, all_needs[0])
    bills = [bill(prod, each.instance, each.storage_gb, each) if each.instance else None for each in all_needs]

    def row(name: str, of: Callable[[Needs], str]) -> list[str]:
        return [name, *(of(each) for each in all_needs)]

    rows = [
        row("uses a second, mean / peak", lambda n: f"{_two(n.uses_a_second)} / {_two(n.peak_uses_a_second)}"),
        row("database, with its indexes", lambda n: f"{short(n.database_bytes / GB)} GB"),
        row("storage to allocate, gp3", lambda n: f"{n.storage_gb} GB"),
        row("a week of spans, to be found in memory", lambda n: f"{short(n.hot_bytes / GB)} GB"),
        row("PostgreSQL's CPU, mean", lambda n: f"{_two(n.vcpus)} vCPU"),
        row("I/O a second, peak", lambda n: short(n.iops)),
        row("**instance class**", lambda n: n.instance.name if n.instance else f"larger than {CLASSES[-1].name}"),
        row("loader concurrency", lambda n: str(n.concurrency)),
        row("connections", lambda n: str(n.connections)),
    ]
    rows += [[f"{name}, $ a month", *(_two(each[name]) if each else "–" for each in bills)] for name in names]
    rows += [["**all, $ a month**", *(f"**{_two(sum(each.values()))}**" if each else "–" for each in bills)]]
    aurora = [on_aurora(each) for each in all_needs]
    rows += [["Aurora instead of instances and storage", *("–" if each is None else _two(each) for each in aurora)]]
    return table(["", *(f"{spans(load.spans)} in {load.days} days" for load in loads)], rows)


def handled(costs: Costs, loads: Sequence[Load]) -> str:
    """How long it takes to do something with all spans, and what is kept outside the database."""
    all_needs = [Needs(load, costs) for load in loads]

    def row(name: str, cpu: float, each: float, cores: int = 1) -> list[str]:
        return [name, *(duration(needs.pass_s(cpu, each, cores)) for needs in all_needs)]

    def kept(name: str, each: float) -> list[str]:
        return [name, *(f"{short(load.spans * each / GB)} GB" for load in loads)]

    out, verify = costs.bulk("copy_out"), costs.bulk("read_and_verify")
    rows = [
        row("`backup`: copy, hash, compress", BACKUP_S, costs.table_bytes),
        row("`restore`: load, prove, build all indexes", RESTORE_S, 2 * costs.bytes_per_span),
        row("a binary `COPY` of all spans, alone", out, costs.table_bytes),
        row("copy them in and build all indexes, alone", costs.bulk("copy_in", "index"), 2 * costs.bytes_per_span),
        row("check every hash and signature (fsck), 2 cores", verify, costs.table_bytes, 2),
        row("the same, 16 cores", verify, costs.table_bytes, 16),
        row("freeze all (`VACUUM FREEZE`)", costs.bulk("vacuum_freeze"), 2 * costs.table_bytes),
        kept("a backup, not compressed", costs.figures["bytes_copied"]),
        kept("the archive, as Parquet", costs.archived_bytes),
        kept("the Merkle log, tiles and entries", LOG_BYTES),
        ["Athena reads the archive once, $", *(_two(_scan(load.spans * costs.archived_bytes)) for load in loads)],
    ]
    return table(["", *(spans(load.spans) for load in loads)], rows)


def _scan(archived: float) -> float:
    return archived / 1e12 * prices.ATHENA_TB


def limits(costs: Costs) -> str:
    """Where each limit is met, by size or by rate; a rate is told in spans a year too, as if the peak were the mean."""
    prod = environment("prod")
    medium = next(each for each in CLASSES if each.name == prod.instance_class)
    use = costs.figures["use"]
    executions = float(use["executions_per_use"])
    requests = use["weights"]["request"] / sum(use["weights"].values())
    places = prices.ACCOUNT_CONCURRENCY - 100  # that AWS keeps unreserved

    def rate(uses_a_second: float) -> str:
        spans_a_year = uses_a_second * costs.spans_per_use * YEAR_S
        return f"{_two(uses_a_second)} uses a second, {spans(spans_a_year)} spans a year"

    def size(limit_bytes: float, bytes_per_span: float = costs.bytes_per_span) -> str:
        return f"{spans(limit_bytes / bytes_per_span)} spans"

    found = {
        f"baseline of CPU of {medium.name}": rate(medium.vcpus * medium.baseline * 1000 / costs.postgres_ms),
        "one request worker": rate(costs.requests_a_minute / 60 / requests),
        "the policy agent": rate(costs.agent_spans_a_minute / 60 / executions),
        f"prod's {prod.loader_concurrency} places of the loader": rate(prod.loader_concurrency / costs.seconds_per_use),
        f"prod's {prod.max_connections} connections": rate(
            (prod.max_connections - OTHER_CONNECTIONS) / costs.seconds_per_use
        ),
        f"{places} places of Lambda, an account's": rate(places / costs.seconds_per_use),
        f"{prices.GP3_IOPS} IOPS of gp3": rate(prices.GP3_IOPS / costs.iops_per_use),
        f"what one run of {ARCHIVE_S / 60:.0f} minutes archives": f"{spans(ARCHIVE_S * ARCHIVED_A_SECOND)} spans",
        f"prod's {prod.storage_limit_gb} GB, 80 % full": size(prod.storage_limit_gb * GB * STORAGE_USED),
        "32 TiB of one PostgreSQL table": size(prices.TABLE_MAX_BYTES, costs.heap_bytes),
        "64 TiB of RDS, 80 % full": size(prices.RDS_MAX_BYTES * STORAGE_USED),
        "128 TiB of Aurora, 80 % full": size(prices.AURORA_MAX_BYTES * STORAGE_USED),
    }
    return table(["limit", "met at"], found.items())


def deployed(costs: Costs) -> str:
    """What dev, staging and prod hold as they are."""
    names = ("dev", "staging", "prod")
    all_environments = [environment(name) for name in names]
    classes = {each.name: each for each in CLASSES}

    def row(name: str, of: Callable[[Environment], str]) -> list[str]:
        return [name, *(of(each) for each in all_environments)]

    def held(gigabytes: int) -> float:
        return gigabytes * GB * STORAGE_USED / costs.bytes_per_span

    def quiet(gigabytes: int) -> str:
        return duration(held(gigabytes) / costs.quiet_spans_a_day * DAY_S)

    def in_memory(each: Environment) -> float:
        return classes[each.instance_class].memory_gb * GB * MEMORY_FOR_PAGES / costs.bytes_per_span

    def cpu(each: Environment) -> float:
        found = classes[each.instance_class]
        return found.vcpus * found.baseline * 1000 / costs.postgres_ms

    rows = [
        row("instance class", lambda e: f"{e.instance_class}"),
        row("storage alarm rings at", lambda e: f"{spans(held(e.storage_gb))} spans"),
        row("that is, if nobody does anything", lambda e: quiet(e.storage_gb)),
        row("storage grows until", lambda e: f"{spans(held(e.storage_limit_gb))} spans"),
        row("memory holds", lambda e: f"{spans(in_memory(e))} spans"),
        row("baseline of CPU, uses a second", lambda e: _two(cpu(e))),
        row("in a day", lambda e: short(cpu(e) * DAY_S)),
        row("places of the loader, uses a second", lambda e: _two(e.loader_concurrency / costs.seconds_per_use)),
        row("HTTP API, calls a second", lambda e: str(e.api_rate)),
        row("quiet, $ a month", lambda e: _two(sum(bill(e, classes[e.instance_class], e.storage_gb, None).values()))),
    ]  # fmt: skip
    return table(["", *names], rows)


def tables(costs: Costs) -> dict[str, str]:
    """All of the page, by the names of their places there."""
    loads = [Load(size) for size in SIZES]
    return {
        "span": one_span(costs),
        "growth": growth(costs),
        "needed": needed(costs, loads),
        "handled": handled(costs, loads),
        "limits": limits(costs),
        "deployed": deployed(costs),
    }


def placed(text: str, found: dict[str, str]) -> str:
    """The page with each table in its place: `<!-- capacity: NAME -->`, the table, `<!-- end -->`."""
    for name, rows in found.items():
        begin, end = f"<!-- capacity: {name} -->\n", "<!-- end -->"
        before, begun, rest = text.partition(begin)
        _, ended, after = rest.partition(end)
        if not begun or not ended:
            raise ValueError(f"docs/capacity.md must have a place <!-- capacity: {name} --> … <!-- end -->")
        text = f"{before}{begin}{rows}\n{end}{after}"
    return text


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables, or what one load needs, or write them into the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity_model", description=__doc__)
    parser.add_argument("--spans", type=int, help="what so many spans need, instead of all tables")
    parser.add_argument("--days", type=int, default=365, help="in which they come")
    parser.add_argument("--peak", type=float, default=5.0, help="the busiest minute, as a multiple of the mean")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/capacity.md")
    given: Any = parser.parse_args(arguments)
    costs = Costs.measured()
    if given.spans is not None:
        try:
            load = Load(given.spans, given.days, given.peak)
        except ValueError as error:
            parser.error(str(error))
        if given.spans > costs.most_spans:
            parser.error(
                f"{spans(given.spans)} spans are more than one ledger can hold on RDS, which are"
                f' {spans(costs.most_spans)}: see "Where each limit is met" in docs/capacity.md'
            )
        print(needed(costs, [load]))
    elif given.write:
        PAGE.write_text(placed(PAGE.read_text(encoding="utf-8"), tables(costs)), encoding="utf-8")
    else:
        print("\n\n".join(f"{name}:\n\n{rows}" for name, rows in tables(costs).items()))


if __name__ == "__main__":
    main()
