"""`loglineos function`: write `main(input)` in a file, try it here, append it, schedule it. Runs: function_runs.py."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from ledger.errors import InvalidInput
from ledger.schedule import check_schedule, next_slot
from loglineos.arguments import identity_options, json_option, read_json
from loglineos.caller import Caller, SpanBody
from loglineos.function_runs import caller_of, logs, run, show_printed
from loglineos.functions import (
    ENTRY,
    HERE,
    FunctionFailed,
    check,
    first_version,
    function_called,
    functions_of,
    limits,
    local_sandbox,
    next_version,
    read_code,
    show_place,
)
from loglineos.output import Output
from sandbox import SandboxError

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,99}")
SLOTS = 3

TEMPLATE = '''"""{name}: counts, adds up and averages a list of numbers. (Say here what yours does.)"""


def main(input):
    # `input` is the JSON value that a run is given, None where it is given none. What `main` answers becomes JSON too.
    numbers = input or []
    for number in numbers:
        if not isinstance(number, (int, float)):
            # An exception is the run's error: its text and the line stand in `loglineos function logs {name}`.
            raise TypeError(f"a list of numbers is expected, and {{number!r}} is none")
    # What is printed is kept with the run.
    print(f"adding up {{len(numbers)}} numbers")
    total = sum(numbers)
    return {{"count": len(numbers), "total": total, "average": total / len(numbers) if numbers else None}}


# There are no files, no network and no ledger here; docs/functions.md says what there is of Python and its modules.
'''


@click.group()
def function() -> None:
    """Write functions of your own and run them."""


@function.command()
@click.argument("name")
@click.option("--schedule", metavar="CRON", help="When it is to run: five fields, UTC.")
@json_option
def new(name: str, schedule: str | None, as_json: bool) -> None:
    """Write NAME.py, a function to begin with."""
    output = Output(as_json)
    if not NAME.fullmatch(name):
        raise click.BadParameter(
            "expected a letter, then letters, digits, _ or -, such as word_statistics", param_hint="NAME"
        )
    if schedule is not None:
        _check_schedule(schedule, "--schedule")
    path = Path(f"{name}.py")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE.format(name=name))
    except FileExistsError:
        raise click.BadParameter(
            f"{path} is there already, and stays as it is. Choose another name, or go on with"
            f" `loglineos function test {path}`.",
            param_hint="NAME",
        ) from None
    except OSError as error:
        raise click.BadParameter(f"cannot write {path}: {error}. Go to a folder of yours.", param_hint="NAME") from None
    when = f" --schedule '{schedule}'" if schedule else ""
    steps = [
        f"loglineos function test {path} --input '[3, 4, 5]'",
        "export LOGLINEOS_USER=you LOGLINEOS_TENANT=your-tenant",
        f"loglineos function append {path}{when}",
        f"loglineos function run {name} --input '[3, 4, 5]'",
    ]
    if as_json:
        output.json({"file": str(path), "next": steps})
        return
    output.line(f"Wrote {path}. Change it, and then:")
    for step in steps:
        output.line(f"  {step}")


@function.command()
@click.argument("file")
@click.option("--input", "input_", metavar="JSON|@FILE|-", help="What `main` is given. Without it: null.")
@json_option
def test(file: str, input_: str | None, as_json: bool) -> None:
    """Run FILE here, as a deployed run would.

    The sandbox and its limits are the same. No ledger is needed.
    """
    output = Output(as_json)
    code, given = read_code(file), read_json(input_, "--input") if input_ is not None else None
    try:
        with local_sandbox() as sandbox:
            sandbox.check(code, ENTRY, tenant=HERE)
            result = sandbox.run(code, ENTRY, given, limits(), tenant=HERE)
    except SandboxError as error:
        details = {name: value for name, value in error.details.items() if name != "printed"}
        show_printed(error.details.get("printed", ""))
        if as_json:
            output.json({"ok": False, "error": {"code": error.code, "message": error.message, **details}})
        else:
            show_place(code, file, error)
        raise FunctionFailed(error.code, error.message) from None
    if as_json:
        output.json({"ok": True, "output": result.output, "printed": result.printed, "duration_ms": result.duration_ms})
        return
    show_printed(result.printed)
    output.json(result.output)
    click.echo(f"{result.duration_ms} ms of {limits().timeout_ms}", err=True)


@function.command()
@click.argument("file")
@click.option("--name", help="The function's name. [default: the file's name without .py]")
@click.option(
    "--id", "function_id", type=click.UUID, help="Which function this is a version of, where a name is not enough."
)
@click.option("--visibility", type=click.Choice(["private", "tenant"]), help="Who sees and runs it. [default: private]")
@click.option("--schedule", metavar="CRON", help="When it runs by itself: five fields, UTC.")
@click.option("--max-concurrency", type=click.IntRange(min=1), help="How many of its runs may go on at once.")
@click.option("--description", help="What it does, in a sentence.")
@identity_options
@json_option
def append(
    file: str, name: str | None, function_id: UUID | None, schedule: str | None, max_concurrency: int | None,
    user: str, tenant: str, as_json: bool, **columns: str | None,
) -> None:  # fmt: skip
    """Append FILE as a function or its next version.

    It is a version of the user's function of that name, if there is one. What could never run is not sent. A version
    keeps what is not said anew: its schedule, for one, until `loglineos function schedule NAME --off`.
    """
    output, code = Output(as_json), read_code(file)
    if schedule is not None:
        _check_schedule(schedule, "--schedule")
    check(code, file)
    caller = caller_of(user, tenant)
    wanted = name or Path(file).stem
    before = _before(caller, wanted, function_id)
    span = first_version(wanted) if before is None else next_version(before, did="rewrote")
    span |= _said({"code": code, "name": name, **columns})
    span["metadata"] |= _said({"schedule": schedule, "max_concurrency": max_concurrency})
    if before is not None and _same(before, span):
        _show(output, before, f"Nothing has changed: {before['name']} is seq {before['seq']} already.")
        return
    appended = caller.append(**span, status="active")
    _show(output, appended, f"{appended['name']} is seq {appended['seq']} now, id {appended['id']}.")


def _before(caller: Caller, name: str, function_id: UUID | None) -> SpanBody | None:
    """The caller's function of that id or name, whose next version comes; None for a new name."""
    if function_id is not None:
        return function_called(caller, str(function_id), owned=True)
    named = [span for span in functions_of(caller) if span["owner_id"] == caller.user and span.get("name") == name]
    if len(named) > 1:
        ids = ", ".join(span["id"] for span in named)
        raise click.BadParameter(
            f"you have several functions {name!r}: {ids}. Choose one with --id.", param_hint="FILE"
        )
    return named[0] if named else None


