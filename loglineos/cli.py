"""`loglineos`: the operator's command line.

Exit codes: 0 done; 1 refused or failed, the sentence says why; 2 the command's words are off; 3 the ledger
cannot be reached; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Final

import click

from ledger.errors import LedgerError, LedgerUnavailable
from loglineos import __version__
from loglineos.aws import EmulatorError
from loglineos.local.errors import LocalPostgresError
from stacks.environment import ENVIRONMENTS

FAILED, UNREACHABLE, INTERRUPTED = 1, 3, 130
# Where each command is. Only the one that is asked for is imported: all of them take half a second.
COMMANDS: Final = {
    "append": "ledger_commands:append",
    "archive": "archive_commands:archive",
    "backup": "backup_commands:backup",
    "boot": "ledger_commands:boot",
    "checkpoint": "checkpoint_commands:checkpoint",
    "down": "local_commands:down",
    "drill": "drill_commands:drill",
    "era": "era_commands:era",
    "fsck": "fsck_command:fsck_command",
    "function": "function_commands:function",
    "health": "health.command:health",
    "keys": "key_commands:keys",
    "login": "login_commands:login",
    "logout": "login_commands:logout",
    "migrate": "ledger_commands:migrate",
    "pitr": "recovery_commands:pitr",
    "prove": "proof_commands:prove_command",
    "query": "ledger_commands:query",
    "queue": "queue_commands:queue",
    "restore": "backup_commands:restore",
    "routine": "routine.command:routine",
    "seed": "ledger_commands:seed",
    "snapshot": "recovery_commands:snapshot",
    "status": "local_commands:status",
    "tenant": "tenant_commands:tenant",
    "timeline": "ledger_commands:timeline",
    "up": "local_commands:up",
    "verify": "proof_commands:verify_command",
    "xray": "xray.command:xray",
}


class Commands(click.Group):
    """The commands of COMMANDS, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        """Their names, in order."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name. Raises click.NoSuchCommand, which names those that are alike."""
        if cmd_name not in COMMANDS:
            if ctx.resilient_parsing:
                return None
            raise click.exceptions.NoSuchCommand(cmd_name, possibilities=COMMANDS, ctx=ctx)
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f"loglineos.{module}"), name)
        return command


def _check_url(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if not value:
        return None
    from loglineos.client import checked_url  # slow to import

    try:
        return checked_url(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.group(cls=Commands, epilog="Exit codes: 0 done, 1 refused or failed, 2 usage, 3 the ledger cannot be reached.")
@click.option("--env", type=click.Choice(sorted(ENVIRONMENTS)), help="A deployed environment, by your AWS settings.")
@click.option("--url", callback=_check_url, metavar="URL", help="A ledger's HTTP API, as the device of `login`.")
@click.version_option(package_name=None, version=__version__)
def cli(env: str | None, url: str | None) -> None:
    """LogLineOS: an append-only ledger of signed spans that boots its own code."""
    if env and url:
        raise click.UsageError("--env and --url are two ways to a ledger: give one")


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
    except BrokenPipeError:  # whoever read the output has enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python says so when it ends
        sys.exit(FAILED)
    except OSError as error:  # what no command foresaw: a disk that is full, a file that may not be read
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), FAILED)


def _fail(message: str, code: int) -> None:
    click.echo(f"Error: {message}", err=True)
    sys.exit(code)
