"""The functions, their roles and their logs (manual 3, 5.1, 7.1, 10.1)."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from stacks.rows import newest_seqs


def functions_of(templates: Mapping[str, Any], properties: Any) -> dict[str, dict[str, Any]]:
    found = [
        function
        for part in ("functions", "deployment")
        for function in properties(templates[part], "AWS::Lambda::Function").values()
    ]
    return {function["Handler"]: function for function in found}


LOADER, MIGRATION, DEPLOY = (
    "stage0_loader.handler.handler",
    "db_migration.handler.handler",
    "db_migration.deploy.handler",
)


@pytest.mark.parametrize(
    ("handler", "thing", "seconds", "megabytes", "layers"),
    [
        (LOADER, "stage0-loader", 30, 512, ["Dependencies"]),
        (MIGRATION, "db-migration", 60, 256, ["Dependencies"]),
        (DEPLOY, "db-deploy", 900, 1769, ["ArchiveLayer", "Dependencies"]),
    ],
)
def test_figures(
    handler: str, thing: str, seconds: int, megabytes: int, layers: list[str], each: Any, properties: Any
) -> None:
    environment, templates = each
    function = functions_of(templates, properties)[handler]
    assert function["FunctionName"] == environment.resource(thing)
    assert (function["Timeout"], function["MemorySize"]) == (seconds, megabytes)
    assert function["Runtime"] == f"python{environment.python_version}"
    assert function["Architectures"] == [environment.architecture]
    assert function["TracingConfig"] == {"Mode": "Active"}
    assert sorted(layer["Ref"][:-8] for layer in function["Layers"]) == layers  # without CDK's hash
    assert all("VpcfunctionsSubnet" in str(subnet) for subnet in function["VpcConfig"]["SubnetIds"])
    assert "DeadLetters" in str(function["DeadLetterConfig"])


def test_there_are_three_functions_and_no_other(each: Any, properties: Any) -> None:
    _, templates = each
    everywhere = [one for template in templates.values() for one in properties(template, "AWS::Lambda::Function")]
    assert len(everywhere) == len(functions_of(templates, properties)) == 3


def test_reserved_concurrency(each: Any, properties: Any) -> None:
    environment, templates = each
    found = functions_of(templates, properties)
    assert found[LOADER]["ReservedConcurrentExecutions"] == environment.loader_concurrency
    assert all(function["ReservedConcurrentExecutions"] for function in found.values())
    # A deployment, the archive, the notary, and the next notary, which finds that one at work.
    assert found[DEPLOY]["ReservedConcurrentExecutions"] >= 4


def test_both_database_functions_run_one_zip(each: Any, properties: Any) -> None:
    found = functions_of(each[1], properties)
    assert found[MIGRATION]["Code"] == found[DEPLOY]["Code"] != found[LOADER]["Code"]


def test_one_layer_for_all_and_the_archives_for_db_deploy(each: Any, properties: Any) -> None:
    _, templates = each
    layers = {part: properties(templates[part], "AWS::Lambda::LayerVersion") for part in ("functions", "deployment")}
    contents = {
        (part, name[:-8]): json.dumps(one["Content"]) for part, found in layers.items() for name, one in found.items()
    }
    assert contents.keys() == {
        ("functions", "Dependencies"), ("deployment", "Dependencies"), ("deployment", "ArchiveLayer")
    }  # fmt: skip
    assert contents["functions", "Dependencies"] == contents["deployment", "Dependencies"]
    assert contents["deployment", "ArchiveLayer"] != contents["deployment", "Dependencies"]


def test_loader_variables(each: Any, properties: Any) -> None:
    environment, templates = each
    variables = functions_of(templates, properties)[LOADER]["Environment"]["Variables"]
    assert variables["DATABASE_USER"] == "lambda_exec"
    assert "EndpointPort" in str(variables["DATABASE_PORT"])
    assert "EndpointAddress" in str(variables["DATABASE_HOST"])
    assert variables["DATABASE_NAME"] == "loglineos"
    assert variables["DATABASE_CA"] == "/var/task/certs/rds-ca.pem"
    assert json.loads(variables["MINIMUM_SEQS"]) == newest_seqs()
    assert "MemoryKey" in str(variables["MEMORY_KEY_SECRET"])
    assert variables["LOGLINEOS_OPENAI_SECRET"] == "loglineos-openai"
    assert str(variables["ALARM_TOPIC_ARN"]).endswith(f":{environment.resource('alarms')}']]}}")
    assert variables["METRICS_NAMESPACE"] == environment.resource("ledger")
    assert ("SIGNING_KEY_SECRET" in variables) is environment.sign_executions
    assert not {"DATABASE_URL", "SIGNING_KEY_HEX"} & set(variables)
    secure = (variables["DATABASE_SSLMODE"], variables["DATABASE_AUTH"], "DATABASE_SECRET" in variables)
    assert secure == (("verify-full", "iam", False) if environment.database_iam else ("disable", "secret", True))


@pytest.mark.parametrize("handler", [MIGRATION, DEPLOY])
def test_database_function_variables(handler: str, each: Any, properties: Any) -> None:
    environment, templates = each
    variables = functions_of(templates, properties)[handler]["Environment"]["Variables"]
    assert variables["DATABASE_AUTH"] == "secret"
    assert "MasterSecret" in str(variables["DATABASE_SECRET"])
    assert variables["REQUIRE_SIGNED_ROWS"] == ("1" if environment.require_signed_rows else "0")
    reports = "Replica" if environment.read_replica else "Primary"
    assert reports in str(variables["READONLY_DATABASE_HOST"])
    assert variables["READONLY_DATABASE_AUTH"] == ("iam" if environment.database_iam else "secret")
    assert ("READONLY_DATABASE_SECRET" in variables) is not environment.database_iam


def test_logs_are_explicit_and_expire(each: Any, properties: Any) -> None:
    environment, templates = each
    wanted = {f"/aws/lambda/{environment.resource(thing)}" for thing in ("stage0-loader", "db-migration", "db-deploy")}
    groups = [one for template in templates.values() for one in properties(template, "AWS::Logs::LogGroup").values()]
    assert wanted <= {one["LogGroupName"] for one in groups}
    assert all(one["RetentionInDays"] == environment.log_days and "KmsKeyId" in one for one in groups)


def statements(templates: Mapping[str, Any], properties: Any, role: str) -> Iterator[dict[str, Any]]:
    for part in ("functions", "deployment"):
        for one in properties(templates[part], "AWS::IAM::Role").values():
            if one["RoleName"] == role:
                yield from one["Policies"][0]["PolicyDocument"]["Statement"]


def allowed(found: Iterator[dict[str, Any]]) -> dict[str, list[str]]:
    """Each action with the resources it is allowed on, as text."""
    actions: dict[str, list[str]] = {}
    for statement in found:
        listed = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        for action in listed if statement["Effect"] == "Allow" else []:
            actions.setdefault(action, []).append(json.dumps(statement["Resource"]))
    return actions


EVERYONE = {
    "logs:CreateLogStream", "logs:PutLogEvents", "xray:PutTraceSegments", "xray:PutTelemetryRecords",
    "ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets",
    "ec2:DeleteNetworkInterface", "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses",
    "sqs:SendMessage", "secretsmanager:GetSecretValue", "kms:Decrypt", "rds-db:connect",
}  # fmt: skip
ARCHIVISTS = EVERYONE | {"s3:PutObject", "s3:GetObject", "s3:ListBucket", "kms:GenerateDataKey"}


@pytest.mark.parametrize(
    ("role", "actions"),
    [
        ("loglineos-lambda-role", EVERYONE | {"sns:Publish", "kms:GenerateDataKey"}),
        ("loglineos-db-migration-role", EVERYONE),
        ("loglineos-db-deploy-role", ARCHIVISTS),
    ],
)
def test_each_role_may_do_this_and_nothing_else(
    role: str, actions: set[str], prod: Mapping[str, Any], properties: Any
) -> None:
    found = allowed(statements(prod, properties, role))
    assert set(found) == actions
    anywhere = {action for action, resources in found.items() if '"*"' in resources}
    assert anywhere == {action for action in EVERYONE if re.match("ec2:|xray:", action)}
    assert all("Logs" in resource for resource in found["logs:PutLogEvents"])


def test_the_loader_signs_in_as_lambda_exec_alone(prod: Mapping[str, Any], properties: Any) -> None:
    found = allowed(statements(prod, properties, "loglineos-lambda-role"))
    (connect,) = found["rds-db:connect"]
    assert connect.endswith('"/lambda_exec"]]}')
    (secrets,) = found["secretsmanager:GetSecretValue"]
    assert "MasterSecret" not in secrets
    assert all(name in secrets for name in ("MemoryKey", "SigningKey", "loglineos-openai-??????"))


@pytest.mark.parametrize("role", ["loglineos-db-migration-role", "loglineos-db-deploy-role"])
def test_the_database_functions_hold_no_key(role: str, prod: Mapping[str, Any], properties: Any) -> None:
    found = allowed(statements(prod, properties, role))
    secrets = "".join(found["secretsmanager:GetSecretValue"])
    assert "MasterSecret" in secrets
    assert "MemoryKey" not in secrets
    assert "SigningKey" not in secrets
    assert ("CheckpointKey" in secrets) == (role == "loglineos-db-deploy-role")


def test_db_deploy_alone_writes_to_the_bucket(prod: Mapping[str, Any], properties: Any) -> None:
    found = allowed(statements(prod, properties, "loglineos-db-deploy-role"))
    (files,) = found["s3:PutObject"]
    assert "/spans/*" in files
    assert "/log/*" in files


def test_network_rights_are_denied_to_the_code_itself(prod: Mapping[str, Any], properties: Any) -> None:
    denied = [one for one in statements(prod, properties, "loglineos-lambda-role") if one["Effect"] == "Deny"]
    assert len(denied) == 1
    assert ":function:loglineos-stage0-loader" in json.dumps(denied[0]["Condition"]["ArnEquals"])


def test_custom_resource(each: Any, properties: Any) -> None:
    _, templates = each
    (resource,) = properties(templates["deployment"], "Custom::LedgerDeployment").values()
    assert "DeployFunction" in str(resource["ServiceToken"])
    assert resource["ServiceTimeout"] == "960", "a minute more than the function has"
    assert resource["DeploymentId"] == "pinned"
    assert re.fullmatch("[0-9a-f]{64}", resource["ContentHash"])
    (invoke,) = properties(templates["deployment"], "AWS::Lambda::EventInvokeConfig").values()
    assert invoke["MaximumRetryAttempts"] == 0


def test_dead_letters_wait_two_weeks(each: Any, properties: Any) -> None:
    _, templates = each
    queues = [one for template in templates.values() for one in properties(template, "AWS::SQS::Queue").values()]
    assert len(queues) == 4
    assert all(one["MessageRetentionPeriod"] == 14 * 24 * 3600 and one["SqsManagedSseEnabled"] for one in queues)
