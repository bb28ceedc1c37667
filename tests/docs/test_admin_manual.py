"""The administrator's manual: the same in both languages, and its tables are what is released and deployed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from stacks.environment import load_environment
from stacks.monitoring import QUERIES
from tests.docs.pages import DOCS, ROOT, Page, broken_links

ENGLISH, PORTUGUESE = Page(DOCS / "admin-manual.md"), Page(DOCS / "admin-manual.pt.md")
BOTH = pytest.mark.parametrize("page", [ENGLISH, PORTUGUESE], ids=["en", "pt"])
INDEX = Page(DOCS / "README.md")
SNAPSHOTS = ROOT / "tests" / "stacks" / "__snapshots__" / "test_snapshots"
# The original's numbered sections, which have to stay, each with the number of headings below it that have no number.
SECTIONS = {
    "1": 2, "2": 5, "3": 4, "4": 0, "4.1": 3, "4.2": 3, "4.3": 2, "5": 0, "5.1": 0, "5.2": 3, "5.3": 0,
    "6": 0, "6.1": 0, "6.2": 0, "6.3": 0, "6.4": 0, "7": 0, "7.1": 0, "7.2": 0, "7.3": 0, "7.4": 0,
    "8": 0, "8.1": 5, "8.2": 0, "8.3": 0, "9": 0, "9.1": 0, "9.2": 0, "9.3": 0, "9.4": 0,
    "10": 0, "10.1": 0, "10.2": 3, "10.3": 0,
}  # fmt: skip
ZONES = {"us-east-1": ("us-east-1a", "us-east-1b")}


def released(folder: str) -> list[dict[str, Any]]:
    """The newest released version of each row, as the files of `row/` have it, by id."""
    newest: dict[str, dict[str, Any]] = {}
    for path in sorted((ROOT / "row" / folder).glob("*.ndjson")):
        for line in filter(None, path.read_text(encoding="utf-8").splitlines()):
            row = json.loads(line)
            if row["seq"] >= newest.get(row["id"], row)["seq"]:
                newest[row["id"]] = row
    return [newest[key] for key in sorted(newest)]


def section(page: Page, number: int) -> str:
    """The words of a section's heading, number included."""
    return next(words for level, words in page.headings if level == 2 and words.startswith(f"{number}. "))


def tables_below(page: Page, number: int) -> list[list[list[str]]]:
    """The first table below each sub-heading of a section."""
    words = [words for _, words in page.headings]
    start = words.index(section(page, number)) + 1
    names = [name for level, name in page.headings[start : words.index(section(page, number + 1))] if level == 3]
    return [page.table(name) for name in names]


def template(name: str) -> dict[str, Any]:
    """A reviewed template's resources."""
    path = SNAPSHOTS / f"test_template_is_as_reviewed[{name}].json"
    resources: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["Resources"]
    return resources


@BOTH
def test_it_has_the_sections_of_the_original(page: Page) -> None:
    found, number = dict[str, int](), ""
    for level, words in page.headings:
        numbered = re.match(r"(\d+(?:\.\d+)?)\.? ", words)
        if numbered:
            number = numbered[1]
            found[number] = 0
        elif level > 2:
            found[number] += 1
        else:
            number = words  # the title, the contents; after the last section the contacts and the change log
            found[number] = 0
    assert [count for name, count in found.items() if not name[0].isdigit()] == [0, 0, 2, 0]
    found = {name: count for name, count in found.items() if name[0].isdigit()}
    assert found == SECTIONS


def test_both_languages_have_the_same_headings_blocks_and_links() -> None:
    numbers = [
        [(level, *re.findall(r"^\d+(?:\.\d+)?", words)) for level, words in page.headings]
        for page in (ENGLISH, PORTUGUESE)
    ]
    assert numbers[0] == numbers[1]
    assert ENGLISH.blocks == PORTUGUESE.blocks
    links = [
        [re.sub(r"#.*|admin-manual(\.pt)?\.md", "", link) for link in page.links] for page in (ENGLISH, PORTUGUESE)
    ]
    assert links[0] == links[1]
    names = [re.findall(r"`([^`\s]*[-_./][^`\s]*)`", page.prose) for page in (ENGLISH, PORTUGUESE)]
    assert names[0] == names[1], "ids and names in the same order"


@BOTH
def test_every_link_leads_somewhere(page: Page) -> None:
    assert broken_links(page) == []


@BOTH
def test_the_contents_are_its_sections(page: Page) -> None:
    listed = re.findall(r"^(\d+)\. \[([^]]+)\]\(#", page.prose, re.MULTILINE)
    assert [f"{number}. {words}" for number, words in listed] == [section(page, number) for number in range(1, 11)]


@BOTH
def test_its_tables_of_ids_are_the_rows(page: Page) -> None:
    kernels, manifest, prompts, policies, providers = tables_below(page, 2)
    assert [[name, key, int(seq), state] for name, key, seq, _, state in kernels] == [
        [row["name"], row["id"], row["seq"], row["status"]] for row in released("kernels")
    ]
    (row,) = released("manifest")
    assert [value for _, value in manifest] == [row["id"], str(row["seq"]), row["entity_type"], row["status"]]
    assert (
        json.loads(next(block.text for block in page.blocks if block.language == "json"))
        == (row["metadata"]["allowed_boot_ids"])
    )
    assert prompts == [
        [row["id"], row["name"], row["metadata"]["type"], ", ".join(row["metadata"]["variables"])]
        for row in released("prompts")
    ]
    assert [one[:3] for one in policies] == [
        [row["id"], row["name"], row["metadata"]["type"]] for row in released("policies")
    ]
    assert providers == [
        [row["id"], row["name"], row["metadata"]["type"], row["metadata"]["base_url"]] for row in released("providers")
    ]


