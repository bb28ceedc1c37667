"""What an RDS instance has inside: the master login, RDS's roles and the first database."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
from psycopg import sql

# Roles which every RDS PostgreSQL has, and that migrations may grant.
_RDS_ROLES = ("rds_superuser", "rds_iam", "rds_replication", "rds_password")
# A taste of what the master may do there without being a superuser.
_MASTER_MAY = ("pg_monitor", "pg_signal_backend", "pg_read_all_settings", "pg_checkpoint")

SetPassword = Callable[[str, str], None]


class Databases:
    """Databases and master logins in the one embedded server."""

    def __init__(self, host: str, port: int, superuser_url: str, set_password: SetPassword) -> None:
        self.host, self.port = host, port
        self._url, self._set_password = superuser_url, set_password

    def create(self, master: str, password: str, database: str | None) -> bool:
        """Make them, or take them over if they are there. True if the database was there already."""
        with self._connect() as connection:
            for role in _RDS_ROLES:
                if not _role_exists(connection, role):
                    connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(role)))
            name = sql.Identifier(master)
            if not _role_exists(connection, master):
                connection.execute(sql.SQL("CREATE ROLE {} NOSUPERUSER").format(name))
            connection.execute(sql.SQL("ALTER ROLE {} LOGIN CREATEDB CREATEROLE NOSUPERUSER").format(name))
            for role in ("rds_superuser", *_MASTER_MAY):
                connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), name))
            # What migrations grant to those who sign in by token.
            connection.execute(sql.SQL("GRANT rds_iam TO {} WITH ADMIN OPTION").format(name))
            existed = database is not None and self._ensure_database(connection, database, master)
        self._set_password(master, password)
        return existed

    def _ensure_database(self, connection: psycopg.Connection[tuple[object, ...]], database: str, owner: str) -> bool:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone()
        verb = "ALTER DATABASE {} OWNER TO {}" if found else "CREATE DATABASE {} OWNER {}"
        connection.execute(sql.SQL(verb).format(sql.Identifier(database), sql.Identifier(owner)))
        return found is not None

    def change_password(self, master: str, password: str) -> None:
        self._set_password(master, password)

    def drop(self, database: str) -> None:
        """The instance is deleted: so is its database, sessions and all. Roles are the server's: they stay."""
        with self._connect() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self._url, autocommit=True, sslmode="disable")


def _role_exists(connection: psycopg.Connection[tuple[object, ...]], role: str) -> bool:
    return connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone() is not None
