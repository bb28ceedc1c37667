"""What db-migration and db-deploy share: one zip, one set of variables, one set of permissions."""

from dataclasses import dataclass

from aws_cdk import Stack
from aws_cdk import aws_iam as iam

from stacks.archive import ArchiveStack
from stacks.database import DatabaseStack
from stacks.environment import Environment
from stacks.sign_in import may_read_secrets, may_sign_in, sign_in, variables


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """What is there before any function."""

    database: DatabaseStack
    archive: ArchiveStack


def migration_variables(environment: Environment, ledger: Ledger) -> dict[str, str]:
    """Migrations sign in as the master, by secret; queries as `readonly`, on the replica if there is one.

    What is sealed is read as `readonly` on the primary.
    """
    database = ledger.database
    return {
        **variables(environment, database),
        "DATABASE_AUTH": "secret",
        "DATABASE_SECRET": database.master_secret.secret_arn,
        "READONLY_DATABASE_HOST": database.reports.host,
        **_signing_in_as("readonly", environment, ledger),
        **_signing_in_as("lambda_exec", environment, ledger),
        "REQUIRE_SIGNED_ROWS": "1" if environment.require_signed_rows else "0",
        "ARCHIVE_LOCATION": ledger.archive.location,
        "LOG_ORIGIN": environment.log_origin,
    }


def _signing_in_as(user: str, environment: Environment, ledger: Ledger) -> dict[str, str]:
    prefix, secrets = user.upper(), ledger.database.user_secrets
    password = {f"{prefix}_DATABASE_SECRET": secrets[user].secret_arn} if user in secrets else {}
    return {f"{prefix}_DATABASE_AUTH": sign_in(environment), **password}


def migration_statements(scope: Stack, ledger: Ledger) -> list[iam.PolicyStatement]:
    database = ledger.database
    return [
        *may_read_secrets(scope, database, database.master_secret.secret_arn),
        *may_sign_in(scope, database, "readonly", database.primary, database.reports),
        *may_sign_in(scope, database, "lambda_exec", database.primary),
    ]
