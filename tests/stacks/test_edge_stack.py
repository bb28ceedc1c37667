"""HTTPS in front of the loader: which routes, who may call what, how much, and what is logged."""

import json
import re
from typing import Any

import pytest

from stacks.synthesis import in_process, synthesize, templates

ROUTES = {
    "POST /api/boot",
    "POST /api/spans",
    "GET /api/spans",
    "GET /api/spans/{id}",
    "GET /api/timeline",
    "POST /api/functions/{id}/run",
    "GET /api/metrics",
    "GET /api/manifest",
    "POST /api/enroll",
    "GET /health",
    "GET /api/openapi.json",
}


def only(found: dict[str, Any]) -> dict[str, Any]:
    (one,) = found.values()
    properties: dict[str, Any] = one
    return properties


def test_only_documented_routes_reach_the_loader(each: Any, properties: Any) -> None:
    edge = each[1]["edge"]
    routes = properties(edge, "AWS::ApiGatewayV2::Route").values()
    assert sorted(route["RouteKey"] for route in routes) == sorted(ROUTES)
    (integration,) = properties(edge, "AWS::ApiGatewayV2::Integration")
    assert {json.dumps(route["Target"]) for route in routes} == {
        json.dumps({"Fn::Join": ["", ["integrations/", {"Ref": integration}]]})
    }


def test_the_integration_gives_up_before_the_gateway_does(each: Any, properties: Any) -> None:
    integration = only(properties(each[1]["edge"], "AWS::ApiGatewayV2::Integration"))
    assert (integration["IntegrationType"], integration["PayloadFormatVersion"]) == ("AWS_PROXY", "2.0")
    assert integration["TimeoutInMillis"] < 30_000
    assert "LoaderFunction" in json.dumps(integration["IntegrationUri"])


def test_this_api_alone_may_call_the_loader_and_nothing_else(each: Any, properties: Any) -> None:
    edge = each[1]["edge"]
    permission = only(properties(edge, "AWS::Lambda::Permission"))
    assert (permission["Action"], permission["Principal"]) == ("lambda:InvokeFunction", "apigateway.amazonaws.com")
    assert "LoaderFunction" in json.dumps(permission["FunctionName"])
    (api,) = properties(edge, "AWS::ApiGatewayV2::Api")
    source = permission["SourceArn"]["Fn::Join"][1]
    assert {"Ref": api} in source
    assert {"Ref": "AWS::AccountId"} in source
    assert re.fullmatch(r"(/\*)+", source[-1])


def test_throttling_is_the_environments(each: Any, properties: Any) -> None:
    environment, found = each
    stage = only(properties(found["edge"], "AWS::ApiGatewayV2::Stage"))
    assert stage["DefaultRouteSettings"] == {
        "ThrottlingRateLimit": environment.api_rate,
        "ThrottlingBurstLimit": environment.api_burst,
        "DetailedMetricsEnabled": True,
    }
    assert stage["RouteSettings"]["POST /api/enroll"] == {
        "ThrottlingRateLimit": environment.enroll_rate,
        "ThrottlingBurstLimit": environment.enroll_burst,
        "DetailedMetricsEnabled": True,
    }


def test_settings_of_a_route_come_after_the_route(each: Any, properties: Any) -> None:
    """AWS refuses a stage whose settings name a route that is not there yet."""
    edge = each[1]["edge"]
    enroll = next(
        name
        for name, route in properties(edge, "AWS::ApiGatewayV2::Route").items()
        if route["RouteKey"] == "POST /api/enroll"
    )
    stage = only(properties(edge, "AWS::ApiGatewayV2::Stage"))
    assert set(stage["RouteSettings"]) == {"POST /api/enroll"}
    assert stage["~"]["DependsOn"] == [enroll]


