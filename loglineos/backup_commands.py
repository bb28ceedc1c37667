"""`backup`, `backup verify` and `restore`: the ledger in files, and back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from loglineos.arguments import DefaultGroup, json_option, read_text
from loglineos.backup.errors import BackupFailed
from loglineos.backup.manifest import KnownCheckpoint
from loglineos.backup.restore import Restored, restore_backup
from loglineos.backup.take import Taken, take_backup
from loglineos.backup.verify import Verified, verify_backup
from loglineos.direct import direct_target
from loglineos.errors import CommandFailed
from loglineos.health.finding import FSCK
from loglineos.local.stack import LocalStack
from loglineos.log_location import note_keys
from loglineos.output import Output
from tlog.checkpoint import open_checkpoint

folder_argument = click.argument("folder", type=click.Path(file_okay=False, path_type=Path))


@click.group(cls=DefaultGroup, default="make")
def backup() -> None:
    """Back the ledger up into FOLDER, over a connection to the database itself (the default); or check a backup.

    `loglineos backup [FOLDER] [--incremental]` is `loglineos backup make …`.
    """


@backup.command()
@click.argument("folder", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option("--incremental", is_flag=True, help="Add what was committed since the last backup in FOLDER.")
@json_option
def make(folder: Path | None, incremental: bool, as_json: bool) -> None:
    """Write a full backup into a new FOLDER (named by the time, if none is given), or add to one.

    The files are readable by you alone; they hold everything but the keys. Nobody is kept waiting by it.
    """
    output = Output(as_json)
    if incremental and folder is None:
        raise click.UsageError("--incremental adds to a backup: name its FOLDER")
    folder = folder or Path(f"loglineos-backup-{datetime.now(UTC):%Y%m%d-%H%M%S}")
    target = direct_target(None)
    with output.progress("Backing up", "spans") as tell:
        taken = take_backup(folder, target, incremental=incremental, tell=tell)
    if as_json:
        output.json(described_backup(folder, taken))
        return
    file = taken.manifest.file
    spans = "1 span" if taken.manifest.count == 1 else f"{taken.manifest.count:,} spans"
    output.line(f"{spans}, {file.bytes:,} bytes, in {folder / file.name}")
    output.line(f"The folder's backups hold {taken.manifest.total:,} spans.")
    if taken.waiting:
        output.line(
            f"{taken.waiting:,} newer spans stand above a transaction that is still open: the next incremental backup"
            " has them.", "yellow"
        )  # fmt: skip
    output.line(f"SHA-256 {taken.sha256}: keep it elsewhere, it vouches for all of the folder.")
    output.line(f"No hash was computed: `loglineos backup verify {folder}` does, and finds what restore would refuse.")


def described_backup(folder: Path, taken: Taken) -> dict[str, Any]:
    """A backup for scripts."""
    return {
        "folder": str(folder),
        "manifest": taken.manifest.model_dump(mode="json"),
        "sha256": taken.sha256,
        "waiting": taken.waiting,
    }


@backup.command()
@folder_argument
@click.option("--sha256", "expected", metavar="HEX", help="What `backup` printed when the newest one was made.")
@click.option("--checkpoint", type=click.Path(dir_okay=False, path_type=Path), help="A checkpoint kept elsewhere.")
@click.option(
    "--key", "keys", multiple=True, envvar="LOGLINEOS_LOG_KEY", metavar="KEY|FILE", help="Whose checkpoints count."
)
@json_option
def verify(folder: Path, expected: str | None, checkpoint: Path | None, keys: tuple[str, ...], as_json: bool) -> None:
    """Check the backups in FOLDER without a database: files, chain, each span's hash and signature, checkpoints."""
    output = Output(as_json)
    outside = _outside(checkpoint, keys)
    with output.progress("Checking", "spans") as tell:
        result = verify_backup(folder, tell, outside)
    problems = [f"{one.file}: {one.reason}" for one in result.findings]
    if expected and result.sha256 and expected.lower() != result.sha256:
        problems.insert(0, f"this is another backup than the one of SHA-256 {expected}: it is that of {result.sha256}")
    if as_json:
        output.json(_described(result, problems))
    elif not problems:
        output.line(_summary(result))
    else:
        for problem in problems:
            output.line(problem, "red")
    if problems:
        raise BackupFailed(
            f"the backup in {folder} is not whole: {len(problems)} finding{'s' if len(problems) > 1 else ''}."
            " Take an older one, or make a new one; if that has it too, the ledger has (docs/runbooks/tampering.md)"
        )


