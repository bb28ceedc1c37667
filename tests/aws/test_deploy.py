"""A deployment by the unmodified CDK: what is there afterwards, told by AWS's API and by SQL."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from loglineos.aws import Endpoint
from loglineos.aws.clock import tick
from loglineos.aws.schedules import fire
from tests.aws.app import Variant
from tests.aws.conftest import Cdk, Row, said
from tests.aws.readback import unreadable

FIRST = Variant()
Client = Callable[[str], Any]


@pytest.fixture(scope="module")
def deployed(app: Cdk) -> Cdk:
    done = app("deploy", FIRST)
    assert done.returncode == 0, said(done)
    return app


@pytest.fixture
def instance(deployed: Cdk, client: Client) -> Row:
    found: Row = client("rds").describe_db_instances(DBInstanceIdentifier="rehearsal-db")["DBInstances"][0]
    return found


@pytest.mark.parametrize("stack", ["Data", "Functions"])
def test_all_that_the_templates_say_can_be_read_back(deployed: Cdk, client: Client, stack: str) -> None:
    template = json.loads((deployed.assembly(FIRST) / f"{stack}.template.json").read_text())
    assert unreadable(client, stack, template) == []


def test_the_instance_has_what_the_template_says(instance: Row) -> None:
    wanted = {
        "DBInstanceClass": "db.t4g.micro",
        "Engine": "postgres",
        "DBName": "rehearsal",
        "MasterUsername": "postgres",
        "AllocatedStorage": 20,
        "MaxAllocatedStorage": 100,
        "BackupRetentionPeriod": 7,
        "PreferredBackupWindow": "03:00-05:00",
        "PerformanceInsightsEnabled": True,
        "EnabledCloudwatchLogsExports": ["postgresql"],
        "DeletionProtection": False,
        "CopyTagsToSnapshot": True,
    }
    assert {key: instance.get(key) for key in wanted} == wanted
    assert len(instance["DBSubnetGroup"]["Subnets"]) == 2


def test_its_parameters_are_readable(instance: Row, client: Client) -> None:
    group = instance["DBParameterGroups"][0]["DBParameterGroupName"]
    found = client("rds").describe_db_parameters(DBParameterGroupName=group)["Parameters"]
    assert {item["ParameterName"]: item["ParameterValue"] for item in found} == {
        "rds.force_ssl": "1",
        "max_connections": "100",
    }


def test_the_secret_is_complete_and_opens_the_database(
    instance: Row, client: Client, query: Callable[..., list[tuple[Any, ...]]]
) -> None:
    secrets = client("secretsmanager")
    (secret,) = [item for item in secrets.list_secrets()["SecretList"] if "Instance" in item["Name"]]
    login = json.loads(secrets.get_secret_value(SecretId=secret["ARN"])["SecretString"])
    assert login["username"] == "postgres"
    assert len(login["password"]) == 30
    assert (login["host"], login["port"]) == (instance["Endpoint"]["Address"], instance["Endpoint"]["Port"])
    assert (login["dbname"], login["dbInstanceIdentifier"]) == ("rehearsal", "rehearsal-db")
    ((superuser, createrole),) = query("SELECT rolsuper, rolcreaterole FROM pg_roles WHERE rolname = 'postgres'")
    assert (superuser, createrole) == (False, True)


def test_the_functions_have_what_the_template_says(deployed: Cdk, client: Client) -> None:
    functions = client("lambda")
    found = functions.get_function_configuration(FunctionName="rehearsal-worker")
    assert (found["Timeout"], found["MemorySize"], found["Runtime"]) == (3, 256, "python3.13")
    assert found["Architectures"] == ["arm64"]
    assert found["TracingConfig"] == {"Mode": "Active"}
    assert found["Environment"] == {"Variables": {"SETTING": "first"}}
    assert found["DeadLetterConfig"]["TargetArn"].startswith("arn:aws:sqs:us-east-2:")
    assert found["LoggingConfig"]["LogGroup"] == "/aws/lambda/rehearsal-worker"
    assert len(found["VpcConfig"]["SubnetIds"]) == 2
    assert len(found["Layers"]) == 1
    reserved = functions.get_function_concurrency(FunctionName="rehearsal-worker")
    assert reserved["ReservedConcurrentExecutions"] == 2
    retries = functions.get_function_event_invoke_config(FunctionName="rehearsal-worker")
    assert retries["MaximumRetryAttempts"] == 0


def test_the_network_lets_only_the_functions_in(deployed: Cdk, client: Client) -> None:
    groups = client("ec2").describe_security_groups()["SecurityGroups"]
    own = {group["GroupId"]: group for group in groups if group["GroupName"].startswith("Data-")}
    (functions,) = [group for group in own.values() if "Functions" in group["GroupName"]]
    (database,) = [group for group in own.values() if "Instance" in group["GroupName"]]
    (rule,) = database["IpPermissions"]
    assert [pair["GroupId"] for pair in rule["UserIdGroupPairs"]] == [functions["GroupId"]]
    assert rule["IpRanges"] == []
    ranges = [item["CidrIp"] for rule in functions["IpPermissionsEgress"] for item in rule["IpRanges"]]
    assert "0.0.0.0/0" not in ranges
    gateways = client("ec2").describe_nat_gateways()["NatGateways"]
    # Deleted ones of earlier deployments are shown for a while, as on AWS.
    assert [gateway["State"] for gateway in gateways if gateway["State"] != "deleted"] == ["available"]


def test_alarm_bucket_log_group_and_rule_are_readable(deployed: Cdk, client: Client) -> None:
    (alarm,) = client("cloudwatch").describe_alarms(AlarmNames=["rehearsal-errors"])["MetricAlarms"]
    assert (alarm["Threshold"], alarm["Period"], alarm["Statistic"]) == (10.0, 60, "Sum")
    assert alarm["Dimensions"] == [{"Name": "FunctionName", "Value": "rehearsal-worker"}]
    s3 = client("s3")
    assert s3.get_bucket_versioning(Bucket="rehearsal-archive")["Status"] == "Enabled"
    assert s3.get_public_access_block(Bucket="rehearsal-archive")["PublicAccessBlockConfiguration"]["BlockPublicPolicy"]
    (rule,) = s3.get_bucket_lifecycle_configuration(Bucket="rehearsal-archive")["Rules"]
    assert rule["Transitions"] == [{"Days": 90, "StorageClass": "GLACIER_IR"}]
    policy = json.loads(s3.get_bucket_policy(Bucket="rehearsal-archive")["Policy"])
    assert policy["Statement"][0]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    (group,) = client("logs").describe_log_groups(logGroupNamePrefix="rehearsal")["logGroups"]
    assert group["retentionInDays"] == 7
    found = client("events").describe_rule(Name="rehearsal-minute")
    assert (found["ScheduleExpression"], found["State"]) == ("rate(1 minute)", "ENABLED")
    (target,) = client("events").list_targets_by_rule(Rule="rehearsal-minute")["Targets"]
    assert json.loads(target["Input"]) == {"do": "echo", "name": "schedule"}


def test_the_custom_resource_ran_as_the_master_and_its_answer_is_an_output(
    deployed: Cdk, client: Client, calls: Callable[[], list[Row]]
) -> None:
    (created,) = calls()
    assert created["RequestType"] == "Create"
    assert created["ResourceProperties"]["Version"] == "1"
    (stack,) = client("cloudformation").describe_stacks(StackName="Functions")["Stacks"]
    outputs = {item["OutputKey"]: item["OutputValue"] for item in stack["Outputs"]}
    assert outputs == {"Superuser": "False", "DeployedVersion": "1"}
    exports = {item["Name"]: item["Value"] for item in client("cloudformation").list_exports()["Exports"]}
    assert exports["deployed-version"] == "1"


def test_what_a_stack_exports_to_another_cannot_be_taken_away(deployed: Cdk, client: Client) -> None:
    formation = client("cloudformation")
    name = next(item["Name"] for item in formation.list_exports()["Exports"] if item["Name"].startswith("Data:"))
    assert formation.list_imports(ExportName=name)["Imports"] == ["Functions"]
    with pytest.raises(ClientError, match="cannot be deleted as it is in use by Functions"):
        formation.delete_stack(StackName="Data")
    (stack,) = formation.describe_stacks(StackName="Data")["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"


def test_a_second_deploy_changes_nothing(deployed: Cdk, calls: Callable[[], list[Row]]) -> None:
    before = calls()
    done = deployed("deploy", FIRST, "Functions", "--exclusively")
    assert done.returncode == 0, said(done)
    assert "(no changes)" in said(done)
    assert calls() == before


def test_a_schedule_can_be_fired(deployed: Cdk, endpoint: Endpoint, client: Client) -> None:
    (answer,) = fire(endpoint, "rehearsal-minute")
    assert answer["body"]["greeting"] == "hello schedule"
    minute = datetime(2026, 11, 23, 0, 10, tzinfo=UTC)
    assert tick(endpoint, minute) == ["rehearsal-minute"]
    client("events").disable_rule(Name="rehearsal-minute")
    assert fire(endpoint, "rehearsal-minute") == []
    assert tick(endpoint, minute) == []
    client("events").enable_rule(Name="rehearsal-minute")


SECOND = Variant(version="2", storage=30, setting="second", threshold=5, retention_days=30, queue=False)


def test_diff_names_what_an_update_would_change(deployed: Cdk) -> None:
    nothing, something = deployed("diff", FIRST), deployed("diff", SECOND)
    assert "Number of stacks with differences: 0" in said(nothing)
    for line in ("AWS::RDS::DBInstance", "[-] 20", "[+] 30", "AWS::CloudWatch::Alarm", "[-] AWS::SQS::Queue"):
        assert line in said(something)


def test_an_update_reaches_the_resources(
    deployed: Cdk, client: Client, calls: Callable[[], list[Row]], query: Callable[..., list[tuple[Any, ...]]]
) -> None:
    queues = client("sqs").list_queues().get("QueueUrls", [])
    done = deployed("deploy", SECOND)
    assert done.returncode == 0, said(done)
    instance = client("rds").describe_db_instances(DBInstanceIdentifier="rehearsal-db")["DBInstances"][0]
    assert instance["AllocatedStorage"] == 30
    worker = client("lambda").get_function_configuration(FunctionName="rehearsal-worker")
    assert worker["Environment"] == {"Variables": {"SETTING": "second"}}
    assert not worker.get("DeadLetterConfig", {}).get("TargetArn")
    (alarm,) = client("cloudwatch").describe_alarms(AlarmNames=["rehearsal-errors"])["MetricAlarms"]
    assert alarm["Threshold"] == 5.0
    (group,) = client("logs").describe_log_groups(logGroupNamePrefix="rehearsal")["logGroups"]
    assert group["retentionInDays"] == 30
    assert len(queues) == 1
    assert not client("sqs").list_queues().get("QueueUrls", [])
    updated = calls()[-1]
    assert updated["RequestType"] == "Update"
    assert updated["OldResourceProperties"]["Version"] == "1"
    assert updated["ResourceProperties"]["Version"] == "2"
    assert updated["PhysicalResourceId"] == "ledger"
    (stack,) = client("cloudformation").describe_stacks(StackName="Functions")["Stacks"]
    assert stack["StackStatus"] == "UPDATE_COMPLETE"


def test_destroy_removes_everything_and_tells_the_custom_resource(
    deployed: Cdk, client: Client, calls: Callable[[], list[Row]], query: Callable[..., list[tuple[Any, ...]]]
) -> None:
    done = deployed("destroy", SECOND, "Functions", "--exclusively")
    assert done.returncode == 0, said(done)
    assert calls()[-1]["RequestType"] == "Delete"
    done = deployed("destroy", SECOND)
    assert done.returncode == 0, said(done)
    assert client("rds").describe_db_instances()["DBInstances"] == []
    assert client("lambda").list_functions()["Functions"] == []
    assert client("cloudwatch").describe_alarms()["MetricAlarms"] == []
    assert [item["Name"] for item in client("s3").list_buckets()["Buckets"]] == [
        "cdk-hnb659fds-assets-123456789012-us-east-2"
    ]
    assert query("SELECT datname FROM pg_database WHERE datname = 'rehearsal'", "postgres") == []
