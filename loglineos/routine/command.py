"""`loglineos routine` (manual 9)."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from db_migration.xray.action import NEWEST, SECTIONS
from ledger.errors import LedgerUnavailable
from loglineos.arguments import OutFile, json_option
from loglineos.backend import choose_backend
from loglineos.health.facts import gather
from loglineos.http_backend import HttpBackend
from loglineos.output import Output
from loglineos.routine.others import Others
from loglineos.routine.report import markdown, show, summary
from loglineos.routine.task import Result, Round, Task
from loglineos.routine.tasks import TASKS


@click.command()
@click.argument("period", type=click.Choice(list(TASKS)))
@click.option("--out", type=OutFile(), metavar="FILE.md",
              help="Write the checklist as Markdown.")  # fmt: skip
@click.option("--storage-gb", type=click.FloatRange(min=0, min_open=True), metavar="GIB",
              help="The storage there is; on AWS it is the instance's.")  # fmt: skip
@click.option("--no-drill", is_flag=True, help="Leave the restore of a backup, which takes minutes, to a person.")
@json_option
def routine(period: str, out: Path | None, storage_gb: float | None, no_drill: bool, as_json: bool) -> None:
    """Do the maintenance of a period, and list what a person has to do.

    [x] is done, [ ] is a person's, [!] failed. Nothing in the ledger is changed. Exit code 1 if something failed, 3 if
    the ledger cannot be reached.
    """
    output, backend = Output(as_json), choose_backend()
    if isinstance(backend, HttpBackend):
        backend.migration({"action": "routine"})  # says that it is an operator's command
    with output.step("Looking at functions, database, ledger and AWS"):
        facts = gather(backend, SECTIONS, NEWEST)
    if facts.unreachable:
        raise LedgerUnavailable(facts.problems.get("stage0-loader", ""))
    root = click.get_current_context().find_root()
    known = frozenset(root.command.list_commands(root)) if isinstance(root.command, click.Group) else frozenset[str]()
    round_ = Round(facts, backend, Others(known, root.params.get("env")), storage_gb, not no_drill)
    results = [_run(output, task, round_) for task in TASKS[period]]
    ledger = str(facts.loader.get("database", facts.command))
    if out is not None:
        out.write_text(markdown(period, facts.now, ledger, results), encoding="utf-8")
    if as_json:
        output.json({"period": period, "made_at": facts.now.isoformat(timespec="seconds"), "ledger": ledger,
                     "summary": summary(results), "tasks": [result.as_json() for result in results]})  # fmt: skip
    else:
        show(output, results)
    if any(result.outcome.state == "failed" for result in results):
        sys.exit(1)


def _run(output: Output, task: Task, round_: Round) -> Result:
    with output.step(task.title):
        return Result(task, task.run(round_))
