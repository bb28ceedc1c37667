"""Where a log is, and whose key its checkpoints are believed by: what several commands ask in the same words."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from ledger.errors import InvalidInput
from ledger.storage import Storage, storage_at
from loglineos.arguments import read_text
from loglineos.backend import AwsBackend, Backend, InProcessBackend, choose_backend
from loglineos.errors import CommandFailed
from loglineos.local.stack import LocalStack
from tlog.note import NoteKey

LOG = "log"  # within the archive's storage

_LOG_HELP = "The log: a folder, or s3://bucket/prefix.  [default: the environment's]"
log_option = click.option("--log", metavar="LOCATION", help=_LOG_HELP)
# Of what says that a ledger is sound: it never takes a place for granted.
audited_log_option = click.option("--log", metavar="LOCATION", envvar="LOGLINEOS_LOG", help=_LOG_HELP)


def _given(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    if not value and not ctx.resilient_parsing:
        raise click.MissingParameter(
            "It is the log's public key, as `loglineos checkpoint show` prints it, or a file that holds it; or set"
            " LOGLINEOS_LOG_KEY",
            ctx=ctx,
            param=param,
        )
    return value


key_option = click.option(
    "--key",
    "keys",
    multiple=True,
    callback=_given,
    metavar="KEY|FILE",
    envvar="LOGLINEOS_LOG_KEY",
    help="A public key whose checkpoints count (`checkpoint show` prints it). Keep it outside of the ledger.",
)


def archive_storage(backend: Backend | None, location: str | None = None, part: str = "") -> Storage:
    """The storage that was named, or that of the environment's archive; `part` is a folder of the latter.

    Raises:
        Misconfigured, CommandFailed
    """
    if location is not None:
        return storage_at(location)
    if isinstance(backend, AwsBackend):
        return storage_at(f"{backend.output('archive', 'ArchiveLocation')}/{part}", backend.client("s3"))
    if isinstance(backend, InProcessBackend):
        return storage_at(f"{backend.archive_location()}/{part}")
    raise CommandFailed("over HTTPS nobody says where the log is: give --log, or --env instead of --url")


def log_storage(backend: Backend | None, location: str | None = None) -> Storage:
    """The log that was named, or the environment's: one of the two is given."""
    return archive_storage(backend, location, LOG)


def audited_log(location: str | None) -> Storage:
    """The log that was named, or the deployed environment's. A database alone does not say where its log is.

    Raises:
        Misconfigured, CommandFailed, click.UsageError
    """
    if location is not None:
        return storage_at(location)
    stack = LocalStack()
    if stack.database_url is not None and not stack.environment.get("ARCHIVE_LOCATION"):
        raise click.UsageError(
            "DATABASE_URL does not say where the ledger's log is: give it by --log, as `loglineos checkpoint show`"
            " printed it for the deployment"
        )
    return log_storage(choose_backend())


def note_keys(given: Sequence[str]) -> list[NoteKey]:
    """Keys from `--key`: each a verification key, or a file of them."""
    texts = [text for one in given for text in _texts(one)]
    try:
        return [NoteKey.parse(text, "--key") for text in texts]
    except InvalidInput as error:
        raise click.BadParameter(error.details["expected"], param_hint="--key") from None


def _texts(given: str) -> list[str]:
    if os.path.isfile(given):  # noqa: PTH113 - a key may be longer than a path, which pathlib takes for an error
        return read_text(Path(given), "--key").split()
    if "+" not in given:
        raise click.BadParameter(
            f"there is no file {given}, and it is no key: those are as `loglineos checkpoint show` prints them",
            param_hint="--key",
        )
    return [given]
