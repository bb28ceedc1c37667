"""Keys and secrets: found where they are configured, refused when others can read them, never repeated."""

from __future__ import annotations

from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from ledger.errors import Misconfigured
from ledger.proof import parse_public_keys, parse_signing_key, public_key_of
from ledger.secret import SecretMissing, read_secret
from tests.conftest import LOADER_KEY, ROW_KEY

SEED = bytes(ROW_KEY).hex()


@pytest.mark.parametrize("text", [SEED, SEED.upper(), f"  {SEED}\n"])
def test_a_signing_key_is_the_hex_of_its_seed(text: str) -> None:
    assert parse_signing_key(text, "KEY") == ROW_KEY


@pytest.mark.parametrize("text", ["", "no hex digits", SEED[:-2], SEED + "00", "é" * 64])
def test_a_malformed_signing_key_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(Misconfigured) as refusal:
        parse_signing_key(text, "THE_SETTING")
    assert str(refusal.value) == "THE_SETTING must be an Ed25519 private key: 64 hex digits"
    assert refusal.value.__cause__ is None


def test_public_keys_are_a_list() -> None:
    one, two = public_key_of(ROW_KEY), public_key_of(LOADER_KEY)
    assert parse_public_keys(f" {one.upper()} ,{two},", "KEYS") == {one, two}
    assert parse_public_keys(" , ", "KEYS") == frozenset()
    for wrong in ("x", one[:-1], f"{one} {two}", f"{one};{two}"):
        with pytest.raises(Misconfigured, match="KEYS must list"):
            parse_public_keys(wrong, "KEYS")


def test_a_secret_is_its_variable_or_a_file_of_its_owner(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{SEED}\n")
    file.chmod(0o600)
    assert read_secret("KEY", {}) is None
    assert read_secret("KEY", {"KEY_FILE": str(file)}) == SEED
    assert read_secret("KEY", {"KEY_HEX": " 00 ", "KEY_FILE": str(file)}) == "00"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622, 0o601])
def test_a_file_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "key"
    file.write_text(SEED)
    file.chmod(mode)
    with pytest.raises(Misconfigured, match="chmod 600") as refusal:
        read_secret("KEY", {"KEY_FILE": str(file)})
    assert SEED not in str(refusal.value)


@pytest.mark.parametrize("path", ["missing", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, path: str) -> None:
    (tmp_path).chmod(0o700)
    with pytest.raises(Misconfigured, match="KEY_FILE: cannot read"):
        read_secret("KEY", {"KEY_FILE": str(tmp_path / path)})


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """What boto3 asks for before it asks anybody."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


def test_a_secret_of_secrets_manager_is_read_by_name_or_arn(aws: None) -> None:
    with mock_aws():
        made = boto3.client("secretsmanager").create_secret(Name="loglineos-some", SecretString=" sk-1\n")
        for name in ("loglineos-some", made["ARN"]):
            assert read_secret("LOGLINEOS_SOME", {"LOGLINEOS_SOME_SECRET": name}) == "sk-1"


def test_a_secret_that_is_missing_is_told_from_one_that_may_not_be_read(aws: None) -> None:
    with mock_aws():
        with pytest.raises(SecretMissing, match="the secret loglineos-none cannot be read: ResourceNotFoundException"):
            read_secret("LOGLINEOS_NONE", {"LOGLINEOS_NONE_SECRET": "loglineos-none"})
        deleted = boto3.client("secretsmanager")
        deleted.create_secret(Name="loglineos-gone", SecretString="x")
        deleted.delete_secret(SecretId="loglineos-gone")
        with pytest.raises(Misconfigured, match="cannot be read: InvalidRequestException") as refusal:
            read_secret("LOGLINEOS_GONE", {"LOGLINEOS_GONE_SECRET": "loglineos-gone"})
        assert not isinstance(refusal.value, SecretMissing)
