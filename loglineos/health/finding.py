"""What a check has found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

Level = Literal["ok", "unknown", "warning", "failure"]
FSCK: Final = "`loglineos fsck --key KEY --log LOG`, with key and log as `checkpoint show` printed them"
LEVELS: Final[tuple[Level, ...]] = ("ok", "unknown", "warning", "failure")


@dataclass(frozen=True)
class Finding:
    """One check's result. `remedy` is a sentence with the command to run; empty where nothing is to be done.

    `unknown`: it cannot be known from here, which is no fault of the ledger's.
    """

    check: str
    level: Level
    said: str
    remedy: str = ""

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return asdict(self)


def worst(findings: Iterable[Finding]) -> Level:
    """The gravest level among them; `ok` of none."""
    return max((finding.level for finding in findings), key=LEVELS.index, default="ok")


def age(seconds: float | None) -> str:
    """A time that has passed, for people: `42 s`, `5 min`, `3 h`, `12 days`."""
    if seconds is None:
        return "never"
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def size(count: float) -> str:
    """Bytes, for people, in units of 1024: `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
