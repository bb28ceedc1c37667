"""The HTTP API in front of the loader, as moto keeps it. `gateway/` serves it."""

from __future__ import annotations

from typing import Any

from ..api import tags, without
from .base import Made, Model, Place, Properties, model, names


@model("AWS::ApiGatewayV2::Api")
class HttpApi(Model):
    properties = names(
        "Name Description ProtocolType CorsConfiguration DisableExecuteApiEndpoint IpAddressType Version Tags"
    )
    immutable = names("ProtocolType")

    def create(self, place: Place, properties: Properties) -> Made:
        asked = {**without(properties, "Tags"), "Tags": tags(properties) or None}
        api = place.api("apigatewayv2", "create_api", **asked)
        return Made(api["ApiId"], {"ApiEndpoint": api["ApiEndpoint"], "ApiId": api["ApiId"]})

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        asked = without(properties, "Tags", "ProtocolType")
        place.api("apigatewayv2", "update_api", ApiId=made.physical_id, **asked)
        return made

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("apigatewayv2", "delete_api", ApiId=made.physical_id)


class _Part(Model):
    """Something that belongs to an API, named by an id of its own."""

    immutable = names("ApiId")
    noun = ""
    key = ""

    def create(self, place: Place, properties: Properties) -> Made:
        made = place.api("apigatewayv2", f"create_{self.noun}", **self._asked(properties))[self.key]
        return Made(made, {self.key: made})

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        identifier: dict[str, Any] = {self.key: made.physical_id}
        place.api("apigatewayv2", f"update_{self.noun}", **{**self._asked(properties), **identifier})
        return made

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        identifier: dict[str, Any] = {self.key: made.physical_id}
        place.api("apigatewayv2", f"delete_{self.noun}", ApiId=properties["ApiId"], **identifier)

    def _asked(self, properties: Properties) -> dict[str, Any]:
        return properties


@model("AWS::ApiGatewayV2::Integration")
class Integration(_Part):
    noun, key = "integration", "IntegrationId"
    properties = names(
        "ApiId IntegrationType IntegrationUri IntegrationMethod PayloadFormatVersion TimeoutInMillis Description"
    )


@model("AWS::ApiGatewayV2::Route")
class Route(_Part):
    noun, key = "route", "RouteId"
    properties = names("ApiId RouteKey Target AuthorizationType AuthorizerId ApiKeyRequired AuthorizationScopes")


@model("AWS::ApiGatewayV2::Stage")
class Stage(_Part):
    noun, key = "stage", "StageName"
    properties = names(
        "ApiId StageName AutoDeploy DefaultRouteSettings RouteSettings AccessLogSettings Description Tags"
        " StageVariables"
    )
    immutable = names("ApiId StageName")

    def _asked(self, properties: Properties) -> dict[str, Any]:
        return {**without(properties, "Tags"), **({"Tags": tags(properties)} if tags(properties) else {})}

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        self.delete(place, made, old)  # moto has no UpdateStage
        return self.create(place, properties)
