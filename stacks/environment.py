"""What differs between local, dev, staging and prod: the only place where environments differ.

Each can be given for one synthesis as `-c <name>=<value>`, or kept under that name in `cdk.json`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, get_args, get_origin

from stacks.errors import SettingsError
from stacks.rules import broken_rule


def described(description: str, default: Any) -> Any:
    return field(default=default, metadata={"description": description})


@dataclass(frozen=True, kw_only=True)
class Environment:
    """dev's figures are the defaults; the records below say only what is different."""

    name: str = described("local, dev, staging or prod", "dev")
    suffix: str = described("what follows every name, so that environments can share an account", "-dev")
    database_identifier: str = described("the DB instance, as in the manual's commands", "loglineos-dev")
    region: str = described("AWS region; cdk.context.json pins its availability zones", "us-east-1")
    availability_zones: tuple[str, ...] = described("zones that the subnets span", ())
    nat_gateways: int = described("ways out of the private subnets (LLM providers are outside)", 1)

    instance_class: str = described("RDS instance class (manual 3, 10.2)", "db.t4g.micro")
    multi_az: bool = described("a standby in another zone (manual 3)", False)
    read_replica: bool = described("a replica for reports (manual 10.2)", False)
    backup_days: int = described("days of automatic backups (manual 6.1)", 7)
    storage_gb: int = described("storage to begin with (manual 3)", 20)
    storage_limit_gb: int = described("where storage autoscaling stops (manual 10.1)", 100)
    max_connections: int = described("of PostgreSQL; the alarm is at 90 % of it (manual 10.1)", 100)
    protect_data: bool = described("deletion protection; data outlives its stack", False)
    database_tls: bool = described("certificates verified on every connection", True)
    database_iam: bool = described("lambda_exec and readonly sign in by IAM token, not password", True)
    database_resource_id: str = described(
        "of a restored primary (docs/runbooks/restore.md); empty: the stack's own", ""
    )
    rotate_master_days: int = described("days between rotations of the master password; 0 is never", 30)

    architecture: str = described("of the functions: arm64 or x86_64", "arm64")
    python_version: str = described("of the functions' runtime and of their wheels", "3.14")
    loader_concurrency: int = described("reserved for loglineos-stage0-loader (manual 10.1)", 10)
    log_level: str = described("of the functions' logs", "INFO")
    log_days: int = described("days that logs are kept", 14)
    trusted_row_keys: tuple[str, ...] = described("Ed25519 public keys, hex, that sign rows (manual 7.4)", ())
    require_signed_rows: bool = described("the deployment seeds only rows that a trusted key signed", False)
    sign_executions: bool = described("the stack makes the loader a signing key (manual 7.4)", False)
    require_seccomp: bool = described("no function runs where the system offers no seccomp filter for it", False)
    provider_secrets: tuple[str, ...] = described("secrets that provider spans name", ("loglineos-openai",))

    api_rate: int = described("requests a second that the HTTP API lets through; more are answered 429", 100)
    api_burst: int = described("requests at once above that rate", 200)
    enroll_rate: int = described("the same for enrolment, the one call that changes something without a token", 5)
    enroll_burst: int = described("enrolments at once above that rate", 10)
    cors_origins: tuple[str, ...] = described("origins of web pages that may call the API; empty is none", ())
    api_domain: str = described("the API's own name; empty is the name that AWS gives it", "")
    api_certificate: str = described("ARN of api_domain's certificate in ACM, in the same region", "")

    object_lock_days: int = described("days in which archived objects can't be removed; 0 is no lock", 0)
    log_number: int = described("the ledger's log and archive: raised, new ones begin (docs/runbooks/restore.md)", 1)
    alarm_email: str = described("who is told of alarms; empty is nobody", "")
    github_repository: str = described("owner/name whose workflows may deploy, and where runbooks are read", "")

    def __post_init__(self) -> None:
        if sentence := broken_rule(self):
            raise SettingsError(f"environment {self.name}: {sentence}")

    def resource(self, thing: str) -> str:
        """`stage0-loader` -> `loglineos-stage0-loader-dev`; in prod the manual's own name."""
        return f"loglineos-{thing}{self.suffix}"

    @property
    def log_origin(self) -> str:
        """The name of the ledger's log. Two logs never share one: that would be a fork."""
        return self.resource("ledger") + (f"-{self.log_number}" if self.log_number > 1 else "")

    def archive_prefix(self, part: str, number: int | None = None) -> str:
        """Where a part of the archive is in its bucket: `spans`; of the second log `log-2/spans`."""
        number = number or self.log_number
        return f"log-{number}/{part}" if number > 1 else part

    def runbook(self, page: str) -> str:
        """Where an alarm's e-mail leads: the page in the repository, or, where none is known, in a checkout of it."""
        path = f"docs/runbooks/{page}.md"
        return f"https://github.com/{self.github_repository}/blob/main/{path}" if self.github_repository else path


