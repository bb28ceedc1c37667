"""Connections are verified against roots that travel with the functions."""

import re
from pathlib import Path
from typing import Any

import pytest

from stacks.certificates import (
    ALGORITHM,
    BUNDLE,
    PACKAGE,
    check_certificates,
    common_names,
    current_roots,
    packaged_roots,
    rendered,
)  # fmt: skip
from stacks.errors import SettingsError
from stacks.synthesis import committed_context


def roots() -> list[str]:
    return re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", BUNDLE.read_text(), re.DOTALL)


def test_the_bundle_is_the_packages_current_roots() -> None:
    if not PACKAGE.exists():
        pytest.skip("the package is not installed: npm ci")
    assert BUNDLE.read_text() == rendered(packaged_roots())


def test_the_bundle_is_read_whole() -> None:
    assert len(common_names(BUNDLE.read_text())) == len(roots()) > 75


def test_every_root_is_a_regions(repository: Path) -> None:
    assert current_roots(roots()) == roots()


def test_the_instance_asks_for_the_algorithm_that_is_checked(each: Any, properties: Any) -> None:
    _, templates = each
    for one in properties(templates["database"], "AWS::RDS::DBInstance").values():
        assert one["CACertificateIdentifier"] == f"rds-ca-{ALGORITHM.lower()}-g1"


@pytest.mark.parametrize("region", list(committed_context()["zones"]))
def test_pinned_regions_have_their_root(region: str) -> None:
    assert f"Amazon RDS {region} Root CA {ALGORITHM} G1" in common_names(BUNDLE.read_text())


@pytest.mark.parametrize("name", ["dev", "staging", "prod"])
def test_no_root_no_synthesis(name: str, synthesized: Any, tmp_path: Path) -> None:
    environment, _ = synthesized(name)
    other = tmp_path / "rds-ca.pem"
    with pytest.raises(SettingsError, match="does not hold 'Amazon RDS us-east-1 Root CA RSA2048 G1'"):
        check_certificates(environment, other)
    other.write_text(next(pem for pem in roots() if "eu-west-1" in common_names(pem)[0]))
    with pytest.raises(SettingsError, match="append Amazon's bundle for the region"):
        check_certificates(environment, other)


def test_the_rehearsal_needs_none(synthesized: Any, tmp_path: Path) -> None:
    environment, _ = synthesized("local")
    check_certificates(environment, tmp_path / "none.pem")
