"""Calls to the emulated AWS API, with the values of a template made to fit them."""

from __future__ import annotations

import threading
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.model import ListShape, MapShape, Shape, StructureShape

from .addresses import ACCESS_KEY, SECRET_KEY


class Misfit(ValueError):
    """A template's value does not fit the API call it belongs to."""


def fit(shape: Shape, value: Any, path: str = "") -> Any:
    """`value` with the types of `shape`.

    CloudFormation accepts "20" for a number and "true" for a boolean; the APIs don't. A name the API
    does not know is an error here: dropping it would be a deployment that only looks done.
    """
    if isinstance(shape, StructureShape) and isinstance(value, dict):
        unknown = [name for name in value if name not in shape.members]
        if unknown:
            raise Misfit(f"{path or shape.name}: unknown properties {', '.join(sorted(unknown))}")
        return {name: fit(shape.members[name], item, f"{path}/{name}") for name, item in value.items()}
    if isinstance(shape, ListShape) and isinstance(value, list):
        return [fit(shape.member, item, f"{path}/{index}") for index, item in enumerate(value)]
    if isinstance(shape, MapShape) and isinstance(value, dict):
        return {name: fit(shape.value, item, f"{path}/{name}") for name, item in value.items()}
    kind = shape.type_name
    try:
        if kind in ("integer", "long"):
            return int(value)
        if kind in ("float", "double"):
            return float(value)
    except (TypeError, ValueError):
        raise Misfit(f"{path}: {value!r} is not a number") from None
    if kind == "boolean" and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if kind == "string" and isinstance(value, bool | int | float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    return value


class Api:
    """The emulated AWS, as its resource models call it: over HTTP, like anybody else."""

    def __init__(self, url: str, region: str) -> None:
        self.url = url
        self.region = region
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    def client(self, service: str) -> Any:
        with self._lock:
            if service not in self._clients:
                self._clients[service] = boto3.session.Session().client(
                    service,
                    endpoint_url=self.url,
                    region_name=self.region,
                    aws_access_key_id=ACCESS_KEY,
                    aws_secret_access_key=SECRET_KEY,
                    config=Config(
                        retries={"max_attempts": 1, "mode": "standard"},
                        read_timeout=120,
                        s3={"addressing_style": "path"},
                    ),
                )
            return self._clients[service]

    def __call__(self, service: str, operation: str, /, **parameters: Any) -> Any:
        """Call `operation` (as boto3 spells it) and return its answer."""
        client = self.client(service)
        model = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[operation])
        given = {name: value for name, value in parameters.items() if value is not None}
        return getattr(client, operation)(**fit(model.input_shape, given, operation))

    def exists(self, service: str, operation: str, /, **parameters: Any) -> bool:
        """Whether a describe call finds its object."""
        try:
            self(service, operation, **parameters)
        except ClientError:
            return False
        return True


def tags(properties: dict[str, Any]) -> dict[str, str]:
    """A template's Tags as a map, which half of the APIs want; a map already is one."""
    given = properties.get("Tags") or {}
    return dict(given) if isinstance(given, dict) else {tag["Key"]: tag["Value"] for tag in given}


def pick(properties: dict[str, Any], *names: str) -> dict[str, Any]:
    """Only those of `properties` that are named and present."""
    return {name: properties[name] for name in names if name in properties}


def without(properties: dict[str, Any], *names: str) -> dict[str, Any]:
    """All of `properties` but those named."""
    return {name: value for name, value in properties.items() if name not in names}
