"""The local stack: where a clone keeps its PostgreSQL, its AWS emulator, its keys and logs."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, LiteralString

from nacl.signing import SigningKey

from loglineos.aws import Emulator, Endpoint, write_environment
from loglineos.local.postgres import LocalPostgres, Server
from loglineos.private_file import write_private

ROOT = Path(__file__).resolve().parents[2]
# Set by the operator, these win over what the local stack would choose.
_PASSED_ON = (
    *("LOG_LEVEL", "TRUSTED_ROW_KEYS", "SIGNING_KEY_HEX", "MEMORY_KEY_HEX", "ROW_SIGNING_KEY_HEX"),
    *("CHECKPOINT_KEY_HEX", "LOG_ORIGIN", "ARCHIVE_LOCATION"),
)
ORIGIN: Final = "loglineos-local"  # of a log that this machine has begun
_HAS_LEDGER: Final[LiteralString] = "SELECT to_regclass('ledger.universal_registry') IS NOT NULL AS there"
_NEWEST_CHECKPOINT: Final[LiteralString] = """
SELECT metadata ->> 'origin' AS origin, public_key FROM ledger.universal_registry
 WHERE owner_id = 'notary' AND tenant_id = 'system' AND entity_type = 'checkpoint'
 ORDER BY era DESC, xid DESC, position DESC LIMIT 1
"""
_KEYS = ("row_signing_key", "signing_key", "memory_key", "checkpoint_key")
_LOADERS_KEYS = ("SIGNING_KEY_HEX", "MEMORY_KEY_HEX")
_MIGRATIONS_KEYS = ("ROW_SIGNING_KEY_HEX", "CHECKPOINT_KEY_HEX")


@dataclass(frozen=True)
class LocalStack:
    """Everything lies in one directory, `.local` of the clone; `LOGLINEOS_DIRECTORY` names another one.

    With `DATABASE_URL` that database is used instead, and the Lambdas' code runs in the caller's process.
    `LOGLINEOS_CLOCK=off`: nothing is booted by schedule.
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

    @property
    def emulator(self) -> Emulator:
        """This clone's AWS."""
        return Emulator(self.directory / "aws", self.postgres, clock=self.environment.get("LOGLINEOS_CLOCK") != "off")

    @property
    def database_url(self) -> str | None:
        """The database to use instead of a deployed one."""
        return self.environment.get("DATABASE_URL") or None

    def log_file(self, name: str) -> Path:
        """A log of that name."""
        path = self.directory / "logs" / f"{name}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def loader_environment(self, foreign: str | None = None) -> dict[str, str]:
        """What loglineos-stage0-loader is given for the database of DATABASE_URL.

        `foreign`: the origin of a log that is not this machine's; then only what the operator has set.
        """
        given = {"DATABASE_URL": self.database_url or "", **self._passed_on(*_MIGRATIONS_KEYS)}
        if foreign:
            return given
        keys = self._keys()
        own = {
            "TRUSTED_ROW_KEYS": _public(keys["row_signing_key"]),
            "SIGNING_KEY_HEX": keys["signing_key"],
            "MEMORY_KEY_HEX": keys["memory_key"],
        }
        return {**own, **given}

    def migration_environment(self, foreign: str | None = None) -> dict[str, str]:
        """What loglineos-db-migration is given for the database of DATABASE_URL; `foreign` as for the loader."""
        given = {"DATABASE_URL": self.database_url or "", **self._passed_on(*_LOADERS_KEYS)}
        if foreign:
            return {"LOG_ORIGIN": foreign, **given}
        keys = self._keys()
        own = {
            "TRUSTED_ROW_KEYS": _public(keys["row_signing_key"]),
            "ROW_SIGNING_KEY_HEX": keys["row_signing_key"],
            "CHECKPOINT_KEY_HEX": keys["checkpoint_key"],
            "LOG_ORIGIN": ORIGIN,
            "ARCHIVE_LOCATION": str(self.directory / "archive"),
        }
        return {**own, **given}

    def foreign_log(self) -> str | None:
        """The origin of the log that has sealed the ledger of DATABASE_URL, if that is not one of this machine's.

        Raises:
            LedgerUnavailable
        """
        row = _newest_checkpoint(self.database_url)
        if row is None or row["origin"] == ORIGIN or row["public_key"] == _public(self._keys()["checkpoint_key"]):
            return None
        return str(row["origin"])

    def write_client_settings(self, endpoint: Endpoint, server: Server, password: str) -> None:
        """`.local/env`, to be sourced: `aws`, `cdk` and `loglineos` go to the emulator, `psql` in as `readonly`."""
        passwords = self.directory / "pgpass"
        write_private(passwords, f"{server.host}:{server.port}:*:readonly:{password}\n")
        write_environment(
            endpoint,
            self.directory / "env",
            PGHOST=server.host,
            PGPORT=str(server.port),
            PGDATABASE="loglineos",
            PGUSER="readonly",
            PGPASSFILE=str(passwords),
        )

    def replace_key(self, name: str, private: str) -> None:
        """Rotate one of the keys of `_keys`."""
        write_private(self.directory / "keys.json", json.dumps({**self._keys(), name: private}, indent=2) + "\n")

    def _passed_on(self, *but: str) -> dict[str, str]:
        return {name: self.environment[name] for name in _PASSED_ON if name in self.environment and name not in but}

    def _keys(self) -> dict[str, str]:
        """Keys for the database of DATABASE_URL, made at first use. Deployments keep theirs in Secrets Manager."""
        path = self.directory / "keys.json"
        keys: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        missing = [name for name in _KEYS if name not in keys]
        if missing:
            self.directory.mkdir(parents=True, exist_ok=True)
            keys |= {name: secrets.token_hex(32) for name in missing}
            write_private(path, json.dumps(keys, indent=2) + "\n")
        return keys


def _newest_checkpoint(url: str | None) -> dict[str, Any] | None:
    """Origin and public key of the ledger's newest checkpoint; None where there is none, or no ledger."""
    from ledger.connection import Target, connect  # slow to import

    with connect(Target(role=None, url=url)) as connection:
        (found,) = connection.execute(_HAS_LEDGER).fetchall()
    if not found["there"]:
        return None
    with connect(Target(role="readonly", url=url)) as connection:
        return connection.execute(_NEWEST_CHECKPOINT).fetchone()


def _public(private: str) -> str:
    return bytes(SigningKey(bytes.fromhex(private)).verify_key).hex()
