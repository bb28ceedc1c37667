"""A new master password every so often, by AWS's own function; apart, so it cannot roll back the data."""

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from stacks.database import DatabaseStack
from stacks.environment import Environment
from stacks.network import NetworkStack
from stacks.stack import LedgerStack


class RotationStack(LedgerStack):
    def __init__(
        self, scope: Construct, environment: Environment, network: NetworkStack, database: DatabaseStack
    ) -> None:
        super().__init__(scope, environment, "rotation", "rotation of the master password")
        secretsmanager.RotationSchedule(
            self,
            "Master",
            secret=database.master_secret,
            automatically_after=cdk.Duration.days(environment.rotate_master_days),
            rotate_immediately_on_update=False,
            # In the functions' group: the only way to 5432 stays the only one.
            hosted_rotation=secretsmanager.HostedRotation.postgre_sql_single_user(
                function_name=environment.resource("master-rotation"),
                vpc=network.vpc,
                vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS),
                security_groups=[network.function_group],
            ),
        )
