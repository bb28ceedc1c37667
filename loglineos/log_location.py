"""Where a log is, and whose key its checkpoints are believed by: what several commands ask in the same words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ledger.errors import InvalidInput
from ledger.storage import Storage, storage_at
from loglineos.arguments import read_text
from loglineos.backend import AwsBackend, Backend
from loglineos.local.stack import LocalStack
from tlog.note import NoteKey

LOG = "log"  # within the archive's storage

log_option = click.option(
    "--log", metavar="LOCATION", help="The log: a folder, or s3://bucket/prefix.  [default: the environment's]"
)
key_option = click.option(
    "--key",
    "keys",
    multiple=True,
    required=True,
    metavar="KEY|FILE",
    envvar="LOGLINEOS_LOG_KEY",
    help="A public key whose checkpoints count (`checkpoint show` prints it). Keep it outside of the ledger.",
)


def archive_storage(backend: Backend, location: str | None = None, part: str = "") -> Storage:
    """The storage that was named, or that of the environment's archive; `part` is a folder of the latter.

    Raises:
        Misconfigured, CommandFailed
    """
    if location is not None:
        return storage_at(location)
    if isinstance(backend, AwsBackend):
        return storage_at(f"{backend.output('archive', 'ArchiveLocation')}/{part}", backend.client("s3"))
    return storage_at(f"{LocalStack().migration_environment()['ARCHIVE_LOCATION']}/{part}")


def log_storage(backend: Backend, location: str | None = None) -> Storage:
    """The log that was named, or the environment's."""
    return archive_storage(backend, location, LOG)


def note_keys(given: Sequence[str]) -> list[NoteKey]:
    """Keys from `--key`: each a verification key, or a file of them."""
    texts = [
        text
        for one in given
        for text in (read_text(Path(one), "--key").split() if Path(one).is_file() else [one])
    ]  # fmt: skip
    try:
        return [NoteKey.parse(text, "--key") for text in texts]
    except InvalidInput as error:
        raise click.BadParameter(error.details["expected"], param_hint="--key") from None
