"""What a routine has done, as text and as a page of Markdown with the manual's boxes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from loglineos.output import Output
from loglineos.routine.task import Result, State

BOX: Final[dict[State, str]] = {"done": "[x]", "person": "[ ]", "failed": "[!]"}
STYLE: Final[dict[State, str | None]] = {"done": None, "person": "yellow", "failed": "bold red"}
DETAILS: Final = 8


def show(output: Output, results: Sequence[Result]) -> None:
    """A box for each task, what was found below it."""
    for result in results:
        outcome = result.outcome
        who = {"done": "", "person": "a person: ", "failed": "FAILED: "}[outcome.state]
        output.line(f"{BOX[outcome.state]} {result.task.title}: {who}{outcome.said}", STYLE[outcome.state])
        for finding in outcome.findings:
            if finding.level != "ok":
                output.line(f"      {finding.level}: {finding.check}: {finding.said}")
                output.line(f"        -> {finding.remedy}" if finding.remedy else "")
        for detail in outcome.details[:DETAILS]:
            output.line(f"      {detail}")
        if len(outcome.details) > DETAILS:
            output.line(f"      and {len(outcome.details) - DETAILS} more (--json, --out)")
    output.line(summary(results))


def summary(results: Sequence[Result]) -> str:
    """How many of each."""
    states = [result.outcome.state for result in results]
    return f"{states.count('done')} done, {states.count('person')} for a person, {states.count('failed')} failed."


def markdown(period: str, made_at: datetime, ledger: str, results: Sequence[Result]) -> str:
    """A checklist to be kept, or finished by hand."""
    lines = [
        f"# LogLineOS, {period} routine of {made_at:%Y-%m-%d %H:%M} UTC",
        "",
        f"{_plain(ledger)}. {summary(results)}",
        "",
    ]
    for result in results:
        outcome = result.outcome
        box = "[x]" if outcome.state == "done" else "[ ]"
        failed = " **failed**:" if outcome.state == "failed" else ""
        manual = f" ({result.task.manual})" if result.task.manual else ""
        lines.append(f"- {box} **{result.task.title}**{manual}:{failed} {_plain(outcome.said)}")
        for finding in outcome.findings:
            remedy = f" → {_plain(finding.remedy)}" if finding.remedy else ""
            lines.append(f"  - {finding.level}: {_plain(finding.check)}: {_plain(finding.said)}{remedy}")
        lines += [f"  - {_plain(detail)}" for detail in outcome.details]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """One line, in which nothing of a span's is taken for Markdown's own HTML."""
    return " ".join(text.split()).replace("<", "&lt;")
