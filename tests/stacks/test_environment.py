"""The table of environments, and what it refuses."""

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from stacks import rules
from stacks.environment import ENVIRONMENTS, SETTINGS, Environment, load_environment
from stacks.errors import SettingsError
from stacks.logs import RETENTION

ZONES = {"us-east-1": ("us-east-1a", "us-east-1b"), "us-east-2": ("us-east-2a", "us-east-2b")}


def load(name: str, **settings: Any) -> Environment:
    return load_environment(name, settings, ZONES)


@pytest.mark.parametrize(
    ("setting", "dev", "staging", "prod"),
    [
        ("instance_class", "db.t4g.micro", "db.t4g.small", "db.t4g.medium"),
        ("multi_az", False, True, True),
        ("backup_days", 7, 7, 30),
        ("read_replica", False, False, True),
        ("storage_gb", 20, 20, 100),
        ("storage_limit_gb", 100, 100, 1000),
        ("max_connections", 100, 100, 500),
        ("loader_concurrency", 10, 50, 100),
        ("protect_data", False, True, True),
        ("nat_gateways", 1, 1, 2),
        ("require_signed_rows", False, True, True),
        ("object_lock_days", 0, 0, 365),
        ("api_rate", 100, 200, 500),
        ("api_burst", 200, 400, 1000),
        ("enroll_rate", 5, 5, 5),
        ("suffix", "-dev", "-staging", ""),
        ("database_identifier", "loglineos-dev", "loglineos-staging", "loglineos-prod"),
    ],
)
def test_figures(setting: str, dev: Any, staging: Any, prod: Any) -> None:
    found = tuple(getattr(load(name), setting) for name in ("dev", "staging", "prod"))
    assert found == (dev, staging, prod)


def test_one_nat_gateway_for_each_zone_in_prod() -> None:
    assert load("prod").nat_gateways == len(load("prod").availability_zones)


def test_local_is_dev_under_prods_names() -> None:
    local, dev, prod = load("local"), load("dev"), load("prod")
    assert (local.suffix, local.database_identifier) == (prod.suffix, prod.database_identifier)
    differing = {item.name for item in fields(Environment) if getattr(local, item.name) != getattr(dev, item.name)}
    assert differing == {
        "name", "suffix", "database_identifier", "region", "availability_zones",
        "database_tls", "database_iam", "rotate_master_days", "api_rate", "api_burst",
    }  # fmt: skip


def test_every_setting_is_described() -> None:
    assert all(item.metadata["description"] for item in fields(Environment))


def test_settings_come_as_text_or_as_json() -> None:
    said = load("dev", max_connections="90", multi_az="True", trusted_row_keys=f"{'a' * 64}, {'b' * 64}")
    assert (said.max_connections, said.multi_az) == (90, True)
    assert said.trusted_row_keys == ("a" * 64, "b" * 64)
    names = ["loglineos-a", "loglineos-b"]
    assert load("dev", max_connections=90, provider_secrets=names).provider_secrets == tuple(names)