def _said(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def _same(before: SpanBody, span: dict[str, Any]) -> bool:
    columns = ("code", "name", "description", "visibility")
    same = all(span.get(column) == before.get(column) for column in columns)
    return same and span["metadata"] == (before.get("metadata") or {})


@function.command()
@click.argument("function", metavar="NAME|ID")
@click.argument("cron", required=False)
@click.option("--once", is_flag=True, help="Run it once, as soon as the observer sees it.")
@click.option("--off", is_flag=True, help="Run it by itself no longer.")
@identity_options
@json_option
def schedule(function: str, cron: str | None, once: bool, off: bool, user: str, tenant: str, as_json: bool) -> None:
    """Let a function run by itself.

    At CRON (five fields, UTC); --once; or no longer: --off. The observer sees to it every minute.
    """
    if (cron is not None) + once + off != 1:
        raise click.UsageError("Say one of: five fields of cron such as '*/5 * * * *', --once, --off.")
    output, caller = Output(as_json), caller_of(user, tenant)
    if cron is not None:
        _check_schedule(cron, "CRON")
    span = next_version(function_called(caller, function, owned=True), did="scheduled", status="active")
    if cron is not None:
        span["metadata"]["schedule"] = cron
    elif off:
        span["metadata"].pop("schedule", None)
        span["did"] = "unscheduled"
    else:
        span["status"] = "scheduled"
    appended = caller.append(**span)
    _show(output, appended, f"{appended['name']} is seq {appended['seq']} now.")


@function.command("list")
@identity_options
@json_option
def list_(user: str, tenant: str, as_json: bool) -> None:
    """Show the user's functions."""
    output, caller = Output(as_json), caller_of(user, tenant)
    found = [span for span in functions_of(caller) if span["owner_id"] == caller.user]
    if as_json:
        output.json({"functions": found})
        return
    if not found:
        output.line(f"{caller.user} of {caller.tenant} has no functions. Write one: loglineos function new NAME")
        return
    rows = [
        (span.get("name"), span["seq"], (span.get("metadata") or {}).get("schedule"), span.get("status"),
         span["visibility"], span["id"])
        for span in found
    ]  # fmt: skip
    output.table(["name", "seq", "schedule", "status", "visibility", "id"], rows)


def _show(output: Output, span: SpanBody, sentence: str) -> None:
    """What became of a function, and when it runs by itself."""
    cron = (span.get("metadata") or {}).get("schedule")
    slots = next_slots(cron) if cron else []
    if output.as_json:
        output.json({"function": span, "next_runs": slots})
        return
    output.line(sentence)
    if span.get("status") == "scheduled":
        output.line("It runs once, as soon as the observer sees it: within a minute.")
    if slots:
        output.line(f"It runs at {cron} (UTC), next: {', '.join(slots)}")
    elif span.get("status") != "scheduled":
        output.line(f"Run it: loglineos function run {span['name']}")


def next_slots(cron: str) -> list[str]:
    """The next times of a schedule, as people read them: `2026-01-31 12:00`, UTC."""
    slots, at = [], datetime.now(UTC)
    for _ in range(SLOTS):
        at = next_slot(cron, at)
        slots.append(f"{at:%Y-%m-%d %H:%M}")
    return slots


def _check_schedule(schedule: str, hint: str) -> None:
    try:
        check_schedule(schedule, hint)
    except InvalidInput as error:
        raise click.BadParameter(f"{error.details['expected']}; got {schedule!r}", param_hint=hint) from None


function.add_command(run)
function.add_command(logs)
