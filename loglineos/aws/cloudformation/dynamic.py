"""Dynamic references: `{{resolve:secretsmanager:…}}` and `{{resolve:ssm:…}}`, read when they are needed."""

from __future__ import annotations

import json
import re
from typing import Any

from ..api import Api
from .errors import ValidationError

_REFERENCE = re.compile(r"\{\{resolve:(secretsmanager|ssm|ssm-secure):([^}]+)\}\}")


def expand(api: Api, value: Any) -> Any:
    """`value` with the secrets and parameters that it names. The answer must not be kept."""
    if isinstance(value, dict):
        return {key: expand(api, item) for key, item in value.items()}
    if isinstance(value, list):
        return [expand(api, item) for item in value]
    if not isinstance(value, str) or "{{resolve:" not in value:
        return value
    expanded = _REFERENCE.sub(lambda match: _read(api, match[1], match[2]), value)
    if "{{resolve:" in expanded:
        raise ValidationError("Could not resolve a dynamic reference: its service is not known")
    return expanded


def _read(api: Api, service: str, reference: str) -> str:
    if service != "secretsmanager":
        name, _, _version = reference.partition(":")
        return str(api("ssm", "get_parameter", Name=name, WithDecryption=True)["Parameter"]["Value"])
    # A secret is named by its name or by its ARN, which has colons of its own.
    parts = reference.split(":")
    length = 7 if reference.startswith("arn:") else 1
    secret, rest = ":".join(parts[:length]), [*parts[length:], "", "", "", ""]
    _field, key, stage, version = rest[:4]
    found = api(
        "secretsmanager",
        "get_secret_value",
        SecretId=secret,
        VersionStage=stage or None,
        VersionId=version or None,
    )["SecretString"]
    if not key:
        return str(found)
    try:
        return str(json.loads(found)[key])
    except (ValueError, KeyError):
        raise ValidationError(f"Could not find a value for the key {key} in the secret {secret}") from None
