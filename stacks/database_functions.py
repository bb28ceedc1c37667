"""What db-migration and db-deploy share: one zip, one set of variables, one set of permissions."""

from dataclasses import dataclass

from aws_cdk import Stack
from aws_cdk import aws_iam as iam

from stacks.archive import ArchiveStack
from stacks.database import DatabaseStack
from stacks.environment import Environment
from stacks.sign_in import may_read_secrets, may_sign_in, variables


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """What is there before any function."""

    database: DatabaseStack
    archive: ArchiveStack


def migration_variables(environment: Environment, ledger: Ledger) -> dict[str, str]:
    """Migrating signs in as the master; queries as `readonly`, on the replica where there is one."""
    secrets = {
        f"{user.upper()}_SECRET": secret.secret_arn for user, secret in ledger.database.user_secrets.items()
    }
    return {
        **variables(environment, ledger.database),
        "DATABASE_SECRET": ledger.database.master_secret.secret_arn,
        "READONLY_USER": "readonly",
        "QUERY_HOST": ledger.database.reports.host,
        "REQUIRE_SIGNED_ROWS": "1" if environment.require_signed_rows else "0",
        "ARCHIVE_BUCKET": ledger.archive.bucket.bucket_name,
        **secrets,
    }


def migration_statements(scope: Stack, ledger: Ledger) -> list[iam.PolicyStatement]:
    database = ledger.database
    return [
        *may_read_secrets(scope, database, database.master_secret.secret_arn),
        *may_sign_in(scope, database, "readonly", database.primary, database.reports),
        *may_sign_in(scope, database, "lambda_exec", database.primary),
        *ledger.archive.writer_statements(database.key),
    ]
