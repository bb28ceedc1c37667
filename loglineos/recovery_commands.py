"""`snapshot` and `pitr`: RDS's own backups of a deployed environment, or of the local stack's emulated one."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime

import click

from loglineos.arguments import DefaultGroup, json_option
from loglineos.backend import AwsBackend, choose_backend
from loglineos.errors import CommandFailed
from loglineos.output import Output
from loglineos.recovery import Instance, Window

LATEST = "latest"


def _instance() -> Instance:
    backend = choose_backend()
    if not isinstance(backend, AwsBackend):
        raise CommandFailed(
            "snapshots and points in time are RDS's: give --env, or start the local stack; for a database of your own"
            " `loglineos backup` does it"
        )
    return Instance(backend)


@click.group(cls=DefaultGroup, default="make")
def snapshot() -> None:
    """Make a snapshot of the environment's DB instance, under NAME (the default); or list them.

    `loglineos snapshot [NAME] [--wait]` is `loglineos snapshot make …`.
    """


@snapshot.command()
@click.argument("name", required=False)
@click.option("--wait", is_flag=True, help="Until it is available.")
@json_option
def make(name: str | None, wait: bool, as_json: bool) -> None:
    """Begin a snapshot called NAME; by default loglineos-manual-YYYYMMDD-HHMM (UTC), as in the manual."""
    output, instance = Output(as_json), _instance()
    name = name or f"loglineos-manual-{datetime.now(UTC):%Y%m%d-%H%M}"
    with output.step(f"Making the snapshot {name} of {instance.identifier}"):
        made = instance.snapshot(name, wait=wait)
    if as_json:
        output.json(made)
    else:
        later = "" if made["status"] == "available" else "; `loglineos snapshot list` shows when it is available"
        output.line(f"{name} is {made['status']}{later}.")


@snapshot.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the instance's snapshots, RDS's daily ones included."""
    output, found = Output(as_json), _instance().snapshots()
    if as_json:
        output.json({"snapshots": found})
    else:
        columns = ["name", "kind", "status", "created", "gigabytes", "encrypted"]
        output.table(columns, [[one[column] for column in columns] for one in found])


@click.command()
@click.option("--time", "time_", required=True, metavar="TIME", help="RFC 3339 with offset, or `latest`.")
@click.option("--target", help="The new instance's name. [default: the source's, with -restored]")
@click.option("--wait", is_flag=True, help="Until it is available (some ten minutes).")
@json_option
def pitr(time_: str, target: str | None, wait: bool, as_json: bool) -> None:
    """Restore the environment's DB instance, as it was at a point in time, into a new instance beside it.

    Nothing changes for those who use the old one. What to do with the new one is said at the end.
    """
    output, instance = Output(as_json), _instance()
    described = instance.describe()
    time = _time(time_, instance.window(described), instance.identifier)
    target = target or f"{instance.identifier}-restored"
    with output.step(f"Restoring {instance.identifier} of {time_} into {target}"):
        made = instance.restore_to(time, target, described, wait=wait)
    if as_json:
        output.json({**made, "source": instance.identifier, "time": time_})
        return
    output.line(f"{target} is {made['status']}.")
    if made["left"]:
        output.line("Monitoring and maintenance are not as before yet, which `--wait` would do. Once it is available:")
        output.line(f"  aws rds modify-db-instance --cli-input-json {shlex.quote(json.dumps(made['left']))}")
    output.line(NEXT.format(target=target, time=time_))


def _time(text: str, window: Window, identifier: str) -> datetime | None:
    """None for the latest. Raises BadParameter for what is no time, or one to which RDS cannot go back."""
    if text == LATEST:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise click.BadParameter(
            f"expected an RFC 3339 time with offset, such as 2026-01-31T12:00:00Z, or {LATEST}; not {text!r}",
            param_hint="--time",
        )
    if not window.earliest <= time <= window.latest:
        shown = [f"{one.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" for one in (window.earliest, window.latest)]
        raise click.BadParameter(
            f"{identifier} can be restored to times from {shown[0]} to {shown[1]}; earlier ones may be in a snapshot"
            " or a folder of `loglineos backup`",
            param_hint="--time",
        )
    return time


NEXT = """
What was committed after {time} is not in it, and transaction ids go on from there. Next (docs/backup.md):
  1. Stop the writers and the notary: reserved concurrency 0 for the loader, and the rules off that boot and seal
     (docs/runbooks/restore.md, step 1).
  2. Through a tunnel to {target}, with DATABASE_URL at its local end:
       loglineos era begin --reason "PITR to {time}"
       loglineos fsck --key KEY --log LOG    (both as `checkpoint show` printed them: it names what is missing)
  3. If fsck finds sealed spans missing: keep the old log as evidence, and deploy with the next log_number.
  4. Switch over: rename the old instance away and {target} to its name, let the functions sign in
     to its resource id (docs/runbooks/restore.md), then let the writers go on."""
