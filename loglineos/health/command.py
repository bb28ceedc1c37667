"""`loglineos health` (manual 8.3)."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import click

from loglineos.arguments import json_option
from loglineos.backend import choose_backend
from loglineos.health import ledger
from loglineos.health.checks import run_checks
from loglineos.health.facts import Facts, gather, released
from loglineos.health.finding import LEVELS, Finding, Level, worst
from loglineos.http_backend import HttpBackend
from loglineos.output import Output

MARKS: dict[Level, tuple[str, str]] = {
    "ok": ("ok", "green"),
    "unknown": ("?", "dim"),
    "warning": ("warning", "yellow"),
    "failure": ("FAILURE", "bold red"),
}


@click.command()
@json_option
def health(as_json: bool) -> None:
    """Check everything that can be checked without changing anything, and say what to do about what is wrong.

    Exit code 0: all well, or warnings only; 1: something fails; 3: the ledger cannot be reached. Over HTTPS only what
    a device may know: the ledger answers, the manifest, the kernels of its app.
    """
    output, backend = Output(as_json), choose_backend()
    if isinstance(backend, HttpBackend):
        _over_https(output, backend)
        return
    with output.step("Looking at functions, database, ledger and AWS"):
        facts = gather(backend)
    findings = run_checks(facts)
    _show(output, facts.loader, findings)
    if facts.unreachable:
        sys.exit(3)
    if worst(findings) == "failure":
        sys.exit(1)


def _over_https(output: Output, backend: HttpBackend) -> None:
    """A device asks as itself; what cannot be reached, or is not known any more, is an error as in every command."""
    started = time.monotonic()
    body = backend.load({"action": "health"})
    milliseconds = (time.monotonic() - started) * 1000
    facts = Facts(loader=body, loader_ms=milliseconds, released=released())
    findings = [
        Finding("ledger", "ok", f"{body['database']}, answered in {milliseconds:.0f} ms"),
        *ledger.manifest(facts),
        *(Finding(f"kernel {kernel['name']}", "ok", "this app may boot it") for kernel in body["kernels"]),
    ]
    _show(output, body, findings)


def _show(output: Output, loader: dict[str, Any], findings: Sequence[Finding]) -> None:
    counts = Counter(finding.level for finding in findings)
    if output.as_json:
        output.json({
            **loader, "status": worst(findings), "counts": {level: counts[level] for level in LEVELS},
            "findings": [finding.as_json() for finding in findings],
        })  # fmt: skip
        return
    show_findings(output, findings)
    words: dict[Level, str] = {"failure": "failing", "warning": "to look at", "unknown": "not known from here"}
    rest = [f"{counts[level]} {word}" for level, word in words.items() if counts[level]]
    output.line(f"{len(findings)} checks: {', '.join(rest) or 'all well'}.")


def show_findings(output: Output, findings: Sequence[Finding]) -> None:
    """A line for each check; below one that is not well, what to do."""
    width = max((len(finding.check) for finding in findings), default=0)
    for finding in findings:
        mark, style = MARKS[finding.level]
        output.line(f"{mark:8} {finding.check:{width}}  {finding.said}", style if finding.level != "ok" else None)
        if finding.remedy:
            output.line(f"{'':8} {'':{width}}  -> {finding.remedy}")
