"""The ledger's PostgreSQL: primary, replica where the environment has one, their settings and secrets."""

from collections.abc import Sequence
from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_rds as rds
from constructs import Construct

from stacks.environment import Environment
from stacks.logs import log_group
from stacks.network import NetworkStack
from stacks.secrets import key_secret, sign_in_secret
from stacks.stack import LedgerStack, removal_of

ENGINE = rds.DatabaseInstanceEngine.postgres(version=rds.PostgresEngineVersion.VER_18)
DATABASE = "loglineos"
MASTER = "postgres"
USERS = {
    "lambda_exec": ("LambdaExecSecret", "database-lambda-exec"),
    "readonly": ("ReadonlySecret", "database-readonly"),
}
EXPORTED_LOGS = ["postgresql", "upgrade"]


@dataclass(frozen=True)
class Instance:
    """What a function needs to know of a DB instance."""

    host: str
    port: str
    identifier: str
    resource_id: str | None


class DatabaseStack(LedgerStack):
    def __init__(self, scope: Construct, environment: Environment, network: NetworkStack, key: kms.IKey) -> None:
        super().__init__(scope, environment, "database", "PostgreSQL and its secrets")
        self.environment_settings = environment
        self.key = key
        self._build_secrets(environment)
        primary = self._build_primary(network)
        replica = self._build_replica(network, primary) if environment.read_replica else None
        self.primary = self._described(primary, environment.database_resource_id)
        self.reports = self._described(replica) if replica else self.primary
        self.primary_instance, self.replica_instance = primary, replica
        self._build_outputs()

    def _build_secrets(self, environment: Environment) -> None:
        self.master_secret = sign_in_secret(self, "MasterSecret", environment, self.key, "database-master", MASTER)
        # Where IAM signs in, the users have no password at all.
        users = {} if environment.database_iam else USERS
        self.user_secrets = {
            user: sign_in_secret(self, id, environment, self.key, thing, user) for user, (id, thing) in users.items()
        }
        self.memory_key = key_secret(self, "MemoryKey", environment, self.key, "memory-key", "Encrypts secret memories")
        self.signing_key = (
            key_secret(self, "SigningKey", environment, self.key, "signing-key", "Signs what the loader appends")
            if environment.sign_executions
            else None
        )
        self.checkpoint_key = key_secret(
            self, "CheckpointKey", environment, self.key, "checkpoint-key", "Signs the checkpoints of the ledger's log"
        )

    def _logs_of(self, id: str, identifier: str) -> Sequence[Construct]:
        """RDS writes into these where they exist; where not, it makes its own, kept for ever."""
        return [
            log_group(
                self,
                f"{id}{kind.title()}Logs",
                self.environment_settings,
                self.key,
                f"/aws/rds/instance/{identifier}/{kind}",
            )
            for kind in EXPORTED_LOGS
        ]

    def _parameters(self, id: str) -> rds.ParameterGroup:
        environment = self.environment_settings
        return rds.ParameterGroup(
            self,
            id,
            engine=ENGINE,
            description=f"LogLineOS {environment.name}",
            parameters={
                "rds.force_ssl": "1" if environment.database_tls else "0",
                "max_connections": str(environment.max_connections),
                "log_min_duration_statement": "1000",
                # What RDS loads anyway, said so that `loglineos xray` can rely on it: statements by the time they take.
                "shared_preload_libraries": "pg_stat_statements",
            },
            removal_policy=removal_of(environment),  # a kept instance is a member of it
        )

    def _build_primary(self, network: NetworkStack) -> rds.DatabaseInstance:
        environment = self.environment_settings
        logs = self._logs_of("Primary", environment.database_identifier)
        instance = rds.DatabaseInstance(
            self,
            "Primary",
            instance_identifier=environment.database_identifier,
            engine=ENGINE,
            instance_type=_instance_type(environment),
            database_name=DATABASE,
            credentials=rds.Credentials.from_secret(self.master_secret, MASTER),
            vpc=network.vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED),
            security_groups=[network.database_group],
            parameter_group=self._parameters("Parameters"),
            multi_az=environment.multi_az,
            allocated_storage=environment.storage_gb,
            max_allocated_storage=environment.storage_limit_gb,
            storage_type=rds.StorageType.GP3,
            storage_encrypted=True,
            storage_encryption_key=self.key,
            backup_retention=cdk.Duration.days(environment.backup_days),
            preferred_backup_window="03:00-05:00",
            preferred_maintenance_window="sun:05:30-sun:06:30",
            delete_automated_backups=not environment.protect_data,
            copy_tags_to_snapshot=True,
            iam_authentication=environment.database_iam,
            ca_certificate=rds.CaCertificate.RDS_CA_RSA2048_G1,
            auto_minor_version_upgrade=True,
            enable_performance_insights=True,
            performance_insight_encryption_key=self.key,
            monitoring_interval=cdk.Duration.minutes(1),
            cloudwatch_logs_exports=EXPORTED_LOGS,
            deletion_protection=environment.protect_data,
            removal_policy=removal_of(environment),
        )
        instance.node.add_dependency(*logs)
        return instance

    def _build_replica(self, network: NetworkStack, primary: rds.DatabaseInstance) -> rds.DatabaseInstanceReadReplica:
        environment = self.environment_settings
        identifier = environment.resource("read-replica")
        logs = self._logs_of("Replica", identifier)
        replica = rds.DatabaseInstanceReadReplica(
            self,
            "Replica",
            instance_identifier=identifier,
            source_database_instance=primary,
            instance_type=_instance_type(environment),
            vpc=network.vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED),
            security_groups=[network.database_group],
            parameter_group=self._parameters("ReplicaParameters"),
            max_allocated_storage=environment.storage_limit_gb,
            storage_type=rds.StorageType.GP3,
            copy_tags_to_snapshot=True,
            iam_authentication=environment.database_iam,
            ca_certificate=rds.CaCertificate.RDS_CA_RSA2048_G1,
            auto_minor_version_upgrade=True,
            enable_performance_insights=True,
            performance_insight_encryption_key=self.key,
            monitoring_interval=cdk.Duration.minutes(1),
            cloudwatch_logs_exports=EXPORTED_LOGS,
            deletion_protection=environment.protect_data,
            removal_policy=removal_of(environment),
        )
        replica.node.add_dependency(*logs)
        return replica

    def _described(
        self, instance: rds.DatabaseInstance | rds.DatabaseInstanceReadReplica, restored_id: str = ""
    ) -> Instance:
        # CloudFormation reads the id of an instance when it makes or changes it. One that took the name of another
        # has its own, which has to be told; nor would an exported id change while other stacks use it.
        return Instance(
            host=instance.db_instance_endpoint_address,
            port=instance.db_instance_endpoint_port,
            identifier=instance.instance_identifier,
            resource_id=(restored_id or instance.instance_resource_id)
            if self.environment_settings.database_iam
            else None,
        )

    def _build_outputs(self) -> None:
        cdk.CfnOutput(self, "DatabaseIdentifier", value=self.primary.identifier)
        cdk.CfnOutput(self, "DatabaseHost", value=self.primary.host)
        cdk.CfnOutput(self, "QueryHost", value=self.reports.host)
        cdk.CfnOutput(self, "MasterSecretArn", value=self.master_secret.secret_arn)


def _instance_type(environment: Environment) -> ec2.InstanceType:
    return ec2.InstanceType(environment.instance_class.removeprefix("db."))
