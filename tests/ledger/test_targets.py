"""Where the ledger is and how to sign in: the settings, their precedence, and that no message holds a password."""

from __future__ import annotations

import urllib.parse
from typing import Any

import boto3
import psycopg
import pytest

from ledger.connection import CONNECT_TIMEOUT_S, Target, connect
from ledger.database import Database
from ledger.errors import LedgerUnavailable, Misconfigured
from tests.conftest import TestLedger
from tests.ledger.kit import put, sealed, someone

HOST = {"DATABASE_HOST": "ledger.example", "DATABASE_CA": "/opt/rds.pem"}


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials with which boto3 signs, offline."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIAFAKE",
        "AWS_SECRET_ACCESS_KEY": "fake",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)


@pytest.mark.parametrize(
    ("environment", "prefix", "url"),
    [
        ({"DATABASE_URL": "postgresql://a/x"}, "", "postgresql://a/x"),
        ({"DATABASE_URL": "postgresql://a/x", **HOST}, "", "postgresql://a/x"),
        ({"DATABASE_URL": "postgresql://a/x"}, "READONLY_", "postgresql://a/x"),
        ({"DATABASE_URL": "postgresql://a/x", "READONLY_DATABASE_URL": "postgresql://b/x"}, "READONLY_", "postgresql://b/x"),
        ({"DATABASE_URL": "postgresql://a/x", "READONLY_DATABASE_URL": "postgresql://b/x"}, "", "postgresql://a/x"),
        ({"DATABASE_URL": "", **HOST}, "", None),
        (HOST, "READONLY_", None),
    ],
)  # fmt: skip
def test_a_url_wins_and_that_of_the_variant_before_all(
    environment: dict[str, str], prefix: str, url: str | None
) -> None:
    target = Target.from_environment(environment, "readonly", prefix)
    assert target.url == url
    assert target.host == ("" if url else "ledger.example")


def test_the_host_of_a_variant_is_preferred() -> None:
    environment = {**HOST, "READONLY_DATABASE_HOST": "replica.example", "DATABASE_PORT": "5433", "DATABASE_NAME": "n"}
    target = Target.from_environment(environment, "readonly", "READONLY_")
    assert (target.host, target.port, target.name, target.sslmode) == ("replica.example", 5433, "n", "verify-full")


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({}, "DATABASE_URL"),
        ({"DATABASE_PORT": "5432"}, "DATABASE_HOST"),
        ({**HOST, "DATABASE_AUTH": "password"}, "DATABASE_AUTH"),
        ({**HOST, "DATABASE_PORT": "five"}, "DATABASE_PORT"),
        ({**HOST, "DATABASE_AUTH": "secret"}, "DATABASE_SECRET"),
    ],
)
def test_a_wrong_setting_is_named(environment: dict[str, str], named: str) -> None:
    with pytest.raises(Misconfigured, match=named):
        Target.from_environment(environment, "lambda_exec")


PASSWORD = "p4ss-w0rd"
WITH_PASSWORD = [
    f"postgresql://user:{PASSWORD}@127.0.0.1:1/name",
    f"postgresql://user:{PASSWORD}@[::1/name",
    f"postgresql://user:{PASSWORD}@127.0.0.1:1/name?bogus=1",
    f"postgresql://user:{PASSWORD}@127.0.0.1:port/name",
    f"postgresql://user:{PASSWORD}/slash@127.0.0.1:1/name",
    f"postgresql://user:{PASSWORD}#hash@127.0.0.1:1/name",
    f"postgresql:///name?host=127.0.0.1&port=1&password={PASSWORD}",
    f"host=127.0.0.1 port=1 user=user password={PASSWORD} dbname=name",
    f"host=127.0.0.1 port=1 password='{PASSWORD}",
    f"{PASSWORD}",
]


@pytest.mark.parametrize("url", WITH_PASSWORD)
def test_no_description_of_a_target_repeats_the_password(url: str) -> None:
    target = Target.from_environment({"DATABASE_URL": url}, "lambda_exec")
    try:
        said = target.describe()
    except Misconfigured as error:
        said = str(error)
    assert PASSWORD not in f"{said} {target!r} {Database(target)!r}"


@pytest.mark.parametrize("url", WITH_PASSWORD)
def test_no_error_repeats_the_password(url: str) -> None:
    with pytest.raises((Misconfigured, LedgerUnavailable)) as failure:
        connect(Target.from_environment({"DATABASE_URL": url}, "lambda_exec"))
    error = failure.value
    said = [str(error), repr(error), error.message, str(error.details), str(getattr(error, "reason", ""))]
    assert not [text for text in said if PASSWORD in text]


