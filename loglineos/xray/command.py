"""`loglineos xray` (manual 5 and 9)."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from db_migration.xray.action import NEWEST, SECTIONS
from ledger.errors import LedgerUnavailable
from loglineos.arguments import OutFile, json_option
from loglineos.backend import choose_backend
from loglineos.errors import CommandFailed
from loglineos.health.facts import gather
from loglineos.http_backend import HttpBackend
from loglineos.output import Output
from loglineos.xray.page import page
from loglineos.xray.report import build
from loglineos.xray.terminal import show


@click.command()
@click.option("--verify", type=click.IntRange(0, 1_000_000), default=NEWEST, show_default=True, metavar="N",
              help="Recompute the newest N spans, for two seconds at most. All of them: `loglineos fsck`.")  # fmt: skip
@click.option("--storage-gb", type=click.FloatRange(min=0, min_open=True), metavar="GIB",
              help="The storage there is, to say when it is full; on AWS it is the instance's.")  # fmt: skip
@click.option("--html", "html_file", type=OutFile(), metavar="FILE",
              help="Write one page with plots that needs nothing else.")  # fmt: skip
@json_option
def xray(verify: int, storage_gb: float | None, html_file: Path | None, as_json: bool) -> None:
    """Look through the ledger: structure, privileges, kernels, spans, signatures, activity, size, speed.

    It reads as `readonly`, on the replica where there is one. Every statement is bounded; what is estimated says so.
    Exit code 1 if something fails, as `health` has it.
    """
    output, backend = Output(as_json), choose_backend()
    if isinstance(backend, HttpBackend):
        backend.migration({"action": "xray"})  # says that it is an operator's command
    with output.step("Looking through the ledger"):
        facts = gather(backend, SECTIONS, verify)
    if facts.unreachable:
        raise LedgerUnavailable(facts.problems.get("stage0-loader", ""))
    if not facts.xray:
        raise CommandFailed(facts.problems["db-migration"])
    report = build(facts, storage_gb)
    if html_file is not None:
        html_file.write_text(page(report), encoding="utf-8")
    if as_json:
        output.json(report)
    elif html_file is not None:
        output.line(f"Written: {html_file}. It is one file; a browser shows it.")
    else:
        show(output, report)
    if any(finding["level"] == "failure" for finding in report["findings"]):
        sys.exit(1)
