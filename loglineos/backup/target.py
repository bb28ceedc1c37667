"""The database: is it empty, so that a backup may be restored into it, and may this login do that?"""

from __future__ import annotations

from typing import Final, LiteralString, NoReturn

import psycopg

from ledger.connection import Connection
from ledger.database import raise_typed

from .errors import BackupFailed, NotEmpty

_MAX_COUNT: Final = 100_000
_SHOWN: Final = 5

_HAS_LEDGER: Final[LiteralString] = "SELECT to_regclass('ledger.universal_registry') IS NOT NULL AS there"
_SPANS: Final[LiteralString] = "SELECT count(*) AS count FROM (SELECT FROM ledger.universal_registry LIMIT %s) spans"
_OTHERS: Final[LiteralString] = """
SELECT c.oid::regclass::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
   AND n.nspname NOT IN ('ledger', 'ledger_idx', 'app')
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
 ORDER BY 1
"""
_ANEW: Final = (
    "A backup is restored into an empty database: make one (docs/backup.md), or drop and create this one as its owner:"
    ' psql … -d postgres -c "DROP DATABASE name WITH (FORCE)" -c "CREATE DATABASE name"'
)


def require_empty(connection: Connection) -> None:
    """Raise NotEmpty, naming what is there, unless the database holds nothing, or the ledger's schema alone."""
    others = [row["name"] for row in connection.execute(_OTHERS)]
    if others:
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        raise NotEmpty(f"the database has tables of others: {', '.join(others[:_SHOWN])}{more}. {_ANEW}")
    if not connection.execute(_HAS_LEDGER).fetchall()[0]["there"]:
        return
    with connection.transaction():
        connection.execute("SET LOCAL ROLE admin")
        count = connection.execute(_SPANS, [_MAX_COUNT + 1]).fetchall()[0]["count"]
    if count:
        many = f"more than {_MAX_COUNT:,}" if count > _MAX_COUNT else f"{count:,}"
        raise NotEmpty(f"the database has a ledger of {many} span{'s' if count > 1 else ''} already. {_ANEW}")


def raise_clear(error: psycopg.Error) -> NoReturn:
    """PostgreSQL's error as this project's, with what to do about a login that may not."""
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        raise BackupFailed(
            f"this takes the login that owns the database and migrates it ({error.diag.message_primary}): give that"
            " one in DATABASE_URL"
        ) from error
    raise_typed(error)
