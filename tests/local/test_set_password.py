"""A password that somebody else chose, as RDS does for the master: the file and the server agree on it."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from loglineos.local.postgres import LocalPostgres


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[LocalPostgres]:
    local = LocalPostgres(tmp_path / "postgres", durable=False)
    yield local
    local.remove()


def test_the_new_password_opens_and_the_old_one_does_not(postgres: LocalPostgres) -> None:
    before = postgres.start().url("postgres")
    postgres.set_password("postgres", "chosen elsewhere")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(before)
    server = postgres.start()  # which gives the master the password of the file again
    with psycopg.connect(server.url("postgres")) as connection:
        assert connection.info.password == "chosen elsewhere"
