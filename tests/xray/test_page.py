"""The page stands alone, is well formed, and takes nothing that a span says for markup."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from db_migration.xray.action import SECTIONS
from ledger.database import Identity
from loglineos.health.facts import gather
from loglineos.xray import plots
from loglineos.xray.growth import GIB, growth
from loglineos.xray.markup import join, tag
from loglineos.xray.page import page
from loglineos.xray.report import build
from tests.health.kit import Ward, boot
from tests.health.test_command import run
from tests.ledger.kit import put, sealed

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    "</title></style><b>",
    "&lt;script&gt;",
    "a\u202eb\x1b[2J",
)
VOID = {"meta"}
SCRIPTABLE = {
    "script",
    "img",
    "iframe",
    "object",
    "embed",
    "link",
    "a",
    "form",
    "base",
    "image",
    "use",
    "foreignobject",
}


class Reading(HTMLParser):
    """Every element of a page, with its attributes, and whether each was closed in its place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def report(ward: Ward) -> dict[str, Any]:
    """Of a ledger in which somebody has tried to write into the operator's page."""
    boot(ward, "00000000-0000-4000-8000-000000000002")
    now = datetime.now(UTC)
    for text in HOSTILE:
        me = Identity(text, text)
        put(ward.ledger, sealed(me, entity_type=text, who=text, this=text, status=text, at=now))
        put(ward.ledger, sealed(me, entity_type="execution", status=text, at=now, duration_ms=1,
                                metadata={"boot_function_id": text}))  # fmt: skip
        put(ward.ledger, sealed(me, entity_type="error_report", description=text, at=now))
        put(ward.ledger, sealed(me, entity_type="memory", at=now, metadata={"content": text}))
    return build(gather(ward.backend(), SECTIONS, 100), storage_gb=1)


def test_no_span_can_write_markup_into_the_page(report: dict[str, Any]) -> None:
    text = page(report)
    read = Reading(text)
    assert SCRIPTABLE.isdisjoint(name for name, _ in read.elements)
    attributes = [(name, value) for _, given in read.elements for name, value in given.items()]
    assert not [
        name for name, _ in attributes if name.startswith("on") or name in ("src", "href", "style", "xlink:href")
    ]
    assert not any(c in text for c in ("\x1b", "\u202e"))
    shown = "\n".join(read.words)
    for hostile in HOSTILE[:5]:  # it is there, as the words that it is
        assert hostile in shown, hostile


def test_the_page_needs_nothing_from_elsewhere(report: dict[str, Any]) -> None:
    text = page(report)
    assert re.findall(r"https?://|url\(|@import", text) == []
    policies = [given["content"] for name, given in Reading(text).elements if given.get("http-equiv")]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]
    assert "prefers-color-scheme: dark" in text


def test_each_plot_says_what_it_shows_to_those_who_do_not_see_it(report: dict[str, Any]) -> None:
    drawings = [given for name, given in Reading(page(report)).elements if name == "svg"]
    assert {given["aria-label"] for given in drawings} == {
        "Spans a day by type", "Spans by tenant", "Boots an hour", "Failed executions an hour",
        "95 % of executions end within", "Size in GiB: the last days, and the next ninety at this pace",
    }  # fmt: skip
    assert {given["role"] for given in drawings} == {"img"}


def test_a_page_of_what_is_not_known_says_so() -> None:
    empty: dict[str, Any] = {
        "made_at": "2026-11-27", "ledger": "x", "loader": {}, "findings": [], "unused_indexes": [],
        "growth": {"unknown": "it was not told"}, "size": {"unknown": "stopped"},
    }  # fmt: skip
    assert page(empty).count("Not known: ") >= 5


