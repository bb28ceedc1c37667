"""What every stack of the ledger has: its name, its region, its tags."""

import aws_cdk as cdk
from constructs import Construct

from stacks.environment import Environment


class LedgerStack(cdk.Stack):
    def __init__(
        self,
        scope: Construct,
        environment: Environment,
        part: str,
        description: str,
    ) -> None:
        super().__init__(
            scope,
            environment.resource(part),
            env=cdk.Environment(region=environment.region),
            description=f"LogLineOS {environment.name}: {description}",
            # All of them: an accidental destroy has to stop at the first, or the rest would be half gone, and what
            # is retained under its name would be in the way of the next deployment.
            termination_protection=environment.protect_data,
        )
        cdk.Tags.of(self).add("project", "loglineos")
        cdk.Tags.of(self).add("environment", environment.name)


def removal_of(environment: Environment) -> cdk.RemovalPolicy:
    """Data outlives its stack where the environment says so."""
    return cdk.RemovalPolicy.RETAIN if environment.protect_data else cdk.RemovalPolicy.DESTROY


def removal_of_named(environment: Environment) -> cdk.RemovalPolicy:
    """The same, but for what a failed first deployment made: its name must be free for the second."""
    kept = cdk.RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE
    return kept if environment.protect_data else cdk.RemovalPolicy.DESTROY


def alarm_topic(stack: cdk.Stack, environment: Environment) -> str:
    """The ARN of the alarms' topic, by its name: the stack that makes it needs the functions first."""
    return stack.format_arn(service="sns", resource=environment.resource("alarms"))


def arn(stack: cdk.Stack, service: str, kind: str, name: str) -> str:
    """arn:…:service:region:account:kind:name, of the stack's own account and region."""
    return stack.format_arn(
        service=service, resource=kind, resource_name=name, arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME
    )
