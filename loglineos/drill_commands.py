"""`loglineos drill`: the quarterly recovery drill (manual 9.4), with a report."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType

import click

from ledger.errors import LedgerError
from loglineos.arguments import OutFolder, json_option
from loglineos.backup.drill import Log, Report, run_drill
from loglineos.backup.errors import BackupFailed
from loglineos.direct import direct_target
from loglineos.local.errors import LocalPostgresError
from loglineos.local.stack import LocalStack
from loglineos.log_location import audited_log, audited_log_option, note_keys
from loglineos.output import Output
from loglineos.private_file import write_private


@click.command()
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--minutes", type=click.IntRange(1, 24 * 60), default=30, show_default=True, help="Fail beyond these.")
@click.option("--report", "reports", type=OutFolder(), help="Where reports are kept.")
@click.option(
    "--key",
    "keys",
    multiple=True,
    envvar="LOGLINEOS_LOG_KEY",
    metavar="KEY|FILE",
    help="With it, fsck holds it against the log.",
)
@audited_log_option
@json_option
def drill(
    folder: Path | None, minutes: int, reports: Path | None, keys: tuple[str, ...], log: str | None, as_json: bool
) -> None:
    """Rehearse a full recovery: restore the backup in FOLDER into a temporary PostgreSQL on this machine, prove all of
    it, seed, boot a kernel, measure, and remove that PostgreSQL again.

    Without FOLDER a backup is taken first, of the local stack or of DATABASE_URL. The report is kept, as JSON and text.
    """
    output, stack = Output(as_json), LocalStack()
    report = Report(began=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    try:
        with _limit(minutes):
            source = None if folder else direct_target(None)
            sealed = Log(audited_log(log), note_keys(keys)) if keys else None
            run_drill(folder, source, stack.directory / "drill", partial(output.progress, unit="spans"), report, sealed)
        report.ok = True
    except (LedgerError, LocalPostgresError) as error:
        report.problem = str(error)
    path = _keep(report, reports or stack.directory / "drills")
    if as_json:
        output.json({**report.described(), "report": str(path)})
    else:
        output.line(as_text(report))
        output.line(f"Report: {path}")
    if not report.ok:
        raise BackupFailed(f"the drill failed: {report.problem}")


@contextmanager
def _limit(minutes: int) -> Iterator[None]:
    """Raise BackupFailed after so many minutes, wherever it is."""

    def over(_number: int, _frame: FrameType | None) -> None:
        raise BackupFailed(f"it was not over after {minutes} minutes: allow more by --minutes, or a larger machine")

    previous = signal.signal(signal.SIGALRM, over)
    signal.alarm(minutes * 60)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def _keep(report: Report, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    name = f"drill-{report.began.replace(':', '').replace('-', '')}"
    write_private(folder / f"{name}.txt", as_text(report) + "\n")
    return write_private(folder / f"{name}.json", json.dumps(report.described(), indent=2, ensure_ascii=False) + "\n")


def as_text(report: Report) -> str:
    """The report for people."""
    lines = [f"Recovery drill of {report.began}: {'passed' if report.ok else f'FAILED: {report.problem}'}"]
    if report.spans:
        seeded = f"appended {report.seeded} rows that are newer" if report.seeded else "had nothing to do"
        lines += [
            f"  backup      {report.backup}, SHA-256 {report.sha256}",
            f"  restored    {report.spans:,} spans, {report.signed:,} of them signed, PostgreSQL {report.postgresql}",
            f"  appends     go on in era {report.era}",
            f"  seed        {seeded}",
            f"  RTO         {report.recovery_s:,.1f} s from the backup to a boot ({report.spans_per_s:,.0f} spans/s)",
            f"  RPO         {report.data_loss_s:,.0f} s: the backup's age when the drill began",
        ]
    lines += [f"  {name:20} {seconds:10,.2f} s" for name, seconds in report.steps.items()]
    return "\n".join(lines)
