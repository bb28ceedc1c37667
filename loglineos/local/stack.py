"""The local stack: where a clone keeps its ledger and keys, and what its Lambdas get as environment."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nacl.signing import SigningKey

from loglineos.local.postgres import LocalPostgres, Server

ROOT = Path(__file__).resolve().parents[2]
RUNTIME_ROLES = ("lambda_exec", "readonly")
# Set by the operator, these win over what the local stack would choose.
_PASSED_ON = ("LOG_LEVEL", "TRUSTED_ROW_KEYS", "SIGNING_KEY_HEX", "MEMORY_KEY_HEX", "ROW_SIGNING_KEY_HEX")


@dataclass(frozen=True)
class LocalStack:
    """Everything lies in one directory, `.local` of the clone. `DATABASE_URL` replaces its PostgreSQL.

    `LOGLINEOS_DIRECTORY` names another directory.
    """

    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    @property
    def directory(self) -> Path:
        """Where data, keys and logs are."""
        return Path(self.environment.get("LOGLINEOS_DIRECTORY") or ROOT / ".local").absolute()

    @property
    def postgres(self) -> LocalPostgres:
        """This clone's PostgreSQL."""
        return LocalPostgres(self.directory / "postgres")

    def start(self) -> None:
        """Start it, with a login for each role that the Lambdas sign in as."""
        self.postgres.start()
        for role in RUNTIME_ROLES:
            self.postgres.ensure_login(role)

    @property
    def database_url(self) -> str | None:
        """The database to use instead of the clone's own."""
        return self.environment.get("DATABASE_URL") or None

    def loader_environment(self, server: Server | None) -> dict[str, str]:
        """What loglineos-stage0-loader is given."""
        keys = self._keys()
        return {
            "DATABASE_URL": self._url(server, "lambda_exec"),
            "TRUSTED_ROW_KEYS": _public(keys["row_signing_key"]),
            "SIGNING_KEY_HEX": keys["signing_key"],
            "MEMORY_KEY_HEX": keys["memory_key"],
            **self._passed_on("ROW_SIGNING_KEY_HEX"),
        }

    def migration_environment(self, server: Server | None) -> dict[str, str]:
        """What loglineos-db-migration is given."""
        keys = self._keys()
        return {
            "DATABASE_URL": self._url(server, "postgres"),
            "READONLY_DATABASE_URL": self._url(server, "readonly"),
            "TRUSTED_ROW_KEYS": _public(keys["row_signing_key"]),
            "ROW_SIGNING_KEY_HEX": keys["row_signing_key"],
            **self._passed_on("SIGNING_KEY_HEX", "MEMORY_KEY_HEX"),
        }

    def write_client_settings(self, server: Server) -> Path:
        """`.local/env`, to be sourced: it lets `psql` in as `readonly`, the password in a file of its own."""
        passwords = self.directory / "pgpass"
        password = server.url("readonly").split(":", 2)[2].rsplit("@", 1)[0]
        _write_private(passwords, f"{server.host}:{server.port}:*:readonly:{password}\n")
        settings = {
            "PGHOST": server.host,
            "PGPORT": str(server.port),
            "PGDATABASE": "loglineos",
            "PGUSER": "readonly",
            "PGPASSFILE": str(passwords),
        }
        lines = [
            f"export {name}='{value.replace(chr(39), chr(39) + chr(92) + chr(39) + chr(39))}'"
            for name, value in settings.items()
        ]
        return _write_private(self.directory / "env", "\n".join(lines) + "\n")

    def _url(self, server: Server | None, role: str) -> str:
        if server is None:
            return self.database_url or ""
        return server.url(role)

    def _passed_on(self, *but: str) -> dict[str, str]:
        return {name: self.environment[name] for name in _PASSED_ON if name in self.environment and name not in but}

    def _keys(self) -> dict[str, str]:
        """This clone's keys, made at first use. Real deployments keep theirs in Secrets Manager."""
        path = self.directory / "keys.json"
        if not path.exists():
            self.directory.mkdir(parents=True, exist_ok=True)
            names = ("row_signing_key", "signing_key", "memory_key")
            _write_private(path, json.dumps({name: secrets.token_hex(32) for name in names}, indent=2) + "\n")
        keys: dict[str, str] = json.loads(path.read_text())
        return keys


def _public(private: str) -> str:
    return bytes(SigningKey(bytes.fromhex(private)).verify_key).hex()


def _write_private(path: Path, text: str) -> Path:
    """Whole or not at all, and never readable by others, not even for a moment."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    draft.replace(path)
    return path
