"""The capacity model: its units, that more never needs less, and that the page says what it computes."""

from __future__ import annotations

import copy
import re
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks import prices
from benchmarks.capacity_model import PAGE, SIZES, duration, environment, main, placed, short, spans, tables
from benchmarks.needs import (
    ARCHIVE_S,
    ARCHIVED_A_SECOND,
    BACKUP_S,
    LLM_S,
    LLM_SHARE,
    RESTORE_S,
    WAIT_MS,
    Costs,
    Load,
    Needs,
    bill,
    on_aurora,
)
from benchmarks.prices import CLASSES, GB
from db_migration.event import Archive

PAGES = Path(__file__).parent.parent.parent / "docs"
DOCS = {name: (PAGES / name).read_text(encoding="utf-8") for name in ("deploy.md", "backup.md", "archive.md")}
COSTS = Costs.measured()


def costs(python_ms: float = 2.0, postgres_ms: float = 1.0, bytes_per_span: float = 1000.0, **use: float) -> Costs:
    """Round figures, in the shape of the measured ones: two policies that cost nothing, two spans a use."""
    figures = copy.deepcopy(COSTS.figures)
    figures["bytes_per_span"] = {"heap": 0.6 * bytes_per_span, "toast": 0.0, "an index": 0.4 * bytes_per_span}
    operation = {"python_cpu_ms": python_ms, "postgres_cpu_ms": postgres_ms, "log_bytes": 1000}
    figures["operations"] = dict.fromkeys(figures["operations"], operation)
    figures["agent"] = {"evaluated": [1, 1], "python_cpu_ms_each": 0.0, "postgres_cpu_ms_each": 0.0}
    figures["use"] |= {"spans_per_use": 2.0, "executions_per_use": 1.0, "spans_per_quiet_minute": 0.0} | use
    return Costs(figures)


def test_page_shows_what_the_model_computes() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert placed(page, tables(COSTS)) == page, "run: .venv/bin/python -m benchmarks.capacity_model --write"


def test_measured_figures_are_of_a_ledger_that_was_large_enough() -> None:
    assert COSTS.figures["measured"]["spans"] >= 200_000
    assert min(COSTS.figures["bytes_per_span"].values()) >= 0


def test_size_is_spans_times_bytes() -> None:
    needs = Needs(Load(1_000_000_000), costs())
    assert needs.database_bytes == pytest.approx(1000 * GB)
    assert needs.storage_gb == 1250  # 80 % of it are used
    assert needs.hot_bytes == pytest.approx(1000 * GB * 7 / 365)


def test_no_more_is_hot_than_there_is() -> None:
    assert Needs(Load(1000, days=1), costs()).hot_bytes == 1000 * 1000


def test_uses_are_what_the_schedules_leave() -> None:
    assert Needs(Load(2 * 86_400 * 365), costs()).uses_a_second == pytest.approx(1.0)
    busy = Needs(Load(2 * 86_400 * 365), costs(spans_per_quiet_minute=60.0))
    assert busy.uses_a_second == pytest.approx(0.5)
    assert Needs(Load(1), costs(spans_per_quiet_minute=60.0)).uses_a_second == 0


def test_cpu_of_python_takes_longer_on_a_share_of_a_vcpu() -> None:
    assert costs().lambda_ms == pytest.approx(2.0 * 1769 / 512 + 1.0 + WAIT_MS)
    assert costs().seconds_per_use == pytest.approx(costs().lambda_ms / 1000 + LLM_SHARE * LLM_S)


def test_a_vcpu_is_a_second_of_cpu_each_second() -> None:
    assert Needs(Load(2 * 86_400 * 365), costs(postgres_ms=500.0)).vcpus == pytest.approx(0.5)


def test_more_spans_never_need_less() -> None:
    all_needs = [Needs(Load(10**power), COSTS) for power in range(3, 11)]
    for less, more in pairwise(all_needs):
        for figure in ("database_bytes", "storage_gb", "hot_bytes", "uses_a_second", "vcpus", "iops", "concurrency"):
            assert getattr(more, figure) >= getattr(less, figure), figure
        assert _rank(more) >= _rank(less)


def _rank(needs: Needs) -> int:
    return len(CLASSES) if needs.instance is None else CLASSES.index(needs.instance)


def test_more_spans_never_cost_less() -> None:
    prod = environment("prod")
    totals = [
        sum(bill(prod, needs.instance or CLASSES[-1], needs.storage_gb, needs).values())
        for needs in (Needs(Load(10**power), COSTS) for power in range(3, 11))
    ]
    assert totals == sorted(totals)


@pytest.mark.parametrize("size", SIZES)
def test_instance_is_the_smallest_that_is_enough(size: int) -> None:
    needs = Needs(Load(size), COSTS)
    assert needs.instance is not None
    assert not needs.too_small(needs.instance)
    assert all(needs.too_small(each) for each in CLASSES[: CLASSES.index(needs.instance)])


