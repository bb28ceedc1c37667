"""Lambda: functions, layers, versions, aliases, and who may call them."""

from __future__ import annotations

import io
import zipfile
from typing import Any, ClassVar

from botocore.exceptions import ClientError

from ..api import pick, tags, without
from .base import Made, Model, Place, Properties, model, names

_CONFIGURATION = [
    "Role",
    "Handler",
    "Runtime",
    "Timeout",
    "MemorySize",
    "Description",
    "Environment",
    "Layers",
    "VpcConfig",
    "TracingConfig",
    "DeadLetterConfig",
    "LoggingConfig",
    "EphemeralStorage",
    "KmsKeyArn",
]


@model("AWS::Lambda::Function")
class Function(Model):
    properties = names(
        "FunctionName Code PackageType Architectures ReservedConcurrentExecutions Tags " + " ".join(_CONFIGURATION)
    )
    immutable = names("FunctionName PackageType")

    def create(self, place: Place, properties: Properties) -> Made:
        if not str(properties.get("Runtime")).startswith("python3"):
            raise ValueError(
                f"The emulator runs Python functions only: {place.logical_id} is {properties.get('Runtime')}"
            )
        function = place.api(
            "lambda",
            "create_function",
            FunctionName=properties.get("FunctionName") or place.name(),
            Code=_code(properties),
            Tags=tags(properties) or None,
            **_configuration(properties),
            **pick(properties, "Architectures", "PackageType"),
        )
        made = Made(function["FunctionName"], {"Arn": function["FunctionArn"]})
        self._reserve(place, made, properties)
        return made

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        name, api = made.physical_id, place.api
        if pick(properties, "Code", "Architectures") != pick(old, "Code", "Architectures"):
            asked = pick(properties, "Architectures")
            api("lambda", "update_function_code", FunctionName=name, **_code(properties), **asked)
        # What left the template goes back to its default.
        defaults = {key: _DEFAULTS[key] for key in _DEFAULTS if key in old and key not in properties}
        asked = _configuration({**defaults, **properties})
        api("lambda", "update_function_configuration", FunctionName=name, **asked)
        self._reserve(place, made, properties)
        gone = [key for key in tags(old) if key not in tags(properties)]
        if gone:
            api("lambda", "untag_resource", Resource=made.attributes["Arn"], TagKeys=gone)
        if tags(properties):
            api("lambda", "tag_resource", Resource=made.attributes["Arn"], Tags=tags(properties))
        return made

    def _reserve(self, place: Place, made: Made, properties: Properties) -> None:
        reserved = properties.get("ReservedConcurrentExecutions")
        if reserved is None:
            place.api("lambda", "delete_function_concurrency", FunctionName=made.physical_id)
        else:
            place.api(
                "lambda",
                "put_function_concurrency",
                FunctionName=made.physical_id,
                ReservedConcurrentExecutions=reserved,
            )

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("lambda", "delete_function", FunctionName=made.physical_id)


_DEFAULTS: dict[str, Any] = {
    "Description": "",
    "Environment": {"Variables": {}},
    "Layers": [],
    "MemorySize": 128,
    "Timeout": 3,
    "TracingConfig": {"Mode": "PassThrough"},
    "DeadLetterConfig": {"TargetArn": ""},
    "EphemeralStorage": {"Size": 512},
    "VpcConfig": {"SubnetIds": [], "SecurityGroupIds": []},
}


def _configuration(properties: Properties) -> dict[str, Any]:
    found = pick(properties, *_CONFIGURATION)
    if "KmsKeyArn" in found:
        found["KMSKeyArn"] = found.pop("KmsKeyArn")
    return found


def _code(properties: Properties) -> dict[str, Any]:
    code = properties["Code"]
    if "ZipFile" not in code:
        return pick(code, "S3Bucket", "S3Key", "S3ObjectVersion")
    # In a template ZipFile is the source itself, of the module `index`.
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("index.py", (1980, 1, 1, 0, 0, 0)), code["ZipFile"])
    return {"ZipFile": buffer.getvalue()}


