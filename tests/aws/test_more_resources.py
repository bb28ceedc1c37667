"""Types that the test's app has no use for, deployed, changed and deleted by a template alone."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from loglineos.aws import Endpoint
from tests.aws.readback import unreadable

Client = Callable[[str], Any]
STACK = "More"
TAGS = [{"Key": "project", "Value": "loglineos"}]
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ],
}
ALLOW = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "logs:PutLogEvents", "Resource": "*"}]}
FUNCTION_ARN = {"Fn::GetAtt": ["Function", "Arn"]}
CODE = "def handler(event, context):\n    return 'from the template'\n"


def one(kind: str, **properties: Any) -> dict[str, Any]:
    return {"Type": kind, "Properties": properties}


TEMPLATE: dict[str, Any] = {
    "Resources": {
        "Role": one("AWS::IAM::Role", AssumeRolePolicyDocument=TRUST, Description="first", Tags=TAGS),
        "Managed": one("AWS::IAM::ManagedPolicy", PolicyDocument=ALLOW, Roles=[{"Ref": "Role"}]),
        "Oidc": one("AWS::IAM::OIDCProvider", Url="https://example.com", ClientIdList=["sts.amazonaws.com"]),
        "Function": one(
            "AWS::Lambda::Function",
            FunctionName="more-function",
            Runtime="python3.13",
            Handler="index.handler",
            Role={"Fn::GetAtt": ["Role", "Arn"]},
            Code={"ZipFile": CODE},
        ),
        "Version": one("AWS::Lambda::Version", FunctionName={"Ref": "Function"}),
        "Alias": one(
            "AWS::Lambda::Alias",
            FunctionName={"Ref": "Function"},
            FunctionVersion={"Fn::GetAtt": ["Version", "Version"]},
            Name="live",
        ),
        "Queue": one("AWS::SQS::Queue", VisibilityTimeout=31, Tags=TAGS),
        "Mapping": one(
            "AWS::Lambda::EventSourceMapping",
            FunctionName={"Ref": "Function"},
            EventSourceArn={"Fn::GetAtt": ["Queue", "Arn"]},
            BatchSize=7,
        ),
        "Topic": one("AWS::SNS::Topic", DisplayName="more", Tags=TAGS),
        "Subscription": one(
            "AWS::SNS::Subscription", TopicArn={"Ref": "Topic"}, Protocol="email", Endpoint="a@example.com"
        ),
        "Parameter": one("AWS::SSM::Parameter", Name="/more/parameter", Type="String", Value="first"),
        "Secret": one("AWS::SecretsManager::Secret", Name="more-secret", SecretString="{}", Description="first"),
        "SecretPolicy": one(
            "AWS::SecretsManager::ResourcePolicy",
            SecretId={"Ref": "Secret"},
            ResourcePolicy={"Version": "2012-10-17", "Statement": []},
        ),
        "Group": one("AWS::Scheduler::ScheduleGroup", Name="more-group"),
        "Schedule": one(
            "AWS::Scheduler::Schedule",
            Name="more-schedule",
            GroupName={"Ref": "Group"},
            ScheduleExpression="rate(5 minutes)",
            FlexibleTimeWindow={"Mode": "OFF"},
            Target={"Arn": FUNCTION_ARN, "RoleArn": {"Fn::GetAtt": ["Role", "Arn"]}, "Input": '{"do": "it"}'},
        ),
        "Alarm": one(
            "AWS::CloudWatch::Alarm",
            AlarmName="more-alarm",
            Namespace="AWS/SQS",
            MetricName="Depth",
            Statistic="Sum",
            Period=60,
            EvaluationPeriods=1,
            Threshold=1,
            ComparisonOperator="GreaterThanThreshold",
        ),
        "Database": one("AWS::Glue::Database", CatalogId="123456789012", DatabaseInput={"Name": "more"}),
        "WorkGroup": one("AWS::Athena::WorkGroup", Name="more-group", Description="first"),
        "NamedQuery": one(
            "AWS::Athena::NamedQuery",
            Name="more-query",
            Description="first",
            Database="more",
            WorkGroup={"Ref": "WorkGroup"},
            QueryString="SELECT 1",
        ),
        "LogPolicy": one("AWS::Logs::ResourcePolicy", PolicyName="more-policy", PolicyDocument=json.dumps(ALLOW)),
        "Http": one(
            "AWS::ApiGatewayV2::Api",
            Name="more-api",
            ProtocolType="HTTP",
            CorsConfiguration={"AllowOrigins": ["https://example.com"], "AllowMethods": ["POST"]},
        ),
        "Integration": one(
            "AWS::ApiGatewayV2::Integration",
            ApiId={"Ref": "Http"},
            IntegrationType="AWS_PROXY",
            IntegrationUri=FUNCTION_ARN,
            PayloadFormatVersion="2.0",
        ),
        "Route": one(
            "AWS::ApiGatewayV2::Route",
            ApiId={"Ref": "Http"},
            RouteKey="POST /boot",
            Target={"Fn::Join": ["/", ["integrations", {"Ref": "Integration"}]]},
        ),
        "Stage": one(
            "AWS::ApiGatewayV2::Stage",
            ApiId={"Ref": "Http"},
            StageName="$default",
            AutoDeploy=True,
            DefaultRouteSettings={"ThrottlingRateLimit": 50, "ThrottlingBurstLimit": 100},
        ),
    },
    "Outputs": {"Url": {"Value": {"Fn::GetAtt": ["Http", "ApiEndpoint"]}}},
}

CHANGES: dict[str, tuple[str, Any]] = {
    "Role": ("Description", "second"),
    "Managed": (
        "PolicyDocument",
        {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "s3:GetObject", "Resource": "*"}]},
    ),
    "Function": ("Code", {"ZipFile": CODE.replace("from", "changed in")}),
    "Queue": ("VisibilityTimeout", 41),
    "Mapping": ("BatchSize", 9),
    "Topic": ("DisplayName", "changed"),
    "Parameter": ("Value", "second"),
    "Secret": ("Description", "second"),
    "Schedule": ("ScheduleExpression", "rate(9 minutes)"),
    "Alarm": ("Threshold", 17),
    "WorkGroup": ("Description", "second"),
    "NamedQuery": ("QueryString", "SELECT 2"),
    "Http": ("CorsConfiguration", {"AllowOrigins": ["https://changed.example"], "AllowMethods": ["POST"]}),
    "Route": ("RouteKey", "POST /changed"),
    "Stage": ("DefaultRouteSettings", {"ThrottlingRateLimit": 55, "ThrottlingBurstLimit": 111}),
}


def apply(client: Client, template: dict[str, Any], kind: str) -> dict[str, Any]:
    formation = client("cloudformation")
    asked = {"StackName": STACK, "ChangeSetName": "change", "ChangeSetType": kind}
    formation.create_change_set(**asked, TemplateBody=json.dumps(template), Capabilities=["CAPABILITY_IAM"])
    formation.execute_change_set(StackName=STACK, ChangeSetName="change")
    for _ in range(200):
        found: dict[str, Any] = formation.describe_stacks(StackName=STACK)["Stacks"][0]
        if not found["StackStatus"].endswith("_IN_PROGRESS"):
            break
        time.sleep(0.1)
    return found


def failures(client: Client) -> list[str]:
    events = client("cloudformation").describe_stack_events(StackName=STACK)["StackEvents"]
    return [f"{e['LogicalResourceId']}: {e['ResourceStatusReason']}" for e in events if "FAILED" in e["ResourceStatus"]]


@pytest.fixture(scope="module")
def created(client: Client) -> Iterator[dict[str, Any]]:
    found = apply(client, TEMPLATE, "CREATE")
    assert found["StackStatus"] == "CREATE_COMPLETE", failures(client)
    yield found
    client("cloudformation").delete_stack(StackName=STACK)


def test_what_was_created_can_be_read_back(created: dict[str, Any], client: Client, endpoint: Endpoint) -> None:
    assert unreadable(client, STACK, TEMPLATE) == []
    assert created["Outputs"][0]["OutputValue"] == endpoint.api_url


def test_code_in_the_template_runs_by_its_alias(created: dict[str, Any], client: Client) -> None:
    answer = client("lambda").invoke(FunctionName="more-function", Qualifier="live")
    assert json.loads(answer["Payload"].read()) == "from the template"
    assert answer["ExecutedVersion"] == "1"


def test_changes_are_applied_and_can_be_read_back(created: dict[str, Any], client: Client) -> None:
    changed = copy.deepcopy(TEMPLATE)
    for name, (key, value) in CHANGES.items():
        changed["Resources"][name]["Properties"][key] = value
    found = apply(client, changed, "UPDATE")
    assert found["StackStatus"] == "UPDATE_COMPLETE", failures(client)
    assert unreadable(client, STACK, changed) == []
    answer = client("lambda").invoke(FunctionName="more-function")
    assert json.loads(answer["Payload"].read()) == "changed in the template"


def test_a_termination_protected_stack_is_not_deleted(created: dict[str, Any], client: Client) -> None:
    formation = client("cloudformation")
    formation.update_termination_protection(StackName=STACK, EnableTerminationProtection=True)
    with pytest.raises(formation.exceptions.ClientError, match="while TerminationProtection is enabled"):
        formation.delete_stack(StackName=STACK)
    formation.update_termination_protection(StackName=STACK, EnableTerminationProtection=False)


def test_everything_goes_again(created: dict[str, Any], client: Client) -> None:
    formation = client("cloudformation")
    formation.delete_stack(StackName=STACK)
    (found,) = formation.describe_stacks(StackName=created["StackId"])["Stacks"]
    assert found["StackStatus"] == "DELETE_COMPLETE", failures(client)
    assert client("apigatewayv2").get_apis()["Items"] == []
    assert client("scheduler").list_schedules()["Schedules"] == []
    assert client("iam").list_open_id_connect_providers()["OpenIDConnectProviderList"] == []
    assert client("athena").list_named_queries(WorkGroup="more-group")["NamedQueryIds"] == []
    assert [item["Name"] for item in client("athena").list_work_groups()["WorkGroups"]] == ["primary"]