def test_each_limit_is_met() -> None:
    micro = CLASSES[0]
    assert Needs(Load(1000), costs()).too_small(micro) == ""
    assert Needs(Load(10**9), costs(postgres_ms=1000.0)).too_small(micro) == "cpu"
    assert Needs(Load(10**9), costs(postgres_ms=0.0)).too_small(micro) == "memory"
    assert Needs(Load(10**9), costs(postgres_ms=0.0, bytes_per_span=1e-6, python_ms=500.0)).too_small(micro) == (
        "connections"
    )
    assert Needs(Load(10**12), costs()).instance is None


def test_the_peak_alone_can_need_more() -> None:
    calm, burst = (Needs(Load(10**9, peak=peak), costs(postgres_ms=5.0, bytes_per_span=1.0)) for peak in (1, 100))
    assert calm.instance is not None
    assert calm.instance != burst.instance


def test_aurora_is_a_writer_a_reader_and_one_storage() -> None:
    needs = Needs(Load(10**9), costs())
    assert needs.instance is not None
    assert on_aurora(needs) == pytest.approx(2 * 1.5 * needs.instance.monthly + 1000 * 0.225)
    assert on_aurora(Needs(Load(1000), costs())) is None


@pytest.mark.parametrize("given", [(0, 365, 5.0), (1, 0, 5.0), (1, 365, 0.5)])
def test_senseless_loads_are_refused(given: tuple[int, int, float]) -> None:
    with pytest.raises(ValueError, match="at least one span"):
        Load(*given)


@pytest.mark.parametrize(("name", "column"), [("dev", 1), ("staging", 2), ("prod", 3)])
def test_quiet_bill_is_that_of_the_deployment_page(name: str, column: int) -> None:
    about = re.search(r"^\| \*\*about\*\* \|.*$", DOCS["deploy.md"], re.MULTILINE)
    assert about is not None
    told = float(about[0].split("|")[1 + column].strip(" *"))
    deployed = environment(name)
    instance = next(each for each in CLASSES if each.name == deployed.instance_class)
    assert sum(bill(deployed, instance, deployed.storage_gb, None).values()) == pytest.approx(told, rel=0.03)


def test_classes_are_in_order_and_of_known_prices() -> None:
    assert [each.hourly for each in CLASSES] == sorted(each.hourly for each in CLASSES)
    assert [each.memory_gb for each in CLASSES] == sorted(each.memory_gb for each in CLASSES)
    assert CLASSES[0].monthly == pytest.approx(0.016 * prices.HOURS)


def test_numbers_are_said_as_people_say_them() -> None:
    assert [short(value) for value in (0.034, 1.26, 44.4, 1234, 12_345, 1_250_000)] == [
        "0.034", "1.3", "44", "1200", "12 k", "1.2 M",
    ]  # fmt: skip
    assert [spans(value) for value in (4e8, 3e10, 2e12)] == ["400 M", "30 B", "2.0 trillion"]
    assert [duration(value) for value in (45, 600, 7200, 86_400 * 9, 86_400 * 365 * 6)] == [
        "45 s", "10 min", "2.0 h", "9.0 days", "6.0 years",
    ]  # fmt: skip


@pytest.mark.parametrize(("step", "seconds"), [("backup", BACKUP_S), ("restore", RESTORE_S)])
def test_backup_and_restore_take_what_their_page_has_measured(step: str, seconds: float) -> None:
    """There for 200,000 spans; program and PostgreSQL work beside each other."""
    (row,) = re.findall(rf"^\| `{step}`(?: \(.*?\))? \| (\d+) s \| (\d+) s", DOCS["backup.md"], re.MULTILINE)
    assert max(map(int, row)) * 5 == seconds


def test_a_run_of_the_archive_is_that_of_its_page_and_its_function() -> None:
    assert Archive.model_fields["seconds"].default == ARCHIVE_S
    (million,) = re.findall(r"(\d+) million in a run", DOCS["archive.md"])
    assert int(million) == int(ARCHIVE_S * ARCHIVED_A_SECOND / 1e6)


def test_command_refuses_more_than_a_ledger_can_hold(capsys: pytest.CaptureFixture[str]) -> None:
    most = COSTS.most_spans
    assert most * COSTS.heap_bytes <= prices.TABLE_MAX_BYTES
    assert most * COSTS.bytes_per_span <= prices.RDS_MAX_BYTES
    with pytest.raises(SystemExit) as ended:
        main(["--spans", "200000000000"])
    assert ended.value.code == 2
    assert "200 B spans are more than one ledger can hold on RDS, which are 30 B" in " ".join(
        capsys.readouterr().err.split()
    )


def test_no_class_no_bill(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--spans", str(COSTS.most_spans)])
    said = capsys.readouterr().out
    assert "| larger than db.r7g.8xlarge |" in said
    assert "| **all, $ a month** | – |" in said


def test_page_without_a_place_is_refused() -> None:
    with pytest.raises(ValueError, match="capacity: span"):
        placed("no place", {"span": "a table"})


def test_command_says_what_one_load_needs(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--spans", "50000000", "--days", "30", "--peak", "10"])
    assert "50 M in 30 days" in capsys.readouterr().out


def test_command_refuses_a_senseless_load(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--spans", "0"])
    assert ended.value.code == 2
    assert "at least one span" in capsys.readouterr().err