REFUSED = [
    ({"max_connections": "many"}, "-c max_connections=many: .* must be a whole number"),
    ({"multi_az": "yes"}, "-c multi_az=yes: .* must be true or false"),
    ({"regoin": "us-east-1"}, "no setting is called 'regoin'; there are .*region"),
    ({"region": "mars-1"}, "cdk.context.json pins no zones for mars-1: add at least two there"),
    ({"availability_zones": "us-east-1a"}, "subnets in two availability zones"),
    ({"availability_zones": "us-east-1a,us-west-1b"}, "are not all in us-east-1"),
    ({"nat_gateways": "3"}, "nat_gateways is 3"),
    ({"nat_gateways": "0"}, "nat_gateways is 0"),
    ({"instance_class": "t4g.micro"}, "instance_class 't4g.micro' is not like db.t4g.micro"),
    ({"instance_class": "db.t4g.nano"}, "is not like db.t4g.micro"),
    ({"backup_days": "0"}, "backup_days is 0"),
    ({"backup_days": "36"}, "RDS keeps 1 to 35"),
    ({"storage_limit_gb": "20"}, "must be 10 % above storage_gb 20"),
    ({"storage_gb": "10"}, "at least 20"),
    ({"max_connections": "500"}, "500 do not fit in the memory of db.t4g.micro"),
    ({"loader_concurrency": "90"}, "loader_concurrency 90 and the rest exceed max_connections 100"),
    ({"loader_concurrency": "0"}, "would stop the loader"),
    ({"database_tls": "false"}, "database_iam needs database_tls"),
    ({"database_tls": "false", "database_iam": "false"}, "only in the rehearsal"),
    ({"rotate_master_days": "0"}, "rotate_master_days is 0"),
    ({"architecture": "mips"}, "architecture 'mips': arm64 or x86_64"),
    ({"python_version": "3.11"}, "python_version '3.11': 3.12 or newer"),
    ({"python_version": "4"}, "python_version '4'"),
    ({"log_level": "LOUD"}, "log_level 'LOUD' is no level"),
    ({"log_days": "8"}, "log_days 8 is none"),
    ({"trusted_row_keys": "beef"}, "64 lower-case hex digits"),
    ({"provider_secrets": "openai"}, "names like loglineos-openai"),
    ({"provider_secrets": "loglineos-openai,loglineos-memory-key"}, "none of the stack's own secrets"),
    ({"api_rate": "0"}, "api_rate 0 and api_burst 200: 1 at least"),
    ({"api_burst": "5001"}, "AWS's limits are 10000 and 5000"),
    ({"enroll_rate": "101"}, "enroll_rate 101 and enroll_burst 10: .* no more than api_rate"),
    ({"cors_origins": "*"}, "each named: \\* is none"),
    ({"cors_origins": "http://app.example.com"}, "cors_origins must be like https://app.example.com"),
    ({"cors_origins": "https://app.example.com/"}, "without a path"),
    ({"api_domain": "example"}, "api_domain 'example' is not like ledger.example.com"),
    ({"api_domain": "ledger.example.com"}, "api_domain and api_certificate go together"),
    ({"api_certificate": "arn:aws:acm:us-east-1:1:certificate/a"}, "go together: the ARN of a certificate"),
    (
        {"api_domain": "a.example.com", "api_certificate": "arn:aws:acm:eu-west-1:1:certificate/a"},
        "of a certificate in ACM, of us-east-1",
    ),
    ({"object_lock_days": "1"}, "object_lock_days needs protect_data"),
    ({"alarm_email": "ops"}, "alarm_email 'ops' is not an address"),
    ({"github_repository": "loglineos"}, "is not like owner/name"),
    ({"database_resource_id": "loglineos-prod"}, "database_resource_id 'loglineos-prod' is not .*like db-ABC123"),
    ({"log_number": "0"}, "log_number 0 is none: the first log is 1"),
]


@pytest.mark.parametrize(("settings", "sentence"), REFUSED)
def test_what_cannot_be_deployed_is_a_sentence(settings: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        load("dev", **settings)


PROTECTIONS = ["protect_data", "require_signed_rows"]


@pytest.mark.parametrize("name", ["staging", "prod"])
@pytest.mark.parametrize("setting", PROTECTIONS)
def test_what_protects_cannot_be_off(name: str, setting: str) -> None:
    lock = {"object_lock_days": "0"}
    with pytest.raises(SettingsError, match=f"{setting} cannot be off here"):
        load(name, **{setting: "false", **lock})


def refusal(name: str, settings: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        load(name, **settings)
    return str(caught.value)


def test_every_rule_is_broken_by_some_test() -> None:
    said = [refusal("dev", settings) for settings, _ in REFUSED]
    said += [refusal("prod", {name: "false", "object_lock_days": "0"}) for name in PROTECTIONS]
    every = rules.NETWORK_RULES + rules.DATABASE_RULES + rules.FUNCTION_RULES
    every += rules.EDGE_RULES + rules.OTHER_RULES
    for _, sentence in every:
        spoken = re.sub(r"\\{[^}]*\\}", ".*", re.escape(sentence))
        assert any(re.search(spoken, one) for one in said), f"no test breaks the rule: {sentence}"


def test_an_environment_must_be_named() -> None:
    with pytest.raises(SettingsError, match=r"no environment is called 'production': give -c env=dev\|local"):
        load("production")


def test_log_retentions_are_those_that_can_be_asked_for() -> None:
    assert tuple(RETENTION) == rules.LOG_RETENTIONS


def test_committed_zones_serve_every_environment(repository: Path) -> None:
    pinned = json.loads((repository / "cdk.context.json").read_text())["zones"]
    assert {ENVIRONMENTS[name].get("region", "us-east-1") for name in ENVIRONMENTS} <= set(pinned)
    assert all(len(set(zones)) >= 2 for zones in pinned.values())


def test_no_setting_is_called_like_another_context_key() -> None:
    assert not {"env", "deployment_id", "bundling", "zones"} & set(SETTINGS)