def test_every_request_is_logged_without_what_it_carries(each: Any, properties: Any) -> None:
    environment, found = each
    stage = only(properties(found["edge"], "AWS::ApiGatewayV2::Stage"))
    (group,) = properties(found["edge"], "AWS::Logs::LogGroup").items()
    assert stage["AccessLogSettings"]["DestinationArn"] == {"Fn::GetAtt": [group[0], "Arn"]}
    assert group[1]["LogGroupName"] == f"/aws/vendedlogs/{environment.resource('edge')}"
    assert group[1]["RetentionInDays"] == environment.log_days
    assert "Key961B73FDArn" in json.dumps(group[1]["KmsKeyId"])
    written = json.loads(stage["AccessLogSettings"]["Format"])
    assert {"requestId", "sourceIp", "routeKey", "status", "responseLatency", "integrationError"} <= set(written)
    # `path` is without the query; headers, and so tokens, are no variable of an HTTP API's log.
    assert all(re.fullmatch(r"\$context\.[A-Za-z.]+", value) for value in written.values())


def test_no_origin_is_allowed_unless_it_is_named(each: Any, properties: Any) -> None:
    assert "CorsConfiguration" not in only(properties(each[1]["edge"], "AWS::ApiGatewayV2::Api"))


def test_named_origins_are_allowed_by_the_api_and_known_to_the_loader(tmp_path: Any, properties: Any) -> None:
    origins = "https://app.example.com,http://localhost:5173"
    app, environment = in_process("dev", tmp_path, cors_origins=origins)
    found = templates(environment, synthesize(app))
    cors = only(properties(found["edge"], "AWS::ApiGatewayV2::Api"))["CorsConfiguration"]
    assert cors["AllowOrigins"] == origins.split(",")
    assert cors["AllowMethods"] == ["GET", "POST"]
    assert {"authorization", "idempotency-key"} <= set(cors["AllowHeaders"])
    assert "AllowCredentials" not in cors
    loader = properties(found["functions"], "AWS::Lambda::Function")["LoaderFunction8EC4C94F"]
    assert loader["Environment"]["Variables"]["CORS_ORIGINS"] == origins


def test_an_own_domain_takes_tls_1_2_and_closes_the_other_door(tmp_path: Any, properties: Any) -> None:
    certificate = "arn:aws:acm:us-east-1:123456789012:certificate/abc"
    app, environment = in_process("prod", tmp_path, api_domain="ledger.example.com", api_certificate=certificate)
    edge = templates(environment, synthesize(app))["edge"]
    (configured,) = only(properties(edge, "AWS::ApiGatewayV2::DomainName"))["DomainNameConfigurations"]
    assert (configured["SecurityPolicy"], configured["CertificateArn"]) == ("TLS_1_2", certificate)
    assert only(properties(edge, "AWS::ApiGatewayV2::Api"))["DisableExecuteApiEndpoint"] is True
    assert only(properties(edge, "AWS::ApiGatewayV2::ApiMapping"))["Stage"] == {"Ref": "Stage"}
    assert edge["Outputs"]["Url"]["Value"] == "https://ledger.example.com"
    assert "RegionalDomainName" in json.dumps(edge["Outputs"]["DomainTarget"])


def test_the_url_is_an_output(each: Any) -> None:
    assert "Api" in json.dumps(each[1]["edge"]["Outputs"]["Url"]["Value"])


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_tokens_are_for_this_service(name: str, synthesized: Any, properties: Any) -> None:
    found = synthesized(name)[1]["functions"]
    variables = properties(found, "AWS::Lambda::Function")["LoaderFunction8EC4C94F"]["Environment"]["Variables"]
    assert (variables["TOKEN_AUDIENCE"], variables["CORS_ORIGINS"]) == ("loglineos", "")


def test_no_other_stack_hangs_on_it_but_the_alarms(each: Any) -> None:
    """So that a failed deployment of the API rolls back nothing of the others."""
    environment, found = each
    exported = f"{environment.resource('edge')}:"
    assert [part for part, template in found.items() if exported in json.dumps(template)] == ["edge", "monitoring"]
