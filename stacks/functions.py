"""The two functions of the manual: the loader, which runs kernels, and db-migration, which people call."""

import json

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import Construct

from stacks.bundling import DATABASE_PARTS, LOADER_PARTS, code_asset
from stacks.database import DatabaseStack
from stacks.database_functions import Ledger, migration_statements, migration_variables
from stacks.environment import Environment
from stacks.ledger_function import LedgerFunction, Settings, Surroundings, dependency_layer
from stacks.network import NetworkStack
from stacks.rows import newest_seqs
from stacks.sign_in import may_read_secrets, may_sign_in, variables
from stacks.stack import LedgerStack, alarm_topic, arn

# The `aud` of a device's tokens. One for all environments: a device is enrolled in one ledger, known to no other.
TOKEN_AUDIENCE = "loglineos"  # noqa: S105 - a name that clients say, no secret


class FunctionsStack(LedgerStack):
    def __init__(self, scope: Construct, environment: Environment, network: NetworkStack, ledger: Ledger) -> None:
        super().__init__(scope, environment, "functions", "stage0-loader and db-migration")
        self.environment_settings = environment
        layer = dependency_layer(self, environment)
        around = Surroundings(environment=environment, network=network, key=ledger.database.key, layer=layer)
        self.loader = LedgerFunction(self, "Loader", around, self._loader(ledger))
        self.migration = LedgerFunction(self, "Migration", around, self._migration(ledger))
        cdk.CfnOutput(self, "LoaderFunctionName", value=self.loader.function.function_name)
        cdk.CfnOutput(self, "MigrationFunctionName", value=self.migration.function.function_name)

    def _loader(self, ledger: Ledger) -> Settings:
        environment, database = self.environment_settings, ledger.database
        signing = {"SIGNING_KEY_SECRET": database.signing_key.secret_arn} if database.signing_key else {}
        passwords = {user: secret.secret_arn for user, secret in database.user_secrets.items()}
        password = {"DATABASE_SECRET": passwords["lambda_exec"]} if passwords else {}
        return Settings(
            thing="stage0-loader",
            role_thing="lambda-role",
            handler="stage0_loader.handler.handler",
            code=code_asset("stage0-loader", LOADER_PARTS),
            description="Loads kernels from the ledger, verifies and runs them",
            timeout_seconds=30,
            memory_mb=512,
            concurrency=environment.loader_concurrency,
            variables={
                **variables(environment, database),
                "DATABASE_USER": "lambda_exec",
                "SANDBOX_SECCOMP": "required" if environment.require_seccomp else "preferred",
                "MINIMUM_SEQS": json.dumps(newest_seqs(), separators=(",", ":")),
                "MEMORY_KEY_SECRET": database.memory_key.secret_arn,
                **self._provider_secrets(),
                "ALARM_TOPIC_ARN": alarm_topic(self, environment),
                "METRICS_NAMESPACE": environment.resource("ledger"),
                "TOKEN_AUDIENCE": TOKEN_AUDIENCE,
                "CORS_ORIGINS": ",".join(environment.cors_origins),
                **signing,
                **password,
            },
            statements=[
                *may_sign_in(self, database, "lambda_exec", database.primary),
                *may_read_secrets(self, database, *self._own_secrets(database)),
                *self._may_tell_operators(database),
            ],
        )

    def _may_tell_operators(self, database: DatabaseStack) -> list[iam.PolicyStatement]:
        """What policies report goes to the alarms' topic, which is encrypted under the ledger's key."""
        return [
            iam.PolicyStatement(actions=["sns:Publish"], resources=[alarm_topic(self, self.environment_settings)]),
            iam.PolicyStatement(
                actions=["kms:Decrypt", "kms:GenerateDataKey"],
                resources=[database.key.key_arn],
                conditions={"StringEquals": {"kms:ViaService": f"sns.{self.region}.amazonaws.com"}},
            ),
        ]

    def _own_secrets(self, database: DatabaseStack) -> list[str]:
        """Its keys, and what provider spans name: made by hand, so known by name and AWS's six characters."""
        keys = [secret.secret_arn for secret in (database.memory_key, database.signing_key) if secret]
        names = self.environment_settings.provider_secrets
        providers = [arn(self, "secretsmanager", "secret", f"{name}-??????") for name in names]
        return keys + providers

    def _provider_secrets(self) -> dict[str, str]:
        """`loglineos-openai` as LOGLINEOS_OPENAI_SECRET, which is where the loader looks for it."""
        names = self.environment_settings.provider_secrets
        return {name.upper().replace("-", "_") + "_SECRET": name for name in names}

    def _migration(self, ledger: Ledger) -> Settings:
        return Settings(
            thing="db-migration",
            role_thing="db-migration-role",
            handler="db_migration.handler.handler",
            code=code_asset("db-migration", DATABASE_PARTS),
            description="Migrates, seeds and queries",
            timeout_seconds=60,
            memory_mb=256,
            concurrency=5,
            variables=migration_variables(self.environment_settings, ledger),
            statements=migration_statements(self, ledger),
        )