def _outside(checkpoint: Path | None, keys: Sequence[str]) -> list[KnownCheckpoint]:
    if checkpoint is None:
        return []
    if not keys:
        raise click.UsageError("--checkpoint needs the --key that signed it")
    note = read_text(checkpoint, "--checkpoint")
    opened = open_checkpoint(note, note_keys(keys))
    return [KnownCheckpoint(origin=opened.origin, size=opened.size, root=opened.root.hex(), note=note)]


def _described(result: Verified, problems: list[str]) -> dict[str, Any]:
    return {
        "ok": not problems,
        "backups": result.manifests,
        "spans": result.spans,
        "signed": result.signed,
        "sha256": result.sha256,
        "checkpoint_size": result.checkpoint_size,
        "findings": [one.described() for one in result.findings] or problems,
    }


def _summary(result: Verified) -> str:
    sealed = f", the first {result.checkpoint_size:,} as a checkpoint sealed them" if result.checkpoint_size else ""
    return (
        f"{result.manifests} backup{'s' if result.manifests > 1 else ''} with {result.spans:,} spans, {result.signed:,}"
        f" of them signed{sealed}: whole. SHA-256 {result.sha256}"
    )


@click.command()
@folder_argument
@click.option("--with-findings", is_flag=True, help="Load spans that are not what they were, too; list them, exit 1.")
@json_option
def restore(folder: Path, with_findings: bool, as_json: bool) -> None:
    """Restore the backups in FOLDER, the full one and all after it, into the empty database of DATABASE_URL.

    Everything is proved while it is loaded, in one transaction: all of it, or nothing. Then the next era begins.
    """
    if LocalStack().database_url is None:
        raise click.UsageError("a backup is restored into an empty database: set DATABASE_URL to it (docs/backup.md)")
    output, target = Output(as_json), direct_target(None)
    with output.progress("Restoring", "spans") as tell:
        restored = restore_backup(folder, target, tell=tell, with_findings=with_findings)
    found = restored.findings
    if as_json:
        output.json(described_restore(restored))
    for one in found.first:
        output.line(f"{one.file}: {one.reason}", "red")
    if found.count > len(found.first):
        output.line(f"and {found.count - len(found.first):,} more", "red")
    proved = "as they are in the backup" if found.count else "each with its hash"
    output.line(f"{restored.spans:,} spans, {proved}, {restored.signed:,} with their signatures, are back.")
    output.line(f"Era {restored.era} begins: what is appended from now on comes after all of them.")
    if found.count:
        raise CommandFailed(
            f"everything is loaded, and {found.count:,} finding{'s' if found.count > 1 else ''} with it: keep the list,"
            f" run {FSCK}, and go on with docs/runbooks/tampering.md before clients come in"
        )
    output.line(
        "Next: `TRUSTED_ROW_KEYS=KEYS loglineos seed`, with the lost deployment's keys, or none where rows are not"
        f" signed; it should append nothing. Then {FSCK}. Then let clients in."
    )


def described_restore(restored: Restored) -> dict[str, Any]:
    """A restore for scripts. Of more than 10,000 findings the first are listed."""
    return {
        "ok": not restored.findings.count,
        "spans": restored.spans,
        "signed": restored.signed,
        "era": restored.era,
        "taken_at": restored.manifest.model_dump(mode="json")["taken_at"],
        "sha256": restored.sha256,
        "rebuilt": restored.rebuilt,
        "finding_count": restored.findings.count,
        "findings": [one.described() for one in restored.findings.first],
    }
