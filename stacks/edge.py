"""HTTPS in front of the loader: an HTTP API with the documented routes and no other."""

import json
import re

import aws_cdk as cdk
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from stacks.environment import Environment
from stacks.logs import log_group
from stacks.stack import LedgerStack

ENROLL = "POST /api/enroll"
# What a caller reaches without the token of an enrolled device; the loader itself asks for it on all others.
PUBLIC_ROUTES = (ENROLL, "GET /health", "GET /api/openapi.json")
DEVICE_ROUTES = (
    "POST /api/boot",
    "POST /api/spans",
    "GET /api/spans",
    "GET /api/spans/{id}",
    "GET /api/timeline",
    "POST /api/functions/{id}/run",
    "GET /api/metrics",
    "GET /api/manifest",
)
# Below API Gateway's own limit of 30 s, and below the loader's time-out: the caller gets the error of whoever is late.
PATIENCE_MS = 29_000
# Who, what, how it went, how long: nothing that a caller sends as content, and no header, so that no token is written.
ACCESS_LOG = {
    "requestId": "$context.requestId",
    "requestTime": "$context.requestTime",
    "sourceIp": "$context.identity.sourceIp",
    "userAgent": "$context.identity.userAgent",
    "method": "$context.httpMethod",
    "routeKey": "$context.routeKey",
    "path": "$context.path",
    "protocol": "$context.protocol",
    "status": "$context.status",
    "responseLength": "$context.responseLength",
    "responseLatency": "$context.responseLatency",
    "integrationStatus": "$context.integration.status",
    "integrationLatency": "$context.integration.latency",
    "integrationRequestId": "$context.integration.requestId",
    "integrationError": "$context.integrationErrorMessage",
    "error": "$context.error.message",
}
# What a browser's page may send and read, from an origin that cors_origins names.
SENT_HEADERS = ["authorization", "content-type", "idempotency-key", "if-none-match"]
READ_HEADERS = ["etag", "retry-after", "www-authenticate", "x-request-id", "x-trace-id"]


class EdgeStack(LedgerStack):
    def __init__(self, scope: Construct, environment: Environment, loader: lambda_.IFunction, key: kms.IKey) -> None:
        super().__init__(scope, environment, "edge", "HTTPS in front of the loader")
        self.environment_settings = environment
        self.api = self._build_api()
        self._build_routes(loader)
        self.stage = self._build_stage(key)
        if environment.api_domain:
            self._build_domain()
        url = f"https://{environment.api_domain}" if environment.api_domain else self.api.api_endpoint
        cdk.CfnOutput(self, "Url", value=url, description="Where clients go: loglineos --url")

    def _build_api(self) -> apigateway.HttpApi:
        origins = list(self.environment_settings.cors_origins)
        cors = apigateway.CorsPreflightOptions(
            allow_origins=origins,
            allow_methods=[apigateway.CorsHttpMethod.GET, apigateway.CorsHttpMethod.POST],
            allow_headers=SENT_HEADERS,
            expose_headers=READ_HEADERS,
            max_age=cdk.Duration.hours(1),
        )
        return apigateway.HttpApi(
            self,
            "Api",
            api_name=self.environment_settings.resource("edge"),
            description="The loader over HTTPS, for enrolled devices",
            cors_preflight=cors if origins else None,
            create_default_stage=False,
            disable_execute_api_endpoint=bool(self.environment_settings.api_domain),
        )

    def _build_routes(self, loader: lambda_.IFunction) -> None:
        integration = apigateway.CfnIntegration(
            self,
            "Loader",
            api_id=self.api.api_id,
            integration_type="AWS_PROXY",
            integration_uri=loader.function_arn,
            payload_format_version="2.0",
            timeout_in_millis=PATIENCE_MS,
        )
        for route in (*DEVICE_ROUTES, *PUBLIC_ROUTES):
            apigateway.CfnRoute(
                self,
                route_id(route),
                api_id=self.api.api_id,
                route_key=route,
                authorization_type="NONE",
                target=f"integrations/{integration.ref}",
            )
        lambda_.CfnPermission(
            self,
            "MayCallLoader",
            action="lambda:InvokeFunction",
            function_name=loader.function_arn,
            principal="apigateway.amazonaws.com",
            source_arn=self.api.arn_for_execute_api(),
        )

    def _build_stage(self, key: kms.IKey) -> apigateway.CfnStage:
        environment = self.environment_settings
        # AWS's own prefix for logs that its services deliver: others share a policy of limited size.
        logs = log_group(self, "AccessLogs", environment, key, f"/aws/vendedlogs/{environment.resource('edge')}")
        stage = apigateway.CfnStage(
            self,
            "Stage",
            api_id=self.api.api_id,
            stage_name="$default",
            auto_deploy=True,
            default_route_settings=apigateway.CfnStage.RouteSettingsProperty(
                throttling_rate_limit=environment.api_rate,
                throttling_burst_limit=environment.api_burst,
                detailed_metrics_enabled=True,
            ),
            route_settings={
                ENROLL: {
                    "ThrottlingRateLimit": environment.enroll_rate,
                    "ThrottlingBurstLimit": environment.enroll_burst,
                    "DetailedMetricsEnabled": True,
                }
            },
            access_log_settings=apigateway.CfnStage.AccessLogSettingsProperty(
                destination_arn=logs.log_group_arn, format=json.dumps(ACCESS_LOG)
            ),
        )
        # Settings of a route's own are refused before the route is there.
        stage.node.add_dependency(self.node.find_child(route_id(ENROLL)))
        return stage

    def _build_domain(self) -> None:
        """The environment's own name; whoever runs its DNS points it to the output DomainTarget."""
        environment = self.environment_settings
        domain = apigateway.DomainName(
            self,
            "Domain",
            domain_name=environment.api_domain,
            certificate=acm.Certificate.from_certificate_arn(self, "Certificate", environment.api_certificate),
            security_policy=apigateway.SecurityPolicy.TLS_1_2,
        )
        apigateway.CfnApiMapping(
            self,
            "Mapping",
            api_id=self.api.api_id,
            domain_name=domain.name,
            stage=self.stage.ref,
        )
        cdk.CfnOutput(self, "DomainTarget", value=domain.regional_domain_name)


def route_id(route: str) -> str:
    """The construct of a route: `GET /api/spans/{id}` -> `GetApiSpansId`."""
    return "".join(word.capitalize() for word in re.findall(r"\w+", route))
