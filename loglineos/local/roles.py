"""What the cluster gives its users: logins with passwords, and the database of the ledger."""

from typing import Any

import psycopg
from psycopg import sql

from loglineos.local.cluster import SUPERUSER
from loglineos.local.passwords import Passwords

HOST = "127.0.0.1"
MASTER = "postgres"
DATABASE = "loglineos"

Connection = psycopg.Connection[tuple[Any, ...]]


def connect(port: int, passwords: Passwords) -> Connection:
    """Sign in as the superuser, whatever PG… variables there are in the operator's environment."""
    return psycopg.connect(
        host=HOST,
        hostaddr=HOST,
        port=port,
        user=SUPERUSER,
        password=passwords[SUPERUSER],
        dbname="postgres",
        options="-c search_path=pg_catalog",
        sslmode="disable",
        gssencmode="disable",
        connect_timeout=10,
        autocommit=True,
    )


def provision(connection: Connection, passwords: Passwords) -> None:
    """What RDS begins with: a master login that is no superuser, and the database that it owns."""
    if not _known(connection, MASTER):
        connection.execute("CREATE ROLE postgres NOSUPERUSER CREATEDB CREATEROLE")
    set_password(connection, MASTER, passwords)
    if connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).fetchone() is None:
        connection.execute("CREATE DATABASE loglineos OWNER postgres")


def ensure_login(connection: Connection, role: str, passwords: Passwords) -> None:
    """Let the role sign in. The master makes a missing one, to administer it as it does in production."""
    if not _known(connection, role):
        connection.execute("SET ROLE postgres")
        connection.execute(sql.SQL("CREATE ROLE {} NOSUPERUSER").format(sql.Identifier(role)))
        connection.execute("RESET ROLE")
    set_password(connection, role, passwords)


def set_password(connection: Connection, role: str, passwords: Passwords) -> None:
    """Set the kept password, or a new one, by its verifier: the server never sees the password itself."""
    password = passwords.ensure(role).encode()
    verifier = connection.pgconn.encrypt_password(password, role.encode(), b"scram-sha-256").decode()
    statement = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}")
    connection.execute(statement.format(sql.Identifier(role), sql.Literal(verifier)))


def _known(connection: Connection, role: str) -> bool:
    return connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).fetchone() is not None
