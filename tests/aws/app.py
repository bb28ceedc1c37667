"""A small CDK app with one of each: what a stack of LogLineOS consists of, without its code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_rds as rds
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import Construct

HERE = Path(__file__).parent
REGION = "us-east-2"
ENVIRONMENT = cdk.Environment(account="123456789012", region=REGION)


RETENTION = {7: logs.RetentionDays.ONE_WEEK, 30: logs.RetentionDays.ONE_MONTH}


@dataclass(frozen=True)
class Variant:
    """What differs between the deployments of the tests."""

    version: str = "1"
    fail: str = ""
    identity: str = "ledger"
    silent: bool = False
    storage: int = 20
    protected: bool = False
    retained: bool = False
    setting: str = "first"
    threshold: int = 10
    retention_days: int = 7
    unknown: bool = False
    queue: bool = True


class DataStack(cdk.Stack):
    def __init__(self, scope: Construct, variant: Variant) -> None:
        super().__init__(scope, "Data", env=ENVIRONMENT)
        self.vpc = ec2.Vpc(
            self,
            "Vpc",
            availability_zones=["us-east-2a", "us-east-2b"],
            nat_gateways=1,
            restrict_default_security_group=False,
        )
        self.group = ec2.SecurityGroup(self, "Functions", vpc=self.vpc, allow_all_outbound=False)
        self.instance = rds.DatabaseInstance(
            self,
            "Instance",
            instance_identifier="rehearsal-db",
            engine=rds.DatabaseInstanceEngine.postgres(version=rds.PostgresEngineVersion.VER_18),
            instance_type=ec2.InstanceType("t4g.micro"),
            database_name="rehearsal",
            credentials=rds.Credentials.from_generated_secret("postgres"),
            vpc=self.vpc,
            allocated_storage=variant.storage,
            max_allocated_storage=100,
            backup_retention=cdk.Duration.days(7),
            preferred_backup_window="03:00-05:00",
            preferred_maintenance_window="sun:05:30-sun:06:30",
            enable_performance_insights=True,
            cloudwatch_logs_exports=["postgresql"],
            deletion_protection=variant.protected,
            removal_policy=cdk.RemovalPolicy.RETAIN if variant.retained else cdk.RemovalPolicy.DESTROY,
            parameters={"rds.force_ssl": "1", "max_connections": "100"},
        )
        self.instance.connections.allow_default_port_from(self.group)
        if variant.unknown:
            cdk.CfnResource(self, "Mystery", type="AWS::Nonsense::Thing", properties={"Name": "x"})


class FunctionStack(cdk.Stack):
    def __init__(self, scope: Construct, variant: Variant, data: DataStack, driver_folder: Path) -> None:
        super().__init__(scope, "Functions", env=ENVIRONMENT)
        layer = lambda_.LayerVersion(self, "Layer", code=lambda_.Code.from_asset(str(HERE / "layer")))
        driver = lambda_.LayerVersion(self, "Driver", code=lambda_.Code.from_asset(str(driver_folder)))
        self.letters = sqs.Queue(self, "Letters") if variant.queue else None
        self.worker = self._function("worker", [layer], {"SETTING": variant.setting}, data)
        secret = data.instance.secret
        assert secret is not None
        self.deployer = self._function("deployer", [driver], {"DATABASE_SECRET": secret.secret_arn}, data)
        secret.grant_read(self.deployer)
        properties = {"Version": variant.version, "Fail": variant.fail, "Identity": variant.identity}
        if variant.silent:
            properties["Silent"] = "true"
        resource = cdk.CustomResource(
            self,
            "Deployment",
            service_token=self.deployer.function_arn,
            service_timeout=cdk.Duration.seconds(3 if variant.silent else 60),
            properties=properties,
        )
        cdk.CfnOutput(self, "Superuser", value=resource.get_att_string("Superuser"))
        cdk.CfnOutput(self, "DeployedVersion", value=resource.get_att_string("Version"), export_name="deployed-version")
        self._around(variant)

    def _function(
        self, name: str, layers: list[lambda_.LayerVersion], variables: dict[str, str], data: DataStack
    ) -> lambda_.Function:
        return lambda_.Function(
            self,
            name.title(),
            function_name=f"rehearsal-{name}",
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.ARM_64,
            handler="index.handler",
            code=lambda_.Code.from_asset(str(HERE / "functions" / name)),
            layers=layers,
            environment=variables,
            timeout=cdk.Duration.seconds(3 if name == "worker" else 30),
            memory_size=256,
            reserved_concurrent_executions=2 if name == "worker" else None,
            tracing=lambda_.Tracing.ACTIVE,
            dead_letter_queue=self.letters if name == "worker" else None,
            retry_attempts=0,
            vpc=data.vpc,
            security_groups=[data.group],
            log_group=logs.LogGroup(
                self,
                f"{name.title()}Logs",
                log_group_name=f"/aws/lambda/rehearsal-{name}",
                removal_policy=cdk.RemovalPolicy.DESTROY,
            ),
        )

    def _around(self, variant: Variant) -> None:
        errors = self.worker.metric_errors(period=cdk.Duration.minutes(1), statistic="Sum")
        cloudwatch.Alarm(
            self,
            "Errors",
            alarm_name="rehearsal-errors",
            metric=errors,
            threshold=variant.threshold,
            evaluation_periods=1,
        )
        s3.Bucket(
            self,
            "Bucket",
            bucket_name="rehearsal-archive",
            versioned=True,
            enforce_ssl=True,
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            removal_policy=cdk.RemovalPolicy.DESTROY,
            lifecycle_rules=[
                s3.LifecycleRule(
                    prefix="spans/",
                    transitions=[
                        s3.Transition(
                            storage_class=s3.StorageClass.GLACIER_INSTANT_RETRIEVAL,
                            transition_after=cdk.Duration.days(90),
                        )
                    ],
                )
            ],
        )
        logs.LogGroup(
            self,
            "Own",
            log_group_name="rehearsal",
            retention=RETENTION[variant.retention_days],
            removal_policy=cdk.RemovalPolicy.DESTROY,
        )
        events.Rule(
            self,
            "EveryMinute",
            rule_name="rehearsal-minute",
            schedule=events.Schedule.rate(cdk.Duration.minutes(1)),
            targets=[
                targets.LambdaFunction(
                    self.worker, event=events.RuleTargetInput.from_object({"do": "echo", "name": "schedule"})
                )
            ],
        )


def synthesize(directory: Path, driver: Path, variant: Variant) -> Path:
    """The cloud assembly of a variant, made in this process: the CLI then needs no app to run."""
    app = cdk.App(
        outdir=str(directory),
        analytics_reporting=False,
        builtin_cloud_formation_validation=False,
        context={"@aws-cdk/core:defaultCrossStackReferences": "strong"},
    )
    FunctionStack(app, variant, DataStack(app, variant), driver)
    app.synth()
    return directory
