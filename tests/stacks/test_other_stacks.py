"""Archive, schedules, access."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from stacks import schedules
from stacks.synthesis import in_process, synthesize, templates


def test_archive_bucket(each: Any, properties: Any) -> None:
    environment, found = each
    bucket = properties(found["archive"], "AWS::S3::Bucket")["ArchiveDA4CB258"]
    assert environment.resource("archive") in json.dumps(bucket["BucketName"])
    (encryption,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert "AccessLogs" in json.dumps(bucket["LoggingConfiguration"])
    (rule,) = bucket["LifecycleConfiguration"]["Rules"]
    assert rule["Transitions"] == [{"StorageClass": "GLACIER_IR", "TransitionInDays": 90}]
    locked = bucket.get("ObjectLockConfiguration", {}).get("Rule")
    days = environment.object_lock_days
    assert locked == ({"DefaultRetention": {"Days": days, "Mode": "GOVERNANCE"}} if days else None)


def test_buckets_refuse_what_is_not_tls(each: Any, properties: Any) -> None:
    _, found = each
    policies = properties(found["archive"], "AWS::S3::BucketPolicy").values()
    assert len(policies) == 2
    for policy in policies:
        denied = [one for one in policy["PolicyDocument"]["Statement"] if one["Effect"] == "Deny"]
        assert {"Bool": {"aws:SecureTransport": "false"}} in [one["Condition"] for one in denied]


def test_athena_reads_the_archive_by_month(prod: Mapping[str, Any], properties: Any) -> None:
    (table,) = properties(prod["archive"], "AWS::Glue::Table").values()
    described = table["TableInput"]
    assert [key["Name"] for key in described["PartitionKeys"]] == ["month"]
    assert "/spans/month=${month}/" in json.dumps(described["Parameters"]["storage.location.template"])
    assert "MapredParquetInputFormat" in described["StorageDescriptor"]["InputFormat"]
    columns = {column["Name"]: column["Type"] for column in described["StorageDescriptor"]["Columns"]}
    assert (columns["id"], columns["at"], columns["seq"]) == ("string", "timestamp", "int")
    assert {"curr_hash", "signature", "era", "xid", "position"} <= set(columns)
    (workgroup,) = properties(prod["archive"], "AWS::Athena::WorkGroup").values()
    assert workgroup["WorkGroupConfiguration"]["EnforceWorkGroupConfiguration"] is True
    assert workgroup["WorkGroupConfiguration"]["ManagedQueryResultsConfiguration"] == {"Enabled": True}


@pytest.mark.parametrize(
    ("thing", "when", "event"),
    [
        ("observer", "rate(1 minute)", {"boot_function_id": schedules.OBSERVER, "input": {}}),
        ("request-worker", "rate(1 minute)", {"boot_function_id": schedules.REQUEST_WORKER, "input": {}}),
        ("policy-agent", "rate(1 minute)", {"boot_function_id": schedules.POLICY_AGENT, "input": {}}),
        (
            "daily-rollup",
            "cron(10 0 * * ? *)",
            {
                "boot_function_id": schedules.POLICY_AGENT,
                "input": {"policy_id": schedules.DAILY_ROLLUP_POLICY},
            },
        ),
        ("checkpoint", "rate(5 minutes)", {"action": "checkpoint"}),
        ("monthly-archive", "cron(0/15 6-11 1 * ? *)", {"action": "archive"}),
    ],
)
def test_schedules(thing: str, when: str, event: dict[str, Any], each: Any, properties: Any) -> None:
    environment, found = each
    rules = {rule["Name"]: rule for rule in properties(found["schedules"], "AWS::Events::Rule").values()}
    assert len(rules) == 6
    rule = rules[environment.resource(thing)]
    assert (rule["ScheduleExpression"], rule["State"]) == (when, "ENABLED")
    (target,) = rule["Targets"]
    assert event.items() <= json.loads(target["Input"]).items()
    assert "Undelivered" in json.dumps(target["DeadLetterConfig"])
    assert target["RetryPolicy"]["MaximumRetryAttempts"] >= 2
    wanted = "DeployFunction" if thing in ("checkpoint", "monthly-archive") else "LoaderFunction"
    assert wanted in json.dumps(target["Arn"])


def test_each_rule_may_call_its_function(prod: Mapping[str, Any], properties: Any) -> None:
    permissions = properties(prod["schedules"], "AWS::Lambda::Permission").values()
    assert len(permissions) == 6
    assert all(one["Principal"] == "events.amazonaws.com" and "SourceArn" in one for one in permissions)


def test_the_administrators_policy_is_the_manuals(each: Any, properties: Any) -> None:
    environment, found = each
    (policy,) = properties(found["access"], "AWS::IAM::ManagedPolicy").values()
    assert policy["ManagedPolicyName"] == environment.resource("admin")
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert set(statement["Action"]) == {
        "lambda:InvokeFunction",
        "lambda:UpdateFunctionCode",
        "rds:DescribeDBInstances",
        "rds:CreateDBSnapshot",
    }
    ends = [json.dumps(one).split('"')[-2] for one in statement["Resource"]]
    assert ends == [":function:loglineos-*", ":db:loglineos-*", ":snapshot:loglineos-*"]


def test_the_repositorys_workflows_may_deploy_one_environment(tmp_path: Any, properties: Any) -> None:
    app, environment = in_process("prod", tmp_path, github_repository="acme/loglineos")
    access = templates(environment, synthesize(app))["access"]
    (role,) = properties(access, "AWS::IAM::Role").values()
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    issuer = "token.actions.githubusercontent.com"
    assert trust["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert trust["Condition"] == {
        "StringEquals": {
            f"{issuer}:aud": "sts.amazonaws.com",
            f"{issuer}:sub": "repo:acme/loglineos:environment:prod",
        }
    }
    (policy,) = properties(access, "AWS::IAM::Policy").values()
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert statement["Action"] == "sts:AssumeRole"
    assert all(":role/cdk-hnb659fds-" in json.dumps(one) for one in statement["Resource"])


def test_without_a_repository_nobody_else_deploys(prod: Mapping[str, Any], properties: Any) -> None:
    assert properties(prod["access"], "AWS::IAM::Role") == {}
