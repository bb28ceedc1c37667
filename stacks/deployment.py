"""Migrate, then seed, on every deploy: before the functions change, so a failure leaves them as they were."""

import aws_cdk as cdk
from constructs import Construct

from stacks.bundling import ARCHIVE, DATABASE_PARTS, code_asset, content_hash, sources_of
from stacks.database_functions import Ledger, migration_statements, migration_variables
from stacks.environment import Environment
from stacks.ledger_function import LedgerFunction, Settings, Surroundings, dependency_layer
from stacks.network import NetworkStack
from stacks.sign_in import may_read_secrets
from stacks.stack import LedgerStack

TIMEOUT_SECONDS = 15 * 60
ANSWER_SECONDS = TIMEOUT_SECONDS + 60  # a function that died cannot answer: don't wait CloudFormation's hour


class DeploymentStack(LedgerStack):
    def __init__(
        self,
        scope: Construct,
        environment: Environment,
        network: NetworkStack,
        ledger: Ledger,
        deployment_id: str,
    ) -> None:
        super().__init__(scope, environment, "deployment", "migrations and rows, on every deploy")
        layer = dependency_layer(self, environment)
        around = Surroundings(environment=environment, network=network, key=ledger.database.key, layer=layer)
        self.deploy = LedgerFunction(self, "Deploy", around, self._settings(environment, ledger))
        resource = cdk.CustomResource(
            self,
            "LedgerDeployment",
            resource_type="Custom::LedgerDeployment",
            service_token=self.deploy.function.function_arn,
            service_timeout=cdk.Duration.seconds(ANSWER_SECONDS),
            properties={
                "DeploymentId": deployment_id,
                "ContentHash": content_hash(sources_of({"migrations": "migrations", "row": "row"})),
            },
        )
        resource.node.add_dependency(self.deploy)
        if environment.require_signed_rows and not environment.trusted_row_keys:
            cdk.Annotations.of(self).add_warning_v2(
                "loglineos:trustedRowKeys",
                "rows are seeded only when a trusted key signed them: give -c trusted_row_keys=<hex>,<hex>",
            )
        cdk.CfnOutput(self, "DeployFunctionName", value=self.deploy.function.function_name)

    def _settings(self, environment: Environment, ledger: Ledger) -> Settings:
        return Settings(
            thing="db-deploy",
            role_thing="db-deploy-role",
            handler="db_migration.deploy.handler",
            code=code_asset("db-migration", DATABASE_PARTS),
            description="Migrates and seeds on every deploy; seals checkpoints; archives every month",
            timeout_seconds=TIMEOUT_SECONDS,
            memory_mb=1769,  # one whole processor: the archive hashes every span, twice
            # A deployment must not wait for archive and notary, nor for the notary that finds another one at work.
            concurrency=4,
            # CloudFormation has had its answer, or given up: a second try would run after the rollback.
            retries=0,
            variables={
                **migration_variables(environment, ledger),
                "CHECKPOINT_KEY_SECRET": ledger.database.checkpoint_key.secret_arn,
            },
            layers=[dependency_layer(self, environment, ARCHIVE)],
            statements=[
                *migration_statements(self, ledger),
                *may_read_secrets(self, ledger.database, ledger.database.checkpoint_key.secret_arn),
                # The notary's and the archive's alone: what people invoke, db-migration, writes to no bucket.
                *ledger.archive.writer_statements(ledger.database.key),
            ],
        )
