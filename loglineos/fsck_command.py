"""`loglineos fsck`: everything recomputed, with what is wrong named."""

from __future__ import annotations

from pathlib import Path

import click

from ledger.keys import Use
from ledger.proof import parse_public_keys
from ledger.storage import Storage
from loglineos.arguments import json_option, read_text
from loglineos.direct import direct_target
from loglineos.fsck import Plan, Report, fsck
from loglineos.fsck.findings import KINDS
from loglineos.log_location import audited_log, audited_log_option, key_option, note_keys
from loglineos.output import Output

SHOWN = 50  # findings in a terminal; --json has all that were kept


@click.command("fsck")
@key_option
@audited_log_option
@click.option("--checkpoint", "files", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
              help="A checkpoint that you keep elsewhere; may be given more than once.")  # fmt: skip
@click.option("--row-key", "row_keys", multiple=True, metavar="HEX", help="A public key that signs rows.")
@click.option("--loader-key", "loader_keys", multiple=True, metavar="HEX", help="A public key of the loader.")
@click.option("--signed-from", type=click.IntRange(min=0), metavar="NUMBER",
              help="From which span on (0: the first) the loader signed all.  [default: its first]")  # fmt: skip
@click.option("--jobs", type=click.IntRange(1, 64), help="Processes at once.  [default: one a processor]")
@json_option
def fsck_command(
    keys: tuple[str, ...],
    log: str | None,
    files: tuple[Path, ...],
    row_keys: tuple[str, ...],
    loader_keys: tuple[str, ...],
    signed_from: int | None,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Recompute every hash, signature, version chain and the whole tree, and name what is wrong.

    Reads the database itself, as `readonly`, and holds it against the log and the checkpoints that you keep outside.
    Exit code 1 where anything is wrong; the findings are in the order of the ledger.
    """
    output = Output(as_json)
    trusted = note_keys(keys)
    roots: dict[Use, frozenset[str]] = {
        "row": parse_public_keys(",".join(row_keys), "--row-key"),
        "loader": parse_public_keys(",".join(loader_keys), "--loader-key"),
        "checkpoint": frozenset(key.public_key.hex() for key in trusted),
    }
    target = direct_target("readonly")
    storage = audited_log(log)
    notes = [(str(path), read_text(path, "--checkpoint")) for path in files]
    with output.progress("Recomputing the ledger", "spans") as progress:
        report = fsck(Plan(target, roots, storage, trusted, notes, jobs, progress, signed_from))
    _show(output, report, storage)
    if report.count:
        raise click.exceptions.Exit(1)


def _show(output: Output, report: Report, log: Storage) -> None:
    found = report.ordered()
    if output.as_json:
        output.json(
            {
                "ok": not report.count,
                "spans": report.spans,
                "sealed": report.sealed,
                "proved": report.proved,
                "log": str(log),
                "origin": report.origin,
                "checkpoints": report.checkpoints,
                "signatures": report.signatures,
                "finding_count": report.count,
                "counts": report.counts,
                "findings": [finding.as_json() for finding in found],
            }
        )
        return
    signed = sum(count for signer, count in report.signatures.items() if signer)
    output.line(f"{report.spans} spans, {signed} of them signed by {len(report.signatures.keys() - {''})} keys")
    if report.origin:
        roots = f"the roots of {report.checkpoints} checkpoints of {report.origin}"
        output.line(f"{report.proved} of {report.sealed} sealed spans lead to {roots}")
    else:
        output.line(f"Compared with nothing outside of it: no checkpoint counts in {log}", "yellow")
    if not report.count:
        output.line("Nothing is wrong.", "green")
        return
    output.line(f"{report.count} findings. The first:", "bold red")
    for finding in found[:SHOWN]:
        place = "" if finding.index is None else f"number {finding.index}, "
        where = f"{place}span {finding.span}: " if finding.span else ""
        output.line(f"  {finding.kind:20} {where}{finding.message}")
    if report.count > SHOWN:
        output.line(f"  … and {report.count - SHOWN} more: --json has up to {len(found)} of them")
    for kind in dict.fromkeys(finding.kind for finding in found):
        output.line(f"{kind} ({report.counts[kind]}): {KINDS[kind]}.")
    output.line("What to do: docs/runbooks/tampering.md.")