@model("AWS::Lambda::LayerVersion")
class LayerVersion(Model):
    properties = names("LayerName Content Description CompatibleRuntimes CompatibleArchitectures LicenseInfo")

    def create(self, place: Place, properties: Properties) -> Made:
        asked = {**properties, "LayerName": properties.get("LayerName") or place.name()}
        arn = place.api("lambda", "publish_layer_version", **asked)["LayerVersionArn"]
        return Made(arn, {"LayerVersionArn": arn})

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        layer, _, version = made.physical_id.rpartition(":")
        place.api("lambda", "delete_layer_version", LayerName=layer, VersionNumber=version)


@model("AWS::Lambda::Version")
class Version(Model):
    properties = names("FunctionName Description CodeSha256")
    unread: ClassVar = {"ProvisionedConcurrencyConfig": "nothing is provisioned on one machine"}

    def create(self, place: Place, properties: Properties) -> Made:
        asked = pick(properties, "FunctionName", "Description", "CodeSha256")
        version = place.api("lambda", "publish_version", **asked)
        arn = version["FunctionArn"]
        return Made(arn, {"FunctionArn": arn, "Version": version["Version"]})

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        name, _, version = made.physical_id.rpartition(":")
        place.api("lambda", "delete_function", FunctionName=name, Qualifier=version)


@model("AWS::Lambda::Alias")
class Alias(Model):
    properties = names("FunctionName FunctionVersion Name Description")
    immutable = names("FunctionName Name")

    def create(self, place: Place, properties: Properties) -> Made:
        arn = place.api("lambda", "create_alias", **properties)["AliasArn"]
        return Made(arn, {"AliasArn": arn})

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        place.api("lambda", "update_alias", **properties)
        return made

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("lambda", "delete_alias", **pick(properties, "FunctionName", "Name"))


@model("AWS::Lambda::Permission")
class Permission(Model):
    properties = names(
        "FunctionName Action Principal SourceArn SourceAccount EventSourceToken PrincipalOrgID FunctionUrlAuthType"
    )

    def create(self, place: Place, properties: Properties) -> Made:
        statement = place.name(100)
        place.api("lambda", "add_permission", StatementId=statement, **properties)
        return Made(statement, {"Id": statement})

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        try:
            place.api(
                "lambda",
                "remove_permission",
                FunctionName=properties["FunctionName"],
                StatementId=made.physical_id,
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise


@model("AWS::Lambda::EventInvokeConfig")
class EventInvokeConfig(Model):
    properties = names("FunctionName Qualifier MaximumRetryAttempts MaximumEventAgeInSeconds DestinationConfig")
    immutable = names("FunctionName Qualifier")

    def create(self, place: Place, properties: Properties) -> Made:
        place.api("lambda", "put_function_event_invoke_config", **_unqualified(properties))
        return Made(f"{properties['FunctionName']}|{properties.get('Qualifier', '$LATEST')}")

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        self.delete(place, made, old)
        return self.create(place, properties)

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        asked = pick(_unqualified(properties), "FunctionName", "Qualifier")
        place.api("lambda", "delete_function_event_invoke_config", **asked)


def _unqualified(properties: Properties) -> Properties:
    """$LATEST is what a function is without a qualifier, and moto knows it only so."""
    return without(properties, "Qualifier") if properties.get("Qualifier") == "$LATEST" else properties


@model("AWS::Lambda::EventSourceMapping")
class EventSourceMapping(Model):
    properties = names(
        "FunctionName EventSourceArn BatchSize Enabled MaximumBatchingWindowInSeconds FunctionResponseTypes"
    )
    immutable = names("EventSourceArn")

    def create(self, place: Place, properties: Properties) -> Made:
        made = place.api("lambda", "create_event_source_mapping", **properties)["UUID"]
        return Made(made, {"Id": made})

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        asked = without(properties, "EventSourceArn")
        place.api("lambda", "update_event_source_mapping", UUID=made.physical_id, **asked)
        return made

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("lambda", "delete_event_source_mapping", UUID=made.physical_id)
