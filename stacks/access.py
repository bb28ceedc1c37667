"""Who may do what from outside: the administrator's policy, and the role by which CI deploys."""

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import Construct

from stacks.environment import Environment
from stacks.stack import LedgerStack

GITHUB = "token.actions.githubusercontent.com"
BOOTSTRAP_ROLES = ("deploy-role", "file-publishing-role", "lookup-role")  # of `cdk bootstrap`


class AccessStack(LedgerStack):
    def __init__(self, scope: Construct, environment: Environment) -> None:
        super().__init__(scope, environment, "access", "the administrator's policy, CI's role")
        self.admin = self._build_admin(environment)
        if environment.github_repository:
            self._build_deploy_role(environment)

    def _build_admin(self, environment: Environment) -> iam.ManagedPolicy:
        """Manual 7.1: its four actions. A snapshot is made of an instance and has an ARN of its own."""
        return iam.ManagedPolicy(
            self,
            "Admin",
            managed_policy_name=environment.resource("admin"),
            description="Operates LogLineOS: invoke, update code, describe, snapshot",
            statements=[
                iam.PolicyStatement(
                    actions=[
                        "lambda:InvokeFunction",
                        "lambda:UpdateFunctionCode",
                        "rds:DescribeDBInstances",
                        "rds:CreateDBSnapshot",
                    ],
                    resources=[
                        f"arn:{self.partition}:lambda:*:{self.account}:function:loglineos-*",
                        f"arn:{self.partition}:rds:*:{self.account}:db:loglineos-*",
                        f"arn:{self.partition}:rds:*:{self.account}:snapshot:loglineos-*",
                    ],
                )
            ],
        )

    def _build_deploy_role(self, environment: Environment) -> None:
        """Workflows of one repository, in the GitHub environment of this name, act as CDK's own roles."""
        provider = f"arn:{self.partition}:iam::{self.account}:oidc-provider/{GITHUB}"
        subject = f"repo:{environment.github_repository}:environment:{environment.name}"
        role = iam.Role(
            self,
            "Deploy",
            role_name=environment.resource("deploy"),
            description=f"GitHub Actions of {environment.github_repository} deploy {environment.name}",
            max_session_duration=cdk.Duration.hours(1),
            assumed_by=iam.WebIdentityPrincipal(
                provider, {"StringEquals": {f"{GITHUB}:aud": "sts.amazonaws.com", f"{GITHUB}:sub": subject}}
            ),
        )
        qualifier = cdk.DefaultStackSynthesizer.DEFAULT_QUALIFIER
        role.add_to_policy(
            iam.PolicyStatement(
                actions=["sts:AssumeRole"],
                resources=[
                    f"arn:{self.partition}:iam::{self.account}:role/cdk-{qualifier}-{kind}-{self.account}-{self.region}"
                    for kind in BOOTSTRAP_ROLES
                ],
            )
        )
        cdk.CfnOutput(self, "DeployRoleArn", value=role.role_arn)