ENVIRONMENTS: Mapping[str, Mapping[str, Any]] = {
    "dev": {},
    # dev's sizes under prod's names: the rehearsal runs the manual's commands against it unchanged. What the
    # rehearsal's database cannot do (certificates, IAM tokens, a rotation function) is off.
    "local": {
        "suffix": "",
        "database_identifier": "loglineos-prod",
        "region": "us-east-2",
        "database_tls": False,
        "database_iam": False,
        "rotate_master_days": 0,
        # A hundred devices of one machine, as fast as it can: what limits them is the machine.
        "api_rate": 1000,
        "api_burst": 2000,
    },
    "staging": {
        "suffix": "-staging",
        "database_identifier": "loglineos-staging",
        "instance_class": "db.t4g.small",
        "multi_az": True,
        "loader_concurrency": 50,
        "api_rate": 200,
        "api_burst": 400,
        "log_days": 30,
        "protect_data": True,
        "require_signed_rows": True,
        "sign_executions": True,
        "require_seccomp": True,
    },
    "prod": {
        "suffix": "",
        "database_identifier": "loglineos-prod",
        "nat_gateways": 2,
        "instance_class": "db.t4g.medium",
        "multi_az": True,
        "read_replica": True,
        "backup_days": 30,
        "storage_gb": 100,
        "storage_limit_gb": 1000,
        "max_connections": 500,
        "loader_concurrency": 100,
        "api_rate": 500,
        "api_burst": 1000,
        "log_days": 365,
        "protect_data": True,
        "require_signed_rows": True,
        "sign_executions": True,
        "require_seccomp": True,
        "object_lock_days": 365,
    },
}


def load_environment(name: str, overrides: Mapping[str, Any], zones: Mapping[str, tuple[str, ...]]) -> Environment:
    """The record of that name, with the settings given for this synthesis and its region's pinned zones."""
    if name not in ENVIRONMENTS:
        raise SettingsError(f"no environment is called {name!r}: give -c env={'|'.join(ENVIRONMENTS)}")
    given = {key: _parsed(key, value) for key, value in overrides.items()}
    settings = {"name": name, **ENVIRONMENTS[name], **given}
    region = settings.get("region", Environment.region)
    if "availability_zones" not in settings:
        if region not in zones:
            raise SettingsError(f"cdk.context.json pins no zones for {region}: add at least two there")
        settings["availability_zones"] = zones[region]
    return Environment(**settings)


SETTINGS = {item.name: item for item in fields(Environment) if item.name not in ("name", "suffix")}


def _parsed(key: str, value: Any) -> Any:
    """Context comes as text from the command line and as JSON from cdk.json."""
    if key not in SETTINGS:
        raise SettingsError(f"no setting is called {key!r}; there are {', '.join(sorted(SETTINGS))}")
    kind = SETTINGS[key].type
    if kind is bool and str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    if kind is int and re.fullmatch(r"\d+", str(value)):
        return int(value)
    if kind is str and isinstance(value, str):
        return value.strip()
    if get_origin(kind) is tuple and get_args(kind)[0] is str:
        parts = value.split(",") if isinstance(value, str) else value
        return tuple(str(part).strip() for part in parts if str(part).strip())
    wanted = "true or false" if kind is bool else "a whole number" if kind is int else "text"
    raise SettingsError(f"-c {key}={value}: {SETTINGS[key].metadata['description']} must be {wanted}")
