"""Whether what a template says can be read back through AWS's API: nothing may get lost on the way.

`unreadable` looks for every literal of every resource in what the services answer about that resource. It is a
coarse sieve, a short value may be found by chance, but a property that a service drops does not pass it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

Ask = Callable[..., Any]
Reader = Callable[[Ask, str], Any]

# Not to be read back from AWS either, or named otherwise there.
SILENT = {
    ("AWS::SecretsManager::Secret", "GenerateSecretString"): "the recipe of a secret is not kept",
    ("AWS::EC2::FlowLog", "ResourceType"): "told by the id of the resource",
    ("AWS::S3::Bucket", "ObjectLockEnabled"): "a bucket without it has no such setting",
    ("AWS::CloudWatch::Dashboard", "Tags"): "in the model's list of unread properties",
    ("AWS::RDS::DBInstance", "DeleteAutomatedBackups"): "said when the instance is deleted",
    ("AWS::Lambda::Function", "Code"): "a function shows its code's hash",
    ("AWS::Lambda::LayerVersion", "Content"): "a layer shows its code's hash",
}


def _arn(service: str, resource: str) -> str:
    return f"arn:aws:{service}:us-east-2:123456789012:{resource}"


def _buckets(ask: Ask, name: str) -> list[Any]:
    parts = "versioning encryption ownership_controls lifecycle_configuration logging tagging policy"
    found = [ask("s3", f"get_bucket_{part}", Bucket=name) for part in parts.split()]
    return [name, *found, ask("s3", "get_public_access_block", Bucket=name)]


def _role(ask: Ask, name: str) -> list[Any]:
    inline = ask("iam", "list_role_policies", RoleName=name)["PolicyNames"]
    found = [ask("iam", "get_role_policy", RoleName=name, PolicyName=policy) for policy in inline]
    return [
        ask("iam", "get_role", RoleName=name),
        ask("iam", "list_attached_role_policies", RoleName=name),
        *found,
    ]


def _function(ask: Ask, name: str) -> list[Any]:
    concurrency = ask("lambda", "get_function_concurrency", FunctionName=name)
    return [ask("lambda", "get_function", FunctionName=name), concurrency]


def _layer(ask: Ask, arn: str) -> list[Any]:
    name, _, version = arn.rpartition(":")
    return [arn, ask("lambda", "get_layer_version", LayerName=name, VersionNumber=int(version))]


def _managed_policy(ask: Ask, arn: str) -> list[Any]:
    policy = ask("iam", "get_policy", PolicyArn=arn)
    version = policy["Policy"]["DefaultVersionId"]
    return [policy, ask("iam", "get_policy_version", PolicyArn=arn, VersionId=version)]


def _each(service: str, listing: str, key: str, item: Callable[[Ask, Any], Any]) -> Reader:
    return lambda ask, _: [item(ask, found) for found in ask(service, listing).get(key, [])]


def _all(service: str, operation: str) -> Reader:
    return lambda ask, _: ask(service, operation)


def _rds(noun: str, kind: str, name: str) -> Reader:
    return lambda ask, identifier: [
        ask("rds", f"describe_db_{noun}", **{name: identifier}),
        ask("rds", "list_tags_for_resource", ResourceName=_arn("rds", f"{kind}:{identifier}")),
    ]


def _api(verb: str) -> Reader:
    """A part of an HTTP API; there are so few APIs that all are read."""
    return _each("apigatewayv2", "get_apis", "Items", lambda ask, api: ask("apigatewayv2", verb, ApiId=api["ApiId"]))


READERS: dict[str, Reader] = {
    "AWS::ApiGatewayV2::Api": lambda ask, name: ask("apigatewayv2", "get_api", ApiId=name),
    "AWS::ApiGatewayV2::Integration": _api("get_integrations"),
    "AWS::ApiGatewayV2::Route": _api("get_routes"),
    "AWS::ApiGatewayV2::Stage": _api("get_stages"),
    "AWS::IAM::OIDCProvider": lambda ask, arn: [
        "https://example.com",
        ask("iam", "get_open_id_connect_provider", OpenIDConnectProviderArn=arn),
    ],
    "AWS::Lambda::Alias": _each(
        "lambda",
        "list_functions",
        "Functions",
        lambda ask, found: ask("lambda", "list_aliases", FunctionName=found["FunctionName"]),
    ),
    "AWS::Lambda::EventSourceMapping": lambda ask, name: ask("lambda", "get_event_source_mapping", UUID=name),
    "AWS::Lambda::Version": _all("lambda", "list_functions"),
    "AWS::Logs::ResourcePolicy": _all("logs", "describe_resource_policies"),
    "AWS::SSM::Parameter": lambda ask, name: [
        ask("ssm", "get_parameter", Name=name),
        ask("ssm", "describe_parameters"),
    ],
    "AWS::Scheduler::Schedule": _each(
        "scheduler",
        "list_schedules",
        "Schedules",
        lambda ask, found: ask("scheduler", "get_schedule", Name=found["Name"], GroupName=found["GroupName"]),
    ),
    "AWS::Scheduler::ScheduleGroup": lambda ask, name: ask("scheduler", "get_schedule_group", Name=name),
    "AWS::Athena::WorkGroup": lambda ask, name: [
        ask("athena", "get_work_group", WorkGroup=name),
        ask("athena", "list_tags_for_resource", ResourceARN=_arn("athena", f"workgroup/{name}")),
    ],
    "AWS::Athena::NamedQuery": lambda ask, name: ask("athena", "get_named_query", NamedQueryId=name),
    "AWS::CloudWatch::Alarm": lambda ask, name: [
        ask("cloudwatch", "describe_alarms", AlarmNames=[name]),
        ask("cloudwatch", "list_tags_for_resource", ResourceARN=_arn("cloudwatch", f"alarm:{name}")),
    ],
    "AWS::CloudWatch::Dashboard": lambda ask, name: ask("cloudwatch", "get_dashboard", DashboardName=name),
    "AWS::EC2::EIP": _all("ec2", "describe_addresses"),
    "AWS::EC2::FlowLog": lambda ask, name: ask("ec2", "describe_flow_logs", FlowLogIds=[name]),
    "AWS::EC2::InternetGateway": _all("ec2", "describe_internet_gateways"),
    "AWS::EC2::NatGateway": lambda ask, name: ask("ec2", "describe_nat_gateways", NatGatewayIds=[name]),
    "AWS::EC2::Route": _all("ec2", "describe_route_tables"),
    "AWS::EC2::RouteTable": lambda ask, name: ask("ec2", "describe_route_tables", RouteTableIds=[name]),
    "AWS::EC2::SecurityGroup": lambda ask, name: ask("ec2", "describe_security_groups", GroupIds=[name]),
    "AWS::EC2::SecurityGroupEgress": _all("ec2", "describe_security_groups"),
    "AWS::EC2::SecurityGroupIngress": _all("ec2", "describe_security_groups"),
    "AWS::EC2::Subnet": lambda ask, name: ask("ec2", "describe_subnets", SubnetIds=[name]),
    "AWS::EC2::SubnetRouteTableAssociation": _all("ec2", "describe_route_tables"),
    "AWS::EC2::VPC": lambda ask, name: [
        ask("ec2", "describe_vpcs", VpcIds=[name]),
        ask("ec2", "describe_vpc_attribute", VpcId=name, Attribute="enableDnsHostnames"),
        ask("ec2", "describe_vpc_attribute", VpcId=name, Attribute="enableDnsSupport"),
    ],
    "AWS::EC2::VPCEndpoint": lambda ask, name: ask("ec2", "describe_vpc_endpoints", VpcEndpointIds=[name]),
    "AWS::EC2::VPCGatewayAttachment": _all("ec2", "describe_internet_gateways"),
    "AWS::Events::Rule": lambda ask, name: [
        ask("events", "describe_rule", Name=name),
        ask("events", "list_targets_by_rule", Rule=name),
        ask("events", "list_tags_for_resource", ResourceARN=_arn("events", f"rule/{name}")),
    ],
    "AWS::Glue::Database": lambda ask, name: ask("glue", "get_database", Name=name),
    "AWS::Glue::Table": _each(
        "glue",
        "get_databases",
        "DatabaseList",
        lambda ask, found: ask("glue", "get_tables", DatabaseName=found["Name"]),
    ),
    "AWS::IAM::ManagedPolicy": _managed_policy,
    "AWS::IAM::Policy": _each("iam", "list_roles", "Roles", lambda ask, found: _role(ask, found["RoleName"])),
    "AWS::IAM::Role": _role,
    "AWS::KMS::Alias": _all("kms", "list_aliases"),
    "AWS::KMS::Key": lambda ask, name: [
        ask("kms", "describe_key", KeyId=name),
        ask("kms", "get_key_policy", KeyId=name, PolicyName="default"),
        ask("kms", "get_key_rotation_status", KeyId=name),
        ask("kms", "list_resource_tags", KeyId=name),
    ],
    "AWS::Lambda::EventInvokeConfig": lambda ask, name: [
        "$LATEST",
        ask("lambda", "get_function_event_invoke_config", FunctionName=name.split("|")[0]),
    ],
    "AWS::Lambda::Function": _function,
    "AWS::Lambda::LayerVersion": _layer,
    "AWS::Lambda::Permission": _each(
        "lambda",
        "list_functions",
        "Functions",
        lambda ask, found: ask("lambda", "get_policy", FunctionName=found["FunctionName"]),
    ),
    "AWS::Logs::LogGroup": lambda ask, name: [
        ask("logs", "describe_log_groups", logGroupNamePrefix=name),
        ask("logs", "list_tags_log_group", logGroupName=name),
    ],
    "AWS::Logs::MetricFilter": _all("logs", "describe_metric_filters"),
    "AWS::Logs::QueryDefinition": _all("logs", "describe_query_definitions"),
    "AWS::RDS::DBInstance": _rds("instances", "db", "DBInstanceIdentifier"),
    "AWS::RDS::DBParameterGroup": lambda ask, name: [
        _rds("parameter_groups", "pg", "DBParameterGroupName")(ask, name),
        ask("rds", "describe_db_parameters", DBParameterGroupName=name),
    ],
    "AWS::RDS::DBSubnetGroup": _rds("subnet_groups", "subgrp", "DBSubnetGroupName"),
    "AWS::S3::Bucket": _buckets,
    "AWS::S3::BucketPolicy": _buckets,
    "AWS::SNS::Subscription": lambda ask, arn: ask("sns", "get_subscription_attributes", SubscriptionArn=arn),
    "AWS::SNS::Topic": lambda ask, arn: [
        ask("sns", "get_topic_attributes", TopicArn=arn),
        ask("sns", "list_tags_for_resource", ResourceArn=arn),
    ],
    "AWS::SNS::TopicPolicy": _each(
        "sns",
        "list_topics",
        "Topics",
        lambda ask, found: ask("sns", "get_topic_attributes", TopicArn=found["TopicArn"]),
    ),
    "AWS::SQS::Queue": lambda ask, url: [
        url,
        ask("sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=["All"]),
        ask("sqs", "list_queue_tags", QueueUrl=url),
    ],
    "AWS::SQS::QueuePolicy": lambda ask, _: [
        ask("sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=["All"])
        for url in ask("sqs", "list_queues").get("QueueUrls", [])
    ],
    "AWS::SecretsManager::ResourcePolicy": lambda ask, arn: ask("secretsmanager", "get_resource_policy", SecretId=arn),
    "AWS::SecretsManager::Secret": lambda ask, arn: [
        ask("secretsmanager", "describe_secret", SecretId=arn),
        ask("secretsmanager", "get_secret_value", SecretId=arn),
    ],
    "AWS::SecretsManager::SecretTargetAttachment": lambda ask, arn: [
        "AWS::RDS::DBInstance",
        ask("secretsmanager", "get_secret_value", SecretId=arn),
    ],
}


def unreadable(client: Callable[[str], Any], stack: str, template: dict[str, Any]) -> list[str]:
    """What the template of a deployed stack says and no service tells again: type, logical name, path, value."""

    def ask(service: str, operation: str, **parameters: Any) -> Any:
        api = client(service)
        try:
            return getattr(api, operation)(**parameters)
        except api.exceptions.ClientError as error:
            return {"error": str(error)}

    listed = client("cloudformation").describe_stack_resources(StackName=stack)["StackResources"]
    ids = {item["LogicalResourceId"]: item["PhysicalResourceId"] for item in listed}
    missing = []
    for name, resource in template["Resources"].items():
        kind, properties = resource["Type"], resource.get("Properties", {})
        if kind.startswith("Custom::") or kind in ("AWS::CloudFormation::CustomResource", "AWS::CDK::Metadata"):
            continue
        told = set(_words(READERS[kind](ask, ids[name])))
        for key, value in properties.items():
            if (kind, key) not in SILENT:
                missing += [f"{kind} {name} {path}: {said}" for path, said in _said(value, key) if not _in(said, told)]
    return missing


def _said(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """The literals of a property. What refers to something else has no value yet."""
    if isinstance(value, dict):
        if not any(key == "Ref" or key.startswith("Fn::") for key in value):
            for key, item in value.items():
                yield from _said(item, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from _said(item, f"{path}[]")
    else:
        yield path, str(value).lower()


def _words(answer: Any) -> Iterator[str]:
    """Every value and name in an answer; also in the documents that are text in it."""
    if isinstance(answer, dict):
        yield from (str(key).lower() for key in answer)
    if isinstance(answer, dict | list):
        for item in answer.values() if isinstance(answer, dict) else answer:
            yield from _words(item)
    else:
        yield str(answer).lower()
        yield f"{answer:g}" if isinstance(answer, float) else ""
        if isinstance(answer, str) and answer[:1] in ("{", "["):
            try:
                yield from _words(json.loads(answer))
            except ValueError:
                return


def _in(said: str, told: set[str]) -> bool:
    return said in told or (len(said) > 6 and any(said in word for word in told))
