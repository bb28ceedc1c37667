"""How to reach the database: `DATABASE_URL`, or a host with an IAM token or a secret."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
import psycopg
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Format
from psycopg.types.json import set_json_dumps, set_json_loads
from psycopg.types.numeric import IntLoader

from .canonical import Unreadable
from .errors import LedgerUnavailable, Misconfigured
from .secret import secrets_manager_value

Connection = psycopg.Connection[dict[str, Any]]
CONNECT_TIMEOUT_S = 5

# At sign-in libpq gives no error code, only the server's sentence.
_REFUSED = re.compile("authentication failed|permission denied|does not exist|no pg_hba.conf entry|not permitted")


def read_json(data: str | bytes) -> Any:
    """What PostgreSQL stored, even what no caller can have sent: verification then refuses it by name."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            return Unreadable("JSON without numbers of thousands of digits or thousands of levels of nesting")


_load_instant = psycopg.adapters.get_loader(psycopg.adapters.types["timestamptz"].oid, Format.TEXT)


class _InstantLoader(Loader):
    """psycopg's, but PostgreSQL's years before 1 and after 9999 are Unreadable instead of the end of all reading."""

    def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
        super().__init__(oid, context)
        assert _load_instant is not None  # noqa: S101 - psycopg has one
        self._load = _load_instant(oid, context).load

    def load(self, data: Buffer) -> Any:
        try:
            return self._load(data)
        except psycopg.DataError:
            return Unreadable("an instant of the years 1 to 9999")


psycopg.adapters.register_loader("xid8", IntLoader)
psycopg.adapters.register_loader("timestamptz", _InstantLoader)
set_json_dumps(orjson.dumps)
set_json_loads(read_json)


@dataclass(frozen=True)
class Target:
    """A database and the role to be in it. Credentials are found anew for every connection.

    `role` None takes the login as it is: for whoever migrates, under whatever name.
    """

    role: str | None
    url: str | None = field(default=None, repr=False)
    host: str = ""
    port: int = 5432
    name: str = "loglineos"
    auth: Literal["iam", "secret"] = "iam"
    secret_arn: str = ""
    sslmode: str = "verify-full"
    ca_file: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], role: str | None, prefix: str = "") -> Target:
        """`DATABASE_URL` wins where it is set (local, CI); else `DATABASE_HOST` and its companions.

        `prefix` names a variant: with `READONLY_`, `READONLY_DATABASE_URL` is preferred to `DATABASE_URL`.
        """
        url = environment.get(f"{prefix}DATABASE_URL") or environment.get("DATABASE_URL")
        if url:
            return cls(role=role, url=url)
        host = environment.get(f"{prefix}DATABASE_HOST") or environment.get("DATABASE_HOST")
        if not host:
            raise Misconfigured("set DATABASE_URL, or DATABASE_HOST and its companions, to reach the ledger")
        auth = environment.get(f"{prefix}DATABASE_AUTH", environment.get("DATABASE_AUTH", "iam"))
        if auth not in ("iam", "secret"):
            raise Misconfigured(f"DATABASE_AUTH must be iam or secret, not {auth!r}")
        secret = environment.get(f"{prefix}DATABASE_SECRET", "")
        if auth == "secret" and not secret:
            raise Misconfigured(f"DATABASE_AUTH is secret: {prefix}DATABASE_SECRET must be the ARN of the sign-in")
        return cls(
            role=role,
            host=host,
            port=_port(environment.get("DATABASE_PORT", "5432")),
            name=environment.get("DATABASE_NAME", "loglineos"),
            auth="iam" if auth == "iam" else "secret",
            secret_arn=secret,
            sslmode=environment.get("DATABASE_SSLMODE", "verify-full"),
            ca_file=environment.get("DATABASE_CA", ""),
        )

    def parameters(self) -> dict[str, Any]:
        """libpq's connection parameters, credentials included: never log them."""
        if self.url is not None:
            return self._url_parameters(self.url)
        parameters: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "dbname": self.name,
            "sslmode": self.sslmode,
        }
        if self.ca_file:
            parameters["sslrootcert"] = self.ca_file
        return parameters | self._credentials()

    def _url_parameters(self, url: str) -> dict[str, Any]:
        try:
            parameters: dict[str, Any] = dict(conninfo_to_dict(url))
        except psycopg.ProgrammingError:
            # psycopg's message repeats the string, which holds a password.
            raise Misconfigured(
                "DATABASE_URL must be a connection string: postgresql://user:pass@host:5432/name"
            ) from None
        # One URL serves every role where only one is given: its login then becomes the role.
        if self.role is not None and parameters.get("user") != self.role:
            options = f"-c role={self.role}"
            parameters["options"] = f"{parameters.get('options', '')} {options}".strip()
        return parameters

    def _credentials(self) -> dict[str, str]:
        if self.auth == "secret":
            secret = json.loads(secrets_manager_value(self.secret_arn))
            return {"user": secret["username"], "password": secret["password"]}
        if self.role is None:
            raise Misconfigured("DATABASE_AUTH=iam needs a role to sign in as; use DATABASE_AUTH=secret to migrate")
        import boto3  # slow to import, and only needed here

        # A token lives 15 minutes and is checked at sign-in only: one for each connection.
        token = boto3.client("rds").generate_db_auth_token(self.host, self.port, self.role)
        return {"user": self.role, "password": token}

    def describe(self) -> str:
        """Where it leads, without credentials: for people and logs."""
        if self.url is None:
            return f"{self.host}:{self.port}/{self.name} as {self.role or 'its login'}"
        given = self._url_parameters(self.url)
        host, port, name = (str(given.get(key, "")) for key in ("host", "port", "dbname"))
        # A URL that is not what it was meant to be has its password in any of these.
        usual = re.fullmatch(r"[\w.-]*:\d*/\w*", f"{host}:{port}/{name}") is not None
        return f"{f'{host}:{port}/{name}' if usual else 'the database of DATABASE_URL'} as {self.role or 'its login'}"


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise Misconfigured(f"DATABASE_PORT must be a number from 1 to 65535, not {text!r}")
    return int(text)


def connect(target: Target, *, timeout_s: float = CONNECT_TIMEOUT_S, statement_timeout_s: int = 0) -> Connection:
    """A new connection in autocommit, in UTC, that notices a dead peer within seconds.

    `timeout_s` is what making it may take; libpq takes less than 2 as 2.
    `statement_timeout_s` ends statements of which nobody waits for the answer any more; 0 never does.

    Raises:
        LedgerUnavailable: the database cannot be reached or refuses the sign-in.
    """
    parameters = target.parameters()
    parameters["connect_timeout"] = max(2, int(min(timeout_s, CONNECT_TIMEOUT_S)))
    parameters.setdefault("application_name", "loglineos")
    parameters["options"] = f"{parameters.get('options', '')} -c TimeZone=UTC"
    if statement_timeout_s:
        timeouts = ("statement_timeout", "idle_in_transaction_session_timeout")
        parameters["options"] += "".join(f" -c {name}={statement_timeout_s}s" for name in timeouts)
    parameters["options"] = parameters["options"].strip()
    parameters |= {
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
    }
    try:
        return psycopg.connect(**parameters, autocommit=True, row_factory=psycopg.rows.dict_row)
    except psycopg.OperationalError as error:
        reason = str(error).strip()
        raise LedgerUnavailable(reason, passing=_REFUSED.search(reason) is None) from error
