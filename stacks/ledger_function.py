"""A function of the ledger, with what each one has of its own: role, log group, dead-letter queue."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from stacks.bundling import DEPENDENCIES, Layer, layer_asset
from stacks.environment import Environment
from stacks.logs import log_group
from stacks.network import NetworkStack
from stacks.stack import arn

# ENIs belong to no ARN that is known beforehand, so AWS asks for these on all of them.
NETWORK_ACTIONS = [
    "ec2:CreateNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
]


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Where a function runs."""

    environment: Environment
    network: NetworkStack
    key: kms.IKey
    layer: lambda_.ILayerVersion


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a function is: the manual's figures, and what its role may do beyond running."""

    thing: str
    role_thing: str
    handler: str
    code: lambda_.Code
    description: str
    timeout_seconds: int
    memory_mb: int
    concurrency: int
    variables: Mapping[str, str]
    statements: list[iam.PolicyStatement] = field(default_factory=list)
    retries: int | None = None
    layers: list[lambda_.ILayerVersion] = field(default_factory=list)  # besides the one that all have


class LedgerFunction(Construct):
    def __init__(self, scope: Construct, id: str, around: Surroundings, settings: Settings) -> None:
        super().__init__(scope, id)
        environment = around.environment
        name = environment.resource(settings.thing)
        self.logs = log_group(self, "Logs", environment, around.key, f"/aws/lambda/{name}")
        self.dead_letters = dead_letter_queue(self, "DeadLetters", f"{name}-dead-letters")
        self.role = self._build_role(environment.resource(settings.role_thing), name, settings.statements)
        self.function = lambda_.Function(
            self,
            "Function",
            function_name=name,
            description=settings.description,
            runtime=lambda_.Runtime(f"python{environment.python_version}", lambda_.RuntimeFamily.PYTHON),
            architecture=lambda_.Architecture.custom(environment.architecture),
            code=settings.code,
            handler=settings.handler,
            layers=[around.layer, *settings.layers],
            timeout=cdk.Duration.seconds(settings.timeout_seconds),
            memory_size=settings.memory_mb,
            reserved_concurrent_executions=settings.concurrency,
            role=self.role.without_policy_updates(),
            environment={
                "LOG_LEVEL": environment.log_level,
                "POWERTOOLS_SERVICE_NAME": name,
                **settings.variables,
            },
            log_group=self.logs,
            tracing=lambda_.Tracing.ACTIVE,
            dead_letter_queue=self.dead_letters,
            retry_attempts=settings.retries,
            vpc=around.network.vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS),
            security_groups=[around.network.function_group],
        )

    def _build_role(self, role_name: str, function_name: str, statements: list[iam.PolicyStatement]) -> iam.Role:
        own_arn = arn(cdk.Stack.of(self), "lambda", "function", function_name)
        document = iam.PolicyDocument(
            statements=[
                iam.PolicyStatement(
                    sid="WriteOwnLogs",
                    actions=["logs:CreateLogStream", "logs:PutLogEvents"],
                    resources=[self.logs.log_group_arn],
                ),
                iam.PolicyStatement(sid="JoinTheNetwork", actions=NETWORK_ACTIONS, resources=["*"]),
                iam.PolicyStatement(
                    sid="NotFromItsOwnCode",
                    effect=iam.Effect.DENY,
                    actions=NETWORK_ACTIONS,
                    resources=["*"],
                    conditions={"ArnEquals": {"lambda:SourceFunctionArn": own_arn}},
                ),
                iam.PolicyStatement(
                    sid="Trace",
                    actions=["xray:PutTraceSegments", "xray:PutTelemetryRecords"],
                    resources=["*"],
                ),
                iam.PolicyStatement(
                    sid="LeaveDeadLetters",
                    actions=["sqs:SendMessage"],
                    resources=[self.dead_letters.queue_arn],
                ),
                *statements,
            ]
        )
        return iam.Role(
            self,
            "Role",
            role_name=role_name,
            description=f"What {function_name} may do",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            inline_policies={"function": document},
        )


def dead_letter_queue(scope: Construct, id: str, name: str) -> sqs.Queue:
    return sqs.Queue(
        scope,
        id,
        queue_name=name,
        encryption=sqs.QueueEncryption.SQS_MANAGED,
        enforce_ssl=True,
        retention_period=cdk.Duration.days(14),
    )


def dependency_layer(scope: Construct, environment: Environment, layer: Layer = DEPENDENCIES) -> lambda_.LayerVersion:
    """Of the same zip in each stack: an exported layer could not change while another stack imports it."""
    thing = "dependencies" if layer is DEPENDENCIES else layer.name.replace(" ", "-")
    return lambda_.LayerVersion(
        scope,
        "Dependencies" if layer is DEPENDENCIES else layer.name.title().replace(" ", ""),
        layer_version_name=environment.resource(thing),
        description=f"What {layer.requirements} pins",
        code=layer_asset(environment, layer),
        compatible_architectures=[lambda_.Architecture.custom(environment.architecture)],
    )
