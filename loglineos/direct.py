"""A connection to the database itself, for what reads or writes all of it: fsck, backup, restore."""

from __future__ import annotations

import json
from urllib.parse import quote

import click

from ledger.connection import Target
from loglineos.backend import AwsBackend, choose_backend
from loglineos.errors import CommandFailed
from loglineos.local.stack import LocalStack

MASTER = "loglineos-database-master"
_SECRETS = {None: MASTER, "readonly": "loglineos-database-readonly"}


def direct_target(role: str | None) -> Target:
    """The database of DATABASE_URL, or of the local stack, as `readonly`, or as the login that migrates (None).

    Raises:
        CommandFailed: a deployed environment's database is reached from within its network only.
    """
    given = click.get_current_context().find_root().params
    stack = LocalStack()
    if stack.database_url is not None:
        return Target(role=role, url=stack.database_url)
    if given.get("env") or given.get("url"):
        raise CommandFailed(
            "this command reads the database itself, which is reached from within its network only: open a tunnel to"
            " it, set DATABASE_URL to its local end, and leave --env and --url away (docs/deploy.md, Connecting to the"
            " database)"
        )
    backend = choose_backend()
    server = stack.postgres.running()
    if not isinstance(backend, AwsBackend) or server is None:
        raise CommandFailed(
            "this command reads the database itself: set DATABASE_URL, or start one with `loglineos up`"
        )
    secret = json.loads(backend.client("secretsmanager").get_secret_value(SecretId=_SECRETS[role])["SecretString"])
    user, password = quote(secret["username"], safe=""), quote(secret["password"], safe="")
    return Target(role=role, url=f"postgresql://{user}:{password}@{server.host}:{server.port}/loglineos")
