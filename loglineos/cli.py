"""`loglineos`: the operator's command line.

Exit codes: 0 done; 1 refused or failed, the sentence says why; 2 the command's words are off; 3 the ledger
cannot be reached; 130 interrupted.
"""

from __future__ import annotations

import sys

import click

from ledger.errors import LedgerError, LedgerUnavailable
from loglineos import __version__
from loglineos.archive_commands import archive
from loglineos.aws import EmulatorError
from loglineos.backup_commands import backup, restore
from loglineos.checkpoint_commands import checkpoint
from loglineos.drill_commands import drill
from loglineos.era_commands import era
from loglineos.fsck_command import fsck_command
from loglineos.function_commands import function
from loglineos.health.command import health
from loglineos.key_commands import keys
from loglineos.ledger_commands import append, boot, migrate, query, seed, timeline
from loglineos.local.postgres import LocalPostgresError
from loglineos.local_commands import down, status, up
from loglineos.login_commands import check_url, login, logout
from loglineos.proof_commands import prove_command, verify_command
from loglineos.queue_commands import queue
from loglineos.recovery_commands import pitr, snapshot
from loglineos.routine.command import routine
from loglineos.tenant_commands import tenant
from loglineos.xray.command import xray
from stacks.environment import ENVIRONMENTS

FAILED, UNREACHABLE, INTERRUPTED = 1, 3, 130


@click.group(epilog="Exit codes: 0 done, 1 refused or failed, 2 usage, 3 the ledger cannot be reached.")
@click.option("--env", type=click.Choice(sorted(ENVIRONMENTS)), help="A deployed environment, by your AWS settings.")
@click.option("--url", callback=check_url, metavar="URL", help="A ledger's HTTP API, as the device of `login`.")
@click.version_option(package_name=None, version=__version__)
def cli(env: str | None, url: str | None) -> None:
    """LogLineOS: an append-only ledger of signed spans that boots its own code."""
    if env and url:
        raise click.UsageError("--env and --url are two ways to a ledger: give one")


for _command in (
    up,
    down,
    status,
    migrate,
    seed,
    query,
    boot,
    append,
    timeline,
    health,
    xray,
    routine,
    queue,
    keys,
    archive,
    function,
    login,
    logout,
    checkpoint,
    prove_command,
    verify_command,
    fsck_command,
    backup,
    restore,
    snapshot,
    pitr,
    drill,
    era,
    tenant,
):
    cli.add_command(_command)


def main() -> None:
    """The entry point: every error is one readable line on standard error."""
    try:
        code = cli.main(standalone_mode=False)  # of a command that ended by click's Exit: not raised, but answered
        if isinstance(code, int) and code:
            sys.exit(code)
    except click.exceptions.Abort:
        sys.exit(INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except LedgerUnavailable as error:
        _fail(f"Ledger unavailable. Is it up? `loglineos status` tells. {error.reason}".strip(), UNREACHABLE)
    except (LocalPostgresError, EmulatorError) as error:
        _fail(str(error), UNREACHABLE)
    except LedgerError as error:
        _fail(error.message, FAILED)


def _fail(message: str, code: int) -> None:
    click.echo(f"Error: {message}", err=True)
    sys.exit(code)
