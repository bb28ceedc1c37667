"""The alarms of the manual (5.3), with thresholds and dimensions, those beyond, and its queries (5.1)."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stacks.synthesis import in_process, synthesize, templates

GIB = 1024**3
SIGNS = {"GreaterThanThreshold": ">", "LessThanThreshold": "<"}
DB = "DBInstanceIdentifier"
WAITING = "ApproximateNumberOfMessagesVisible"
FUNCTIONS = ("stage0-loader", "db-migration", "db-deploy")


def alarms(template: Any, properties: Any) -> dict[str, dict[str, Any]]:
    return {alarm["AlarmName"]: alarm for alarm in properties(template, "AWS::CloudWatch::Alarm").values()}


@pytest.mark.parametrize(
    ("thing", "metric", "dimension", "statistic", "seconds", "threshold"),
    [
        ("stage0-loader-errors", "AWS/Lambda Errors", "FunctionName Loader", "Sum", 60, "> 10"),
        ("db-migration-errors", "AWS/Lambda Errors", "FunctionName Migration", "Sum", 60, "> 10"),
        ("stage0-loader-duration", "AWS/Lambda Duration", "FunctionName Loader", "Maximum", 60, "> 25000"),
        ("database-cpu", "AWS/RDS CPUUtilization", f"{DB} Primary", "Average", 300, "> 80"),
        ("database-connections", "AWS/RDS DatabaseConnections", f"{DB} Primary", "Maximum", 60, "> 450"),
        ("database-storage", "AWS/RDS FreeStorageSpace", f"{DB} Primary", "Minimum", 300, f"< {20 * GIB}"),
        ("replica-lag", "AWS/RDS ReplicaLag", f"{DB} Replica", "Average", 60, "> 60"),
        ("stage0-loader-throttles", "AWS/Lambda Throttles", "FunctionName Loader", "Sum", 300, "> 0"),
        ("schedules-dead-letters", f"AWS/SQS {WAITING}", "QueueName Undelivered", "Maximum", 300, "> 0"),
        ("edge-5xx", "AWS/ApiGateway 5xx", "ApiId Api", "Sum", 300, "> 5"),
        ("failed-verification", "loglineos-ledger FailedVerifications", "", "Sum", 60, "> 0"),
        ("no-boot", "loglineos-ledger Boots", "", "Sum", 60, "< 1"),
        ("db-migration-logged-errors", "loglineos-ledger DbMigrationErrorLines", "", "Sum", 60, "> 10"),
        ("db-deploy-logged-errors", "loglineos-ledger DbDeployErrorLines", "", "Sum", 60, "> 0"),
    ],
)
def test_alarm(
    thing: str,
    metric: str,
    dimension: str,
    statistic: str,
    seconds: int,
    threshold: str,
    prod: Mapping[str, Any],
    properties: Any,
) -> None:
    alarm = alarms(prod["monitoring"], properties)[f"loglineos-{thing}"]
    assert f"{alarm['Namespace']} {alarm['MetricName']}" == metric
    assert (alarm["Statistic"], alarm["Period"]) == (statistic, seconds)
    assert f"{SIGNS[alarm['ComparisonOperator']]} {alarm['Threshold']}" == threshold
    if not dimension:
        assert "Dimensions" not in alarm
        return
    (found,) = alarm["Dimensions"]
    name, whose = dimension.split()
    assert found["Name"] == name
    assert re.search(rf"(Ref|GetAtt){whose}", str(found["Value"]))


def test_thresholds_follow_the_environment(each: Any, properties: Any) -> None:
    environment, found = each
    every = alarms(found["monitoring"], properties)
    connections = every[environment.resource("database-connections")]
    assert connections["Threshold"] == 0.9 * environment.max_connections
    storage = every[environment.resource("database-storage")]
    assert storage["Threshold"] == pytest.approx(0.2 * environment.storage_gb * GIB)


def test_no_boot_for_fifteen_minutes_and_no_data_are_the_same(prod: Mapping[str, Any], properties: Any) -> None:
    every = alarms(prod["monitoring"], properties)
    silent = every["loglineos-no-boot"]
    assert (silent["EvaluationPeriods"], silent["TreatMissingData"]) == (15, "breaching")
    others = {alarm["TreatMissingData"] for name, alarm in every.items() if name != "loglineos-no-boot"}
    assert others == {"notBreaching"}


def test_half_an_hour_of_boots_without_a_checkpoint(prod: Mapping[str, Any], properties: Any) -> None:
    alarm = alarms(prod["monitoring"], properties)["loglineos-no-checkpoint"]
    assert (alarm["EvaluationPeriods"], alarm["Threshold"]) == (6, 0)
    counted = {one["Id"]: one.get("MetricStat") for one in alarm["Metrics"]}
    assert {one["Period"] for one in counted.values() if one} == {300}
    assert {one["Metric"]["MetricName"] for one in counted.values() if one} == {"Boots", "Checkpoints"}
    (expression,) = [one["Expression"] for one in alarm["Metrics"] if "Expression" in one]
    assert expression == "IF(FILL(boots, 0) > 0 AND FILL(checkpoints, 0) < 1, 1, 0)"


def test_every_function_is_watched(each: Any, properties: Any) -> None:
    environment, found = each
    kinds = ("errors", "logged-errors", "throttles", "dead-letters")
    wanted = {environment.resource(f"{thing}-{kind}") for thing in FUNCTIONS for kind in kinds}
    assert wanted <= set(alarms(found["monitoring"], properties))


def test_every_alarm_tells_the_topic_and_says_what_to_do(each: Any, properties: Any) -> None:
    _, found = each
    (topic,) = properties(found["monitoring"], "AWS::SNS::Topic")
    for alarm in alarms(found["monitoring"], properties).values():
        assert alarm["AlarmActions"] == [{"Ref": topic}] == alarm["OKActions"]
        assert alarm["AlarmDescription"]


def test_alarms_may_publish_to_the_topic(each: Any, properties: Any) -> None:
    """Both of them: to the topic, and with the key that encrypts it."""
    _, found = each
    (policy,) = properties(found["monitoring"], "AWS::SNS::TopicPolicy").values()
    (key,) = properties(found["keys"], "AWS::KMS::Key").values()
    alarms_service = {"Service": "cloudwatch.amazonaws.com"}
    for document, action in ((policy["PolicyDocument"], "sns:Publish"), (key["KeyPolicy"], "kms:Decrypt")):
        (allowed,) = [one for one in document["Statement"] if one.get("Principal") == alarms_service]
        assert allowed["Effect"] == "Allow"
        assert action in allowed["Action"]
        assert "aws:SourceAccount" in allowed["Condition"]["StringEquals"]


def test_an_address_is_told(tmp_path: Path, properties: Any) -> None:
    app, environment = in_process("prod", tmp_path, alarm_email="ops@example.com")
    monitoring = templates(environment, synthesize(app))["monitoring"]
    (subscription,) = properties(monitoring, "AWS::SNS::Subscription").values()
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "ops@example.com")


def test_the_manuals_queries_are_saved_word_for_word(prod: Mapping[str, Any], properties: Any) -> None:
    saved = properties(prod["monitoring"], "AWS::Logs::QueryDefinition").values()
    assert {query["QueryString"] for query in saved} == {
        "fields @timestamp, @message\n| filter @message like /ERROR/ or @message like /Error:/\n"
        "| sort @timestamp desc\n| limit 50",
        "fields @timestamp, @duration\n| filter @duration > 1000\n| sort @duration desc",
        "fields @message\n| filter @message like /boot_function_id/\n"
        '| parse @message \'"boot_function_id":"*"\' as kernel_id\n| stats count() by kernel_id',
    }
    assert all(len(query["LogGroupNames"]) == 2 for query in saved)


def test_what_is_counted_in_the_logs(each: Any, properties: Any) -> None:
    _, found = each
    filters = properties(found["monitoring"], "AWS::Logs::MetricFilter").values()
    patterns = {one["MetricTransformations"][0]["MetricName"]: one["FilterPattern"] for one in filters}
    errors = {f"{thing.title().replace('-', '')}ErrorLines": '{ $.level = "ERROR" }' for thing in FUNCTIONS}
    counted = {"Boots": '{ $.boot_function_id = "*" }', "FailedVerifications": '"security_alert"'}
    sealed = {"Checkpoints": '{ $.message = "checkpoint sealed" }'}
    assert patterns == counted | sealed | errors
    groups = {one["MetricTransformations"][0]["MetricName"]: str(one["LogGroupName"]) for one in filters}
    assert all("LoaderLogs" in groups[name] for name in counted)
    assert "DeployLogs" in groups["Checkpoints"]
    assert [
        next(kind for kind in ("LoaderLogs", "MigrationLogs", "DeployLogs") if kind in groups[name]) for name in errors
    ] == ["LoaderLogs", "MigrationLogs", "DeployLogs"]


def test_dashboard_shows_ledger_and_aws(prod: Mapping[str, Any], properties: Any) -> None:
    (dashboard,) = properties(prod["monitoring"], "AWS::CloudWatch::Dashboard").values()
    body = str(dashboard["DashboardBody"])
    for shown in ("Boots", "Kernels mais executados", "Errors", "CPUUtilization", "FreeStorageSpace", "5xx"):
        assert shown in body