def test_the_command_writes_the_page_and_answers_all_as_json(
    ward: Ward, report: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "x.html"
    done = run(ward, "xray", "--html", str(file), "--json", "--verify", "10", "--storage-gb", "20")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["integrity"]["checked"], answer["growth"]["storage_gb"]) == (10, 20)
    Reading(file.read_text())
    shown = run(ward, "xray")
    assert (shown.returncode, "memory_store_kernel\t3\tsigned" in shown.stdout) == (0, True), shown.stderr
    refused = run(ward, "xray", "--html", str(tmp_path / "nowhere" / "x.html"))
    assert (refused.returncode, "cannot write" in refused.stderr) == (2, True)


def test_markup_is_only_what_was_made_as_markup() -> None:
    assert tag("p", tag("b", "<&>"), "\"'", title='a"b', class_="x") == (
        '<p title="a&quot;b" class="x"><b>&lt;&amp;&gt;</b>&quot;&#x27;</p>'
    )
    assert join(["<", tag("meta", name="x")]) == '&lt;<meta name="x">'


def test_bars_stand_on_each_other_and_reach_their_values() -> None:
    drawn = str(plots.stacked("t", ["a", "b"], [("x", [1, 2]), ("y", [1, 2])]))
    bars = [(float(y), float(h)) for y, h in re.findall(r'<rect [^>]*height="([\d.]+)" y="([\d.]+)"', drawn)]
    heights = [pair[0] for pair in bars]
    tops = [pair[1] for pair in bars]
    whole = plots.HEIGHT - plots.TOP - plots.BOTTOM
    assert heights == pytest.approx([whole / 4, whole / 4, whole / 2, whole / 2], abs=0.1)
    assert tops[2] == pytest.approx(plots.HEIGHT - plots.BOTTOM - whole / 2, abs=0.1)
    assert tops[3] == pytest.approx(plots.TOP, abs=0.1)


NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def days(*counts: int) -> list[dict[str, Any]]:
    """Of the days before today, the last one yesterday; then today, which does not count."""
    past = [
        {"day": f"{NOW - timedelta(days=len(counts) - n):%Y-%m-%d}", "spans": spans} for n, spans in enumerate(counts)
    ]
    return [*past, {"day": f"{NOW:%Y-%m-%d}", "spans": 10**9}]


@pytest.mark.parametrize(
    ("counts", "daily"),
    [
        ((100,) * 30, 100),
        ((100,) * 29 + (10**6,), 100),
        ((10,) * 20 + (100,) * 10, 100),
        ((100, 100, 0, 100), 100),
        ((), 0),
    ],
)
def test_growth_is_a_days_median_that_one_import_does_not_move(counts: tuple[int, ...], daily: int) -> None:
    measured = {"table_bytes": 8000, "index_bytes": 2000, "database_bytes": GIB}
    grown = growth(days(*counts), 10, measured, NOW, 2)
    assert (grown["spans_a_day"], grown["bytes_a_span"], grown["bytes_a_day"]) == (daily, 1000, daily * 1000)
    assert grown["days_until_full"] == (GIB // (daily * 1000) if daily else None)
    assert growth(days(*counts), 10, measured, NOW, None)["days_until_full"] is None


@pytest.mark.parametrize(
    ("given", "allocated", "limit", "told"),
    [(None, 100, 1000, 1000), (None, 100, None, 100), (50, 100, 1000, 50), (None, None, None, None)],
)
def test_full_is_what_the_limit_does_not_hold(
    ward: Ward, given: float | None, allocated: int | None, limit: int | None, told: float | None
) -> None:
    instance = {"AllocatedStorage": allocated, "MaxAllocatedStorage": limit}
    found = replace(gather(ward.backend(), ["spans", "size"], 0), aws={"instance": instance})
    assert build(found, given)["growth"]["storage_gb"] == told


def test_quiet_days_count() -> None:
    sparse = [day for day in days(70, 0, 0, 0, 0, 0, 0, 0, 70) if day["spans"]]
    assert growth(sparse, 1, {"table_bytes": 1, "index_bytes": 1, "database_bytes": 1}, NOW, 1)["spans_a_day"] == 0
