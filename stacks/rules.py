"""Combinations of settings that cannot be deployed, each with the sentence that says why."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stacks.environment import Environment

# GiB of memory by size: burstable classes have these, all others more.
MEMORY_GB = {"micro": 1, "small": 2, "medium": 4, "large": 8, "xlarge": 16}
CONNECTIONS_PER_GB = 125  # what PostgreSQL's backends leave of a GiB once its caches have theirs
# Connections beyond the loader's: db-migration and db-deploy, RDS's own, and a person with psql.
OTHER_CONNECTIONS = 20
# What CloudWatch Logs offers, of which these are enough.
LOG_RETENTIONS = (1, 3, 5, 7, 14, 30, 60, 90, 180, 365, 731, 1827, 3653)
PROVIDER_SECRET = re.compile("loglineos-(?!memory-key|signing-key|checkpoint-key|database)[a-z0-9]+(-[a-z0-9]+)*")
# What a browser says it comes from. Without TLS only from the machine of whoever builds the page.
ORIGIN = r"https://[a-z0-9.-]+(:\d+)?|http://(localhost|127\.0\.0\.1)(:\d+)?"
REAL = ("dev", "staging", "prod")
PROTECTED = ("staging", "prod")


def _memory_gb(instance_class: str) -> int:
    size = instance_class.rsplit(".", 1)[-1]
    multiple = re.fullmatch(r"(\d+)xlarge", size)
    return 16 * int(multiple[1]) if multiple else MEMORY_GB.get(size, 0)


Rule = tuple[Callable[["Environment"], bool], str]

NETWORK_RULES: list[Rule] = [
    (lambda e: len(e.availability_zones) >= 2, "a database needs subnets in two availability zones or more"),
    (
        lambda e: all(zone.startswith(e.region) for zone in e.availability_zones),
        "availability_zones {availability_zones} are not all in {region}",
    ),
    (
        lambda e: 1 <= e.nat_gateways <= len(e.availability_zones),
        "nat_gateways is {nat_gateways}: one at least, for the providers are outside, and one a zone at most",
    ),
]

DATABASE_RULES: list[Rule] = [
    (
        lambda e: (
            re.fullmatch(r"db\.[a-z0-9]+\.[a-z0-9]+", e.instance_class) is not None and _memory_gb(e.instance_class) > 0
        ),
        "instance_class {instance_class!r} is not like db.t4g.micro",
    ),
    (lambda e: 1 <= e.backup_days <= 35, "backup_days is {backup_days}: RDS keeps 1 to 35"),
    (
        lambda e: e.storage_gb >= 20 and e.storage_gb * 1.1 <= e.storage_limit_gb,
        "storage_limit_gb {storage_limit_gb} must be 10 % above storage_gb {storage_gb}, at least 20",
    ),
    (
        lambda e: e.max_connections <= CONNECTIONS_PER_GB * _memory_gb(e.instance_class),
        "max_connections {max_connections} do not fit in the memory of {instance_class}",
    ),
    (
        lambda e: e.loader_concurrency + OTHER_CONNECTIONS <= e.max_connections,
        "loader_concurrency {loader_concurrency} and the rest exceed max_connections {max_connections}",
    ),
    (
        lambda e: re.fullmatch("(db-[A-Z0-9]+)?", e.database_resource_id) is not None,
        "database_resource_id {database_resource_id!r} is not RDS's DbiResourceId, which is like db-ABC123",
    ),
    (lambda e: e.database_tls or not e.database_iam, "database_iam needs database_tls: tokens go over TLS"),
    (
        lambda e: e.name not in REAL or (e.database_tls and e.database_iam),
        "database_tls and database_iam can be off only in the rehearsal",
    ),
    (lambda e: e.protect_data or e.name not in PROTECTED, "protect_data cannot be off here"),
    (
        lambda e: e.name not in REAL or 1 <= e.rotate_master_days <= 1000,
        "rotate_master_days is {rotate_master_days}: Secrets Manager rotates every 1 to 1000 days",
    ),
]

FUNCTION_RULES: list[Rule] = [
    (lambda e: e.architecture in ("arm64", "x86_64"), "architecture {architecture!r}: arm64 or x86_64"),
    (
        lambda e: (
            re.fullmatch(r"3\.\d+", e.python_version) is not None
            and int(e.python_version[2:]) >= (12 if e.name in REAL else 11)
        ),
        "python_version {python_version!r}: 3.12 or newer",
    ),
    (lambda e: e.loader_concurrency >= 1, "loader_concurrency 0 would stop the loader"),
    (lambda e: e.log_level in ("DEBUG", "INFO", "WARNING", "ERROR"), "log_level {log_level!r} is no level"),
    (
        lambda e: e.log_days in LOG_RETENTIONS,
        "log_days {log_days} is none of the retentions that CloudWatch Logs offers",
    ),
    (
        lambda e: all(re.fullmatch(r"[0-9a-f]{64}", key) for key in e.trusted_row_keys),
        "trusted_row_keys must be Ed25519 public keys of 64 lower-case hex digits, separated by commas",
    ),
    (
        lambda e: all(PROVIDER_SECRET.fullmatch(name) for name in e.provider_secrets),
        "provider_secrets {provider_secrets}: names like loglineos-openai, and none of the stack's own secrets",
    ),
    (lambda e: e.require_signed_rows or e.name not in PROTECTED, "require_signed_rows cannot be off here"),
]

EDGE_RULES: list[Rule] = [
    (
        lambda e: 1 <= e.api_rate <= 10_000 and 1 <= e.api_burst <= 5_000,
        "api_rate {api_rate} and api_burst {api_burst}: 1 at least, and AWS's limits are 10000 and 5000",
    ),
    (
        lambda e: 1 <= e.enroll_rate <= e.api_rate and 1 <= e.enroll_burst <= e.api_burst,
        "enroll_rate {enroll_rate} and enroll_burst {enroll_burst}: 1 at least, no more than api_rate and api_burst",
    ),
    (
        lambda e: all(re.fullmatch(ORIGIN, origin) for origin in e.cors_origins),
        "cors_origins must be like https://app.example.com, without a path and each named: * is none",
    ),
    (
        lambda e: re.fullmatch(r"([a-z0-9-]+\.)+[a-z]+|", e.api_domain) is not None,
        "api_domain {api_domain!r} is not like ledger.example.com",
    ),
    (
        lambda e: (
            re.fullmatch(rf"arn:[\w-]+:acm:{e.region}:\d+:certificate/\S+", e.api_certificate) is not None
            if e.api_domain
            else not e.api_certificate
        ),
        "api_domain and api_certificate go together: the ARN of a certificate in ACM, of {region}",
    ),
]

OTHER_RULES: list[Rule] = [
    (
        lambda e: e.object_lock_days == 0 or e.protect_data,
        "object_lock_days needs protect_data: a stack cannot delete what is locked",
    ),
    (lambda e: e.log_number >= 1, "log_number {log_number} is none: the first log is 1"),
    (
        lambda e: re.fullmatch(r"([^@\s]+@[^@\s]+\.[^@\s]+)?", e.alarm_email) is not None,
        "alarm_email {alarm_email!r} is not an address",
    ),
    (
        lambda e: re.fullmatch(r"([\w.-]+/[\w.-]+)?", e.github_repository) is not None,
        "github_repository {github_repository!r} is not like owner/name",
    ),
]


def broken_rule(environment: "Environment") -> str | None:
    for holds, sentence in NETWORK_RULES + DATABASE_RULES + FUNCTION_RULES + EDGE_RULES + OTHER_RULES:
        if not holds(environment):
            return sentence.format(**vars(environment))
    return None
