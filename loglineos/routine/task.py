"""A checkbox of the manual, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from loglineos.backend import Backend
from loglineos.health.facts import Facts
from loglineos.health.finding import Finding, worst
from loglineos.routine.others import Others

State = Literal["done", "person", "failed"]


@dataclass(frozen=True)
class Outcome:
    """`done`: the box is ticked. `person`: somebody has to do what `said` asks. `failed`: something is wrong.

    `findings` are what was found on the way, each with its remedy; a failure among them fails the task.
    """

    state: State
    said: str
    findings: Sequence[Finding] = ()
    details: Sequence[str] = field(default=())


@dataclass(frozen=True)
class Round:
    """What the tasks work with: the facts, asked once, the deployment, and the other commands."""

    facts: Facts
    backend: Backend
    others: Others
    storage_gb: float | None = None
    drill: bool = True


@dataclass(frozen=True)
class Task:
    """`manual` is the checkbox as the manual has it; `title` says the same in English."""

    manual: str
    title: str
    run: Callable[[Round], Outcome]


@dataclass(frozen=True)
class Result:
    """A task and its outcome."""

    task: Task
    outcome: Outcome

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "manual": self.task.manual, "title": self.task.title, "state": self.outcome.state,
            "said": self.outcome.said, "details": list(self.outcome.details),
            "findings": [finding.as_json() for finding in self.outcome.findings],
        }  # fmt: skip


def checked(said: str, findings: Sequence[Finding], details: Sequence[str] = ()) -> Outcome:
    """Done, unless one of the findings is a failure. What could not be learned is a person's."""
    gravest = worst(findings)
    if gravest == "failure":
        return Outcome("failed", said, findings, details)
    if findings and all(finding.level == "unknown" for finding in findings):
        return Outcome("person", said, findings, details)
    return Outcome("done", said, findings, details)