@BOTH
def test_its_figures_are_those_of_the_environments(page: Page) -> None:
    dev, staging, prod = (load_environment(name, {}, ZONES) for name in ("dev", "staging", "prod"))
    words = dict(zip((True, False), ("sim", "não") if page is PORTUGUESE else ("yes", "no"), strict=True))
    days = "dias" if page is PORTUGUESE else "days"
    assert [row[1:] for row in page.table("RDS PostgreSQL")] == [
        [one.instance_class for one in (dev, staging, prod)],
        [f"{one.storage_gb} GB ({one.storage_limit_gb})" for one in (dev, staging, prod)],
        [f"{one.backup_days} {days}" for one in (dev, staging, prod)],
        [words[one.multi_az] for one in (dev, staging, prod)],
        [words[one.read_replica] for one in (dev, staging, prod)],
    ]
    limits = next(words for _, words in page.headings if words.startswith("10.1 "))
    concurrency, connections, size, _ = page.table(limits)
    assert [concurrency[1], concurrency[3]] == [str(dev.loader_concurrency), str(prod.loader_concurrency)]
    assert [connections[1], connections[3]] == [str(dev.max_connections), str(prod.max_connections)]
    assert size[1] == f"{dev.storage_gb} GB"
    assert re.findall(r"\d+", size[3]) == [str(prod.storage_gb), str(prod.storage_limit_gb)]


@BOTH
def test_its_functions_and_policy_are_what_is_deployed(page: Page) -> None:
    functions = [
        one["Properties"] for one in template("prod-functions").values() if one["Type"] == "AWS::Lambda::Function"
    ]
    for name in ("loglineos-stage0-loader", "loglineos-db-migration"):
        (deployed,) = [one for one in functions if one["FunctionName"] == name]
        told = [value for _, value in page.table(name)]
        assert f"Python {deployed['Runtime'].removeprefix('python')}, {deployed['Architectures'][0]}" == told[1]
        assert told[2:4] == [f"{deployed['Timeout']} s", f"{deployed['MemorySize']} MB"]
    (admin,) = [one for one in template("prod-access").values() if one["Type"] == "AWS::IAM::ManagedPolicy"]
    text = json.dumps(admin["Properties"]["PolicyDocument"]["Statement"][0]["Resource"])
    shown = json.loads(next(block.text for block in page.blocks if block.name == "7.1/1"))["Statement"][0]
    assert sorted(shown["Action"]) == sorted(admin["Properties"]["PolicyDocument"]["Statement"][0]["Action"])
    assert [one.partition("ACCOUNT")[2] for one in shown["Resource"]] == re.findall(r'"(:\w+:loglineos-\*)"', text)


@BOTH
def test_its_alarms_and_queries_are_deployed(page: Page) -> None:
    alarms = {
        one["Properties"]["AlarmName"]: one["Properties"]
        for one in template("prod-monitoring").values()
        if one["Type"] == "AWS::CloudWatch::Alarm"
    }
    rows = page.table(next(words for _, words in page.headings if words.startswith("5.3 ")))
    told = {name: row[1] for row in rows for name in re.findall(r"loglineos-[\w-]+", row[2])}
    prod = load_environment("prod", {}, ZONES)
    storage = alarms["loglineos-database-storage"]["Threshold"] / prod.storage_gb / 2**30
    found = {name: alarms[name]["Threshold"] for name in told}
    assert found == {
        "loglineos-stage0-loader-errors": 10,
        "loglineos-db-migration-errors": 10,
        "loglineos-stage0-loader-duration": 25_000,
        "loglineos-database-cpu": 80,
        "loglineos-database-connections": 0.9 * prod.max_connections,
        "loglineos-database-storage": pytest.approx(alarms["loglineos-database-storage"]["Threshold"]),
    }
    assert storage == pytest.approx(0.2)
    assert [re.findall(r"\d+", row[1])[0] for row in rows] == ["10", "25", "80", "90", "80"]
    assert [block.text.strip() for block in page.blocks if block.language == "cloudwatch"] == list(QUERIES.values())
    for name in QUERIES:
        assert name in page.text


@BOTH
def test_it_tells_its_changes(page: Page) -> None:
    rows = page.table("Change log")
    assert rows[0][:2] == ["2025-11-03", "1.0"]
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)


def test_every_page_is_in_the_index() -> None:
    listed = {(DOCS / link.partition("#")[0]).resolve() for link in INDEX.links}
    missing = {path.name for path in DOCS.glob("*.md") if path.resolve() not in listed and path != INDEX.path}
    assert missing == set(), "add them to docs/README.md"
    assert broken_links(INDEX) == []
    readme = Page(ROOT / "README.md")
    assert {"docs/admin-manual.md", "docs/admin-manual.pt.md"} <= set(readme.links)
    assert broken_links(readme) == []


def test_links_are_found_broken(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One Two\n[a](#one-two) [b](#three) [c](no.md) [d](page.md#one-two) [e](https://example.com)\n")
    assert broken_links(Page(page)) == ["#three", "no.md"]
