"""CloudWatch Logs: groups, what is counted in them, and saved queries."""

from __future__ import annotations

from typing import Any, ClassVar

from ..api import pick, tags
from .base import Made, Model, Place, Properties, model, names


@model("AWS::Logs::LogGroup")
class LogGroup(Model):
    properties = names("LogGroupName RetentionInDays KmsKeyId LogGroupClass Tags")
    immutable = names("LogGroupName LogGroupClass")
    unread: ClassVar = {"DeletionProtectionEnabled": "moto's log groups have no such flag"}

    def create(self, place: Place, properties: Properties) -> Made:
        name = properties.get("LogGroupName") or place.name(512)
        place.api(
            "logs",
            "create_log_group",
            logGroupName=name,
            kmsKeyId=properties.get("KmsKeyId"),
            logGroupClass=properties.get("LogGroupClass"),
            tags=tags(properties) or None,
        )
        made = Made(name, {"Arn": place.arn("logs", f"log-group:{name}:*")})
        self._retain(place, made, properties)
        return made

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        self._retain(place, made, properties)
        if properties.get("KmsKeyId") != old.get("KmsKeyId"):
            if "KmsKeyId" in properties:
                place.api(
                    "logs",
                    "associate_kms_key",
                    logGroupName=made.physical_id,
                    kmsKeyId=properties["KmsKeyId"],
                )
            else:
                place.api("logs", "disassociate_kms_key", logGroupName=made.physical_id)
        if tags(properties):
            place.api("logs", "tag_log_group", logGroupName=made.physical_id, tags=tags(properties))
        return made

    def _retain(self, place: Place, made: Made, properties: Properties) -> None:
        days = properties.get("RetentionInDays")
        if days:
            place.api("logs", "put_retention_policy", logGroupName=made.physical_id, retentionInDays=days)
        else:
            place.api("logs", "delete_retention_policy", logGroupName=made.physical_id)

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("logs", "delete_log_group", logGroupName=made.physical_id)


@model("AWS::Logs::MetricFilter")
class MetricFilter(Model):
    properties = names("FilterName FilterPattern LogGroupName MetricTransformations")
    immutable = names("FilterName LogGroupName")

    def create(self, place: Place, properties: Properties) -> Made:
        return self.update(place, Made(properties.get("FilterName") or place.name()), properties, {})

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        place.api(
            "logs",
            "put_metric_filter",
            logGroupName=properties["LogGroupName"],
            filterName=made.physical_id,
            filterPattern=properties["FilterPattern"],
            metricTransformations=[_transformation(item) for item in properties["MetricTransformations"]],
        )
        return made

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api(
            "logs",
            "delete_metric_filter",
            logGroupName=properties["LogGroupName"],
            filterName=made.physical_id,
        )


def _transformation(given: Properties) -> dict[str, Any]:
    found: dict[str, Any] = {key[0].lower() + key[1:]: value for key, value in given.items()}
    if "dimensions" in found:
        found["dimensions"] = {item["Key"]: item["Value"] for item in found["dimensions"]}
    return found


@model("AWS::Logs::QueryDefinition")
class QueryDefinition(Model):
    properties = names("Name QueryString LogGroupNames QueryLanguage")

    def create(self, place: Place, properties: Properties) -> Made:
        return self._put(place, properties)

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        return self._put(place, properties, queryDefinitionId=made.physical_id)

    def _put(self, place: Place, properties: Properties, **known: str) -> Made:
        asked = {key[0].lower() + key[1:]: value for key, value in properties.items()}
        made = place.api("logs", "put_query_definition", **asked, **known)["queryDefinitionId"]
        return Made(made, {"QueryDefinitionId": made})

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("logs", "delete_query_definition", queryDefinitionId=made.physical_id)


@model("AWS::Logs::ResourcePolicy")
class ResourcePolicy(Model):
    properties = names("PolicyName PolicyDocument")
    immutable = names("PolicyName")

    def create(self, place: Place, properties: Properties) -> Made:
        asked = pick(properties, "PolicyName", "PolicyDocument")
        place.api("logs", "put_resource_policy", **{key[0].lower() + key[1:]: asked[key] for key in asked})
        return Made(properties["PolicyName"])

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        return self.create(place, properties)

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("logs", "delete_resource_policy", policyName=made.physical_id)
