"""Secrets by name, wherever this environment keeps them. They never reach a log, a span or an answer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from .errors import Misconfigured

KEEP_S = 300


class SecretMissing(Misconfigured):
    """The setting names a Secrets Manager secret that does not exist."""


def read_secret(name: str, environment: Mapping[str, str]) -> str | None:
    """The secret called `name` (`SIGNING_KEY`, `MEMORY_KEY`, …), or None where none is configured.

    Looked for in `<name>_HEX` (the value), `<name>_FILE` (a file only its owner can read) and
    `<name>_SECRET` (the name or ARN of a Secrets Manager secret, which a warm process reads every five minutes).

    Raises:
        Misconfigured: it cannot be read; SecretMissing where Secrets Manager has no such secret.
    """
    if value := environment.get(f"{name}_HEX"):
        return value.strip()
    if path := environment.get(f"{name}_FILE"):
        return _read_private_file(Path(path), f"{name}_FILE")
    if arn := environment.get(f"{name}_SECRET"):
        return _kept_value(arn, int(time.monotonic() // KEEP_S))
    return None


def _read_private_file(path: Path, setting: str) -> str:
    try:
        if path.stat().st_mode & 0o077:
            raise Misconfigured(f"{setting}: others can read {path}; run: chmod 600 {path}")
        return path.read_text().strip()
    except OSError as error:
        raise Misconfigured(f"{setting}: cannot read {path}: {error.strerror}") from error


@lru_cache(maxsize=16)
def _kept_value(arn: str, _period: int) -> str:
    return secrets_manager_value(arn)


def secrets_manager_value(arn: str) -> str:
    """The string of a Secrets Manager secret as it is now: a password may have been rotated a moment ago."""
    import boto3  # slow to import, and only needed here
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    patience = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2})
    try:
        client = boto3.client("secretsmanager", config=patience)
        return str(client.get_secret_value(SecretId=arn)["SecretString"]).strip()
    except BotoCoreError as error:
        raise Misconfigured(f"the secret {arn} cannot be read: {type(error).__name__}") from error
    except ClientError as error:
        code = error.response["Error"]["Code"]
        kind = SecretMissing if code == "ResourceNotFoundException" else Misconfigured
        raise kind(f"the secret {arn} cannot be read: {code}") from error
