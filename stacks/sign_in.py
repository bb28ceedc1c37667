"""How functions reach the database: the variables that they read and the permissions that go with them."""

from aws_cdk import Stack
from aws_cdk import aws_iam as iam

from stacks.database import DATABASE, DatabaseStack, Instance
from stacks.environment import Environment
from stacks.stack import arn

CERTIFICATES = "/var/task/certs/rds-ca.pem"  # where Lambda unpacks the zip


def variables(environment: Environment, database: DatabaseStack) -> dict[str, str]:
    return {
        "DATABASE_HOST": database.primary.host,
        "DATABASE_PORT": database.primary.port,
        "DATABASE_NAME": DATABASE,
        "DATABASE_CA": CERTIFICATES,
        "DATABASE_SSLMODE": "verify-full" if environment.database_tls else "disable",
        "DATABASE_AUTH": sign_in(environment),
        "TRUSTED_ROW_KEYS": ",".join(environment.trusted_row_keys),
    }


def sign_in(environment: Environment) -> str:
    return "iam" if environment.database_iam else "secret"


def may_sign_in(scope: Stack, database: DatabaseStack, user: str, *instances: Instance) -> list[iam.PolicyStatement]:
    """By token where the environment has IAM sign-in, else by the user's own secret."""
    if user in database.user_secrets:
        return may_read_secrets(scope, database, database.user_secrets[user].secret_arn)
    resources = [arn(scope, "rds-db", "dbuser", f"{instance.resource_id}/{user}") for instance in instances]
    return [iam.PolicyStatement(actions=["rds-db:connect"], resources=list(dict.fromkeys(resources)))]


def may_read_secrets(scope: Stack, database: DatabaseStack, *arns: str) -> list[iam.PolicyStatement]:
    return [
        iam.PolicyStatement(actions=["secretsmanager:GetSecretValue"], resources=list(arns)),
        iam.PolicyStatement(
            actions=["kms:Decrypt"],
            resources=[database.key.key_arn],
            conditions={"StringEquals": {"kms:ViaService": f"secretsmanager.{scope.region}.amazonaws.com"}},
        ),
    ]
