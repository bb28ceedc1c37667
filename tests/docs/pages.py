"""A page of `docs/`: its headings, blocks, tables and links."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TYPED = ("bash", "sql")  # the languages of what a reader types

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(#+) (.+)$")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block. `name` is the number of the nearest numbered heading and its place below that, as `4.2/1`."""

    name: str
    language: str
    text: str

    @property
    def section(self) -> int:
        """The number of the section, 0 before the first."""
        return int(self.name.partition("/")[0].partition(".")[0])


@dataclass(frozen=True)
class Page:
    """A page of Markdown."""

    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def prose(self) -> str:
        """Without what is in fences."""
        return _FENCED.sub("", self.text)

    @cached_property
    def headings(self) -> list[tuple[int, str]]:
        """Level and words of each."""
        found = (_HEADING.match(line) for line in self.prose.splitlines())
        return [(len(one[1]), one[2]) for one in found if one]

    @cached_property
    def anchors(self) -> set[str]:
        """As GitHub makes them of headings."""
        anchors, seen = set[str](), Counter[str]()
        for _, words in self.headings:
            anchor = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
            anchors.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
            seen[anchor] += 1
        return anchors

    @cached_property
    def links(self) -> list[str]:
        """Targets within this repository, as they are written."""
        return [link for link in _LINK.findall(self.prose) if "://" not in link]

    @cached_property
    def blocks(self) -> list[Block]:
        """In order."""
        found, counts, number, place = list[Block](), Counter[str](), "0", 0
        for fence in _FENCED.finditer(self.text):
            for line in self.text[place : fence.start()].splitlines():
                heading = re.match(r"#+ (\d+(?:\.\d+)?)", line)
                number = heading[1] if heading else number
            place = fence.end()
            counts[number] += 1
            found.append(Block(f"{number}/{counts[number]}", fence[1], fence[2]))
        return found

    def table(self, heading: str) -> list[list[str]]:
        """The rows, without the names of the columns, of the first table below a heading."""
        below = self.prose.split(f" {heading}\n", 1)[1]
        rows = re.search(r"^\|.*\n\|[-|]+\|\n((?:\|.*\n)+)", below, re.MULTILINE)
        assert rows, heading
        return [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in rows[1].splitlines()]


def broken_links(page: Page) -> list[str]:
    """Those that lead to no file, no folder, or no heading."""
    broken = []
    for link in page.links:
        name, _, anchor = link.partition("#")
        target = (page.path.parent / name).resolve() if name else page.path
        if not target.exists() or (anchor and anchor not in Page(target).anchors):
            broken.append(link)
    return broken