def test_one_url_serves_another_role_which_its_login_becomes(shared: TestLedger) -> None:
    me = someone()
    put(shared, sealed(me))
    count = "SELECT count(*) AS n FROM ledger.universal_registry WHERE entity_type = 'note'"
    for role, seen in (("lambda_exec", 0), ("readonly", 1), (None, 1)):
        with connect(Target(role=role, url=shared.url("postgres"))) as connection:
            rows = connection.execute("SELECT current_user::text AS u, session_user::text AS s").fetchall()
            assert rows == [{"u": role or "postgres", "s": "postgres"}]
            assert connection.execute(count).fetchall() == [{"n": seen}]


def test_options_of_a_url_are_kept_beside_the_role(shared: TestLedger) -> None:
    url = shared.url("postgres") + "?options=" + urllib.parse.quote("-c work_mem=5MB") + "&application_name=mine"
    with connect(Target(role="readonly", url=url), statement_timeout_s=7) as connection:
        names = (
            "work_mem",
            "role",
            "TimeZone",
            "statement_timeout",
            "application_name",
            "idle_in_transaction_session_timeout",
        )
        shown = {name: connection.execute(f"SHOW {name}".encode()).fetchall()[0] for name in names}
    assert [next(iter(row.values())) for row in shown.values()] == ["5MB", "readonly", "UTC", "7s", "mine", "7s"]


def test_a_connection_is_in_utc_and_notices_a_dead_peer(shared: TestLedger) -> None:
    with connect(Target(role="lambda_exec", url=shared.url("lambda_exec"))) as connection:
        assert connection.autocommit
        assert connection.execute("SHOW TimeZone").fetchall() == [{"TimeZone": "UTC"}]
        parameters = connection.info.get_parameters()
    assert parameters["connect_timeout"] == str(CONNECT_TIMEOUT_S)
    assert parameters["tcp_user_timeout"] == "20000"
    assert parameters["application_name"] == "loglineos"


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("role", ["lambda_exec", "readonly"])
def test_iam_signs_in_as_the_role_with_a_token_and_checks_the_server(role: str) -> None:
    parameters = Target.from_environment(HOST, role).parameters()
    token = parameters.pop("password")
    assert parameters == {
        "host": "ledger.example",
        "port": 5432,
        "dbname": "loglineos",
        "user": role,
        "sslmode": "verify-full",
        "sslrootcert": "/opt/rds.pem",
    }
    place, _, query = token.partition("/?")
    values = dict(urllib.parse.parse_qsl(query))
    assert place == "ledger.example:5432"
    assert (values["Action"], values["DBUser"]) == ("connect", role)
    assert values["X-Amz-Credential"].startswith("AKIAFAKE/")
    assert "/eu-west-1/rds-db/" in values["X-Amz-Credential"]
    assert values["X-Amz-Expires"] == "900"


@pytest.mark.usefixtures("aws")
def test_a_token_is_minted_for_each_connection_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    minted: list[str] = []
    real = boto3.client

    def counting(service: str) -> Any:
        client = real(service)
        mint = client.generate_db_auth_token

        def one_more(*arguments: Any) -> str:
            minted.append(mint(*arguments))
            return minted[-1]

        client.generate_db_auth_token = one_more
        return client

    monkeypatch.setattr(boto3, "client", counting)
    environment = {"DATABASE_HOST": "127.0.0.1", "DATABASE_PORT": "1"}
    target = Target.from_environment(environment, "lambda_exec")
    for _ in range(2):
        with pytest.raises(LedgerUnavailable) as failure:
            connect(target)
        assert minted[-1] not in f"{failure.value!r} {failure.value.reason} {target!r} {target.describe()}"
    assert len(minted) == 2


def test_who_migrates_needs_a_secret_or_a_url() -> None:
    with pytest.raises(Misconfigured, match="needs a role"):
        Target.from_environment(HOST, None).parameters()


def test_a_secret_names_its_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ledger.connection.secrets_manager_value", lambda arn: f'{{"username": "u-{arn}", "password": "{PASSWORD}"}}'
    )
    environment = {**HOST, "DATABASE_AUTH": "secret", "DATABASE_SECRET": "arn"}
    target = Target.from_environment(environment, None)
    parameters = target.parameters()
    assert (parameters["user"], parameters["password"], parameters["sslmode"]) == ("u-arn", PASSWORD, "verify-full")
    assert PASSWORD not in f"{target!r} {target.describe()}"


def test_a_server_without_tls_is_refused_where_it_has_to_be_verified(shared: TestLedger) -> None:
    url = shared.url("lambda_exec") + "?sslmode=verify-full&sslrootcert=system"
    with pytest.raises(LedgerUnavailable) as failure:
        connect(Target(role="lambda_exec", url=url))
    assert "SSL" in failure.value.reason
    assert isinstance(failure.value.__cause__, psycopg.OperationalError)
