"""Connections are verified against roots that travel with the functions."""

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
    split,
    take_from,
)
from stacks.errors import SettingsError
from stacks.synthesis import committed_context


def roots() -> list[str]:
    return split(BUNDLE.read_text())


def test_the_bundle_holds_the_packages_current_roots() -> None:
    if not PACKAGE.exists():
        pytest.skip("the package is not installed: npm ci")
    assert set(packaged_roots()) <= set(roots())


def test_the_bundle_is_read_whole() -> None:
    assert len(common_names(BUNDLE.read_text())) == len(roots()) > 75


def test_every_root_is_a_regions(repository: Path) -> None:
    assert current_roots(roots()) == roots()
    assert rendered(roots()) == BUNDLE.read_text()


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
    with pytest.raises(SettingsError, match="take the root from Amazon's bundle"):
        check_certificates(environment, other)


def test_the_rehearsal_needs_none(synthesized: Any, tmp_path: Path) -> None:
    environment, _ = synthesized("local")
    check_certificates(environment, tmp_path / "none.pem")


def test_amazons_bundle_is_taken_only_when_it_holds_ours(tmp_path: Path) -> None:
    ours, amazons = tmp_path / "rds-ca.pem", tmp_path / "global-bundle.pem"
    ours.write_text(rendered(roots()[:2]))
    amazons.write_text("\n".join(reversed(roots())))
    assert take_from(amazons, ours).endswith(f"it now holds the {len(roots())} current ones")
    assert ours.read_text() == BUNDLE.read_text()
    amazons.write_text("\n".join(roots()[1:]))
    with pytest.raises(SettingsError, match=f"does not: {common_names(roots()[0])[0]}$"):
        take_from(amazons, ours)
