"""What cdk-nag finds and a reviewer accepts: each finding by its name, with the reason.

A test holds this list against the findings: one too many fails as one too few does.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import aws_cdk as cdk
from constructs import IConstruct

from stacks.archive import LOG, SPANS
from stacks.edge import DEVICE_ROUTES, PUBLIC_ROUTES, route_id
from stacks.environment import Environment

ENHANCED_MONITORING = "arn:<AWS::Partition>:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole"
ARCHIVE_BUCKET = "ExportsOutputFnGetAttArchiveDA4CB258ArnBE8F3792"


@dataclass(frozen=True)
class Acknowledgement:
    part: str  # of the stack, as in `loglineos-<part>`
    path: str  # of the construct in it
    ids: tuple[str, ...]
    reason: str


NO_SECRET_ROTATION = ("AwsSolutions-SMG4", "NIST.800.53.R5-SecretsManagerRotationEnabled")

NETWORK = [
    Acknowledgement("network", "Vpc", ("NIST.800.53.R5-VPCDefaultSecurityGroupClosed",),
        "Nothing is in the default group; closing it takes a Lambda with rights to change security groups."),
    *(
        Acknowledgement("network", f"Vpc/publicSubnet{n}", ("NIST.800.53.R5-VPCNoUnrestrictedRouteToIGW",),
            "The public subnets hold NAT gateways alone: they are the functions' way to LLM providers.")
        for n in (1, 2)
    ),
    Acknowledgement("network", "Vpc/all", ("NIST.800.53.R5-IAMNoInlinePolicy",),
        "CDK's flow-log role: its one policy is of no use to any other role and goes when it goes."),
]  # fmt: skip

FUNCTIONS = [
    acknowledgement
    for part, name in (("deployment", "Deploy"), ("functions", "Loader"), ("functions", "Migration"))
    for acknowledgement in (
        Acknowledgement(part, f"{name}/Role", ("AwsSolutions-IAM5[Resource::*]",),
            "Network interfaces and X-Ray have no ARN to name; the code itself is denied the former."),
        Acknowledgement(part, f"{name}/Role", ("NIST.800.53.R5-IAMNoInlinePolicy",),
            "Each role has one policy, made for it alone: inline, it is there exactly as long as the role."),
    )
]  # fmt: skip

SECRETS = [
    Acknowledgement("database", "MemoryKey", NO_SECRET_ROTATION,
        "A new key would make every stored secret memory unreadable; re-encrypting is an operator's step."),
    Acknowledgement("database", "CheckpointKey", NO_SECRET_ROTATION,
        "Whoever checks a log holds its public key: a new one is announced to them first, a person's step."),
]  # fmt: skip

ARCHIVE = [
    *(
        Acknowledgement("archive", bucket, ("NIST.800.53.R5-S3BucketReplicationEnabled",),
            "Versions and Object Lock keep what is there; a second region is for its operator to decide.")
        for bucket in ("Archive", "AccessLogs")
    ),
    Acknowledgement("archive", "AccessLogs", ("NIST.800.53.R5-S3DefaultEncryptionKMS",),
        "S3 delivers access logs only to buckets encrypted with its own keys."),
]  # fmt: skip

ADMIN = Acknowledgement(
    "access",
    "Admin",
    tuple(
        f"AwsSolutions-IAM5[Resource::arn:aws:{resource}:loglineos-*]"
        for resource in (
            "lambda:*:<AWS::AccountId>:function",
            "rds:*:<AWS::AccountId>:db",
            "rds:*:<AWS::AccountId>:snapshot",
        )
    ),
    "The administrator's policy of the manual (7.1): every function and database of LogLineOS, no other.",
)

UNDELIVERED = Acknowledgement(
    "schedules", "Undelivered", ("AwsSolutions-SQS3",), "It is the dead-letter queue of the schedules' rules."
)

EDGE = [
    *(
        Acknowledgement("edge", route_id(route), ("AwsSolutions-APIG4",),
            "A device signs its token with a key that the ledger holds: the loader verifies it, API Gateway cannot.")
        for route in DEVICE_ROUTES
    ),
    *(
        Acknowledgement("edge", route_id(route), ("AwsSolutions-APIG4",),
            "Without a token by design: enrolment proves an invitation and a key; the others tell no secret.")
        for route in PUBLIC_ROUTES
    ),
]  # fmt: skip


def acknowledgements(environment: Environment) -> Iterator[Acknowledgement]:
    yield from [*NETWORK, *FUNCTIONS, *SECRETS, *ARCHIVE, *EDGE, ADMIN, UNDELIVERED]
    yield from _of_the_archive_writer(environment)
    yield from _of_the_database(environment)
    if environment.sign_executions:
        yield Acknowledgement("database", "SigningKey", NO_SECRET_ROTATION,
            "A new signing key is announced in the manifest before it signs (manual 7.4): a person's step."
        )  # fmt: skip


def _of_the_archive_writer(environment: Environment) -> Iterator[Acknowledgement]:
    bucket = f"{environment.resource('archive')}:{ARCHIVE_BUCKET}"
    findings = tuple(f"AwsSolutions-IAM5[Resource::{bucket}/{prefix}/*]" for prefix in (SPANS, LOG))
    yield Acknowledgement("deployment", "Deploy/Role", findings, "Two prefixes of one bucket, to add and to read.")


# What holds for an instance: when, which findings, why.
INSTANCE: list[tuple[Callable[[Environment, str], bool], tuple[str, ...], str]] = [
    (
        lambda _, __: True,
        (f"AwsSolutions-IAM4[Policy::{ENHANCED_MONITORING}]",),
        "AWS's own policy is what enhanced monitoring asks for, and AWS keeps it current.",
    ),
    (
        lambda _, __: True,
        ("AwsSolutions-RDS11",),
        "The manual's connection string says 5432, and one security group alone reaches it.",
    ),
    (
        lambda _, __: True,
        ("NIST.800.53.R5-RDSInBackupPlan",),
        "RDS's automatic backups, with recovery to a point in time, are the manual's (6.1).",
    ),
    (
        lambda _, instance: instance == "Replica",
        ("AwsSolutions-RDS2", "NIST.800.53.R5-RDSStorageEncrypted"),
        "A replica is encrypted as its source is; CloudFormation wants the property left out.",
    ),
    (
        lambda environment, instance: instance == "Replica" or not environment.multi_az,
        ("AwsSolutions-RDS3", "NIST.800.53.R5-RDSMultiAZSupport"),
        "Without a standby by choice: a replica is made anew, dev can wait for a restore.",
    ),
    (
        lambda environment, _: not environment.protect_data,
        ("AwsSolutions-RDS10", "NIST.800.53.R5-RDSInstanceDeletionProtectionEnabled"),
        "An environment that is made to be destroyed.",
    ),
]


def _of_the_database(environment: Environment) -> Iterator[Acknowledgement]:
    for instance in ["Primary", *(["Replica"] if environment.read_replica else [])]:
        for holds, ids, reason in INSTANCE:
            if holds(environment, instance):
                yield Acknowledgement("database", instance, ids, reason)
    rotated = "Rotated by the rotation stack, which cdk-nag does not see from here."
    never = "The rehearsal's password: no rotation function runs there."
    yield Acknowledgement(
        "database", "MasterSecret", NO_SECRET_ROTATION, rotated if environment.rotate_master_days else never
    )
    if not environment.database_iam:
        for secret in ("LambdaExecSecret", "ReadonlySecret"):
            yield Acknowledgement("database", secret, NO_SECRET_ROTATION, never)


def acknowledge(app: cdk.App, environment: Environment) -> None:
    for one in acknowledgements(environment):
        construct: IConstruct = app.node.find_child(environment.resource(one.part))
        for step in one.path.split("/"):
            construct = construct.node.find_child(step)
        for finding in one.ids:
            cdk.Validations.of(construct).acknowledge(cdk.Acknowledgment(id=finding, reason=one.reason))
