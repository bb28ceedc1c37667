"""Secrets Manager's values on the disk.

A secret that somebody put by hand is there again when the emulator starts. One of a stack is there again when
CloudFormation creates it again: created without a value, it has the value that it had.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.secretsmanager.models import FakeSecret, SecretsManagerBackend, secretsmanager_backends
from moto.secretsmanager.responses import SecretsManagerResponse

from ..addresses import ACCOUNT, STACK_TAG
from .spared import spared
from .store import Facts, Store

_DESCRIPTION = ("arn", "description", "tags", "kms_key_id", "policy", "created_date", "last_changed_date")
_VALUE = ("versions", "default_version_id")
_CHANGES = (
    *("create_secret", "update_secret", "put_secret_value", "update_secret_version_stage", "rotate_secret"),
    *("delete_secret", "restore_secret", "put_resource_policy", "delete_resource_policy"),
    *("tag_resource", "untag_resource"),
)


def install(store: Store, region: str) -> None:
    """Put the store behind moto's Secrets Manager, and back in it what was put by hand."""
    for name in _CHANGES:
        _wrap(store, name)
    _take_over_values(store)
    backend = secretsmanager_backends[ACCOUNT][region]
    for facts in store.secrets(region):
        if not _of_stack(facts["tags"]):
            secret = _empty(backend, facts["name"])
            vars(secret).update({member: facts[member] for member in (*_DESCRIPTION, *_VALUE, "deleted_date")})
            backend.secrets[secret.name] = secret


def _wrap(store: Store, name: str) -> None:
    """After each change the store has the secret as it is then."""
    change: Callable[[SecretsManagerResponse], Any] = getattr(SecretsManagerResponse, name)

    def changed(self: SecretsManagerResponse) -> Any:
        backend: SecretsManagerBackend = self.backend
        asked = self._get_param("SecretId") or self._get_param("Name") or ""
        before = backend.secrets.get(asked)
        try:
            return change(self)
        finally:
            secret = backend.secrets.get(asked) or before
            if isinstance(secret, FakeSecret) and not (spared(secret.arn) and secret.name not in backend.secrets):
                store.put_secret(backend.region_name, secret.name, lambda: _described(backend, secret.name))

    setattr(SecretsManagerResponse, name, changed)


def _take_over_values(store: Store) -> None:
    add = SecretsManagerBackend._add_secret

    def added(self: SecretsManagerBackend, secret_id: str, *arguments: Any, **named: Any) -> tuple[FakeSecret, bool]:
        new = secret_id not in self.secrets
        secret, has_value = add(self, secret_id, *arguments, **named)
        kept = store.secret(self.region_name, secret.name) if new and not has_value else None
        if kept and _of_stack(secret.tags) and _of_stack(kept["tags"]) and kept["deleted_date"] is None:
            vars(secret).update({member: kept[member] for member in ("arn", "created_date", *_VALUE)})
        return secret, has_value

    SecretsManagerBackend._add_secret = added  # type: ignore[method-assign]


def _described(backend: SecretsManagerBackend, name: str) -> Facts | None:
    secret = backend.secrets.get(name)
    if not isinstance(secret, FakeSecret):
        return None
    facts = {member: getattr(secret, member) for member in (*_DESCRIPTION, "default_version_id", "deleted_date")}
    # A version without a label is one that nobody can ask for but by its id; AWS drops them too, in time.
    current = secret.default_version_id
    labelled = {key: item for key, item in secret.versions.items() if item["version_stages"] or key == current}
    return {"name": secret.name, **facts, "versions": labelled}


def _empty(backend: SecretsManagerBackend, name: str) -> FakeSecret:
    return FakeSecret(backend.account_id, backend.region_name, name, {}, "")


def _of_stack(tags: list[dict[str, str]] | None) -> bool:
    return any(tag["Key"] == STACK_TAG for tag in tags or [])
