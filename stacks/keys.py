"""The one customer-managed key under which data, secrets and logs are encrypted."""

from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from stacks.environment import Environment
from stacks.stack import LedgerStack, arn, removal_of


class KeysStack(LedgerStack):
    def __init__(self, scope: Construct, environment: Environment) -> None:
        super().__init__(scope, environment, "keys", "the encryption key")
        self.key = kms.Key(
            self,
            "Key",
            alias=environment.resource("data"),
            description="Data, secrets and logs of LogLineOS",
            enable_key_rotation=True,
            removal_policy=removal_of(environment),
        )
        self._let_logs_encrypt()
        self._let_alarms_publish()

    def _let_logs_encrypt(self) -> None:
        """Of this account's log groups only: the service acts for every account in the region."""
        groups = arn(self, "logs", "log-group", "*")
        self.key.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal(f"logs.{self.region}.amazonaws.com")],
                actions=[
                    "kms:Encrypt",
                    "kms:Decrypt",
                    "kms:ReEncrypt*",
                    "kms:GenerateDataKey*",
                    "kms:DescribeKey",
                ],
                resources=["*"],
                conditions={"ArnLike": {"kms:EncryptionContext:aws:logs:arn": groups}},
            )
        )

    def _let_alarms_publish(self) -> None:
        self.key.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["kms:Decrypt", "kms:GenerateDataKey*"],
                resources=["*"],
                conditions={"StringEquals": {"aws:SourceAccount": self.account}},
            )
        )
