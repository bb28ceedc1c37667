"""Where keys are in force: what the functions say of them, and where a new one is put."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import UUID

import botocore.exceptions
import click
from nacl.signing import SigningKey

from ledger.keys import Use
from ledger.proof import public_key_of
from loglineos.backend import AwsBackend, Backend, InProcessBackend, choose_backend
from loglineos.errors import CommandFailed
from loglineos.local.stack import LocalStack
from stacks.environment import ENVIRONMENTS, Environment
from tlog.note import NoteKey

_SECRETS: Mapping[Use, str] = {"loader": "signing-key", "checkpoint": "checkpoint-key"}
_VARIABLES: Mapping[Use, str] = {"loader": "SIGNING_KEY_HEX", "checkpoint": "CHECKPOINT_KEY_HEX"}
_LOCAL: Mapping[Use, str] = {"loader": "signing_key", "checkpoint": "checkpoint_key"}


@dataclass(frozen=True)
class KeyPlaces:
    """The keys of one environment, as its functions know them."""

    backend: Backend

    @cached_property
    def answer(self) -> dict[str, Any]:
        """What `keys` of db-deploy answers."""
        return self.backend.deployment({"action": "keys"})

    @cached_property
    def loader_key(self) -> str | None:
        """What the loader signs with now, None if it does not sign."""
        found = self.backend.load({"action": "health"}).get("signing_key")
        return str(found) if found else None

    @cached_property
    def log_key(self) -> str | None:
        """What checkpoints are signed with now."""
        text = self.answer["log_key"]
        return NoteKey.parse(text).public_key.hex() if text else None

    def current(self, use: Use) -> str | None:
        """The public key in force; row keys are at no such place."""
        if use == "row":
            return None
        return self.loader_key if use == "loader" else self.log_key

    def known(self, use: Use) -> dict[str, dict[str, Any]]:
        """The keys of that use, by public key."""
        return {key["public_key"]: key for key in self.answer["keys"] if key["use"] == use}

    @property
    def name(self) -> str:
        """Of the environment, as the manifest's entries give it."""
        return self.backend.environment if isinstance(self.backend, AwsBackend) else "local"

    def put(self, use: Use, key: SigningKey) -> str:
        """Put a new key in force, and say where it was put. Twice is once.

        Raises:
            CommandFailed: it has to be put there by hand, or AWS refuses.
        """
        if isinstance(self.backend, AwsBackend):
            return _put_secret(self.backend, use, key)
        if not isinstance(self.backend, InProcessBackend):
            raise CommandFailed("keys are rotated with rights on the account: give --env instead of --url")
        if _VARIABLES[use] in os.environ:
            raise CommandFailed(f"the key is given by {_VARIABLES[use]}: set it to what the new file holds")
        LocalStack().replace_key(_LOCAL[use], bytes(key).hex())
        return str(LocalStack().directory / "keys.json")


def key_places() -> KeyPlaces:
    """Of the environment that the command was given."""
    return KeyPlaces(choose_backend())


def deploy_command() -> str:
    """What brings the rows of this checkout into the environment that the command was given."""
    environment = click.get_current_context().find_root().params.get("env")
    if environment:
        return f"bash deploy.sh {environment}"
    return "bash deploy.sh" if LocalStack().database_url is None else "loglineos seed"


def log_origin() -> str:
    """The name of the environment's log, without asking it."""
    environment = click.get_current_context().find_root().params.get("env")
    if not environment and LocalStack().database_url is not None:
        return os.environ.get("LOG_ORIGIN") or "loglineos-local"
    return _resource(environment or "local", "ledger")


def _resource(environment: str, thing: str) -> str:
    return f"loglineos-{thing}{ENVIRONMENTS[environment].get('suffix', Environment.suffix)}"


def _put_secret(backend: AwsBackend, use: Use, key: SigningKey) -> str:
    name = _resource(backend.environment, _SECRETS[use])
    # The same key again is the same version of the secret, whoever repeats the command.
    token = UUID(bytes=hashlib.sha256(f"{name} {public_key_of(key)}".encode()).digest()[:16])
    try:
        backend.client("secretsmanager").put_secret_value(
            SecretId=name, SecretString=bytes(key).hex(), ClientRequestToken=str(token)
        )
    except botocore.exceptions.ClientError as error:
        said = error.response.get("Error", {}).get("Message", error)
        raise CommandFailed(f"the secret {name} cannot be changed: {said}") from error
    except botocore.exceptions.BotoCoreError as error:
        raise CommandFailed(f"the secret {name} cannot be changed: {error}") from error
    return f"the secret {name}"
