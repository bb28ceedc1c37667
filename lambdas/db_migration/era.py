"""Eras: after a restore old transaction ids mean nothing, so what is appended from then on gets the next era.

A logical restore begins it itself. After a physical one (a snapshot, point-in-time recovery) the operator does: spans
were lost, transaction ids are given out a second time, and a follower's cursor may be ahead of them.
"""

from __future__ import annotations

from typing import Any, Final, LiteralString

import psycopg

from ledger.connection import Connection
from ledger.errors import LedgerError
from ledger.span import format_instant

LOCK_WAIT: Final = "30s"

# Whoever has inserted holds the table until the end of their transaction: after the lock nobody can add to the old era
# any more, of which followers are told that it is complete.
_BEGIN: Final[tuple[LiteralString, ...]] = (
    "LOCK TABLE ledger.universal_registry IN SHARE ROW EXCLUSIVE MODE",
    "INSERT INTO ledger_idx.era (era, reason) SELECT max(e.era) + 1, %s FROM ledger_idx.era e",
)
_ERAS: Final[LiteralString] = "SELECT era, started_at, reason FROM ledger_idx.era ORDER BY era"


class EraBusy(LedgerError):
    """A transaction that has appended stays open, so the next era cannot begin."""

    code = "era_busy"


def begin_era(connection: Connection, reason: str) -> list[dict[str, Any]]:
    """Begin the next era and answer all of them. Raises EraBusy."""
    lock, begin = _BEGIN
    try:
        with connection.transaction():
            connection.execute("SET LOCAL ROLE admin")
            connection.execute("SELECT set_config('lock_timeout', %s, true)", [LOCK_WAIT])
            connection.execute(lock)
            connection.execute(begin, [reason])
    except psycopg.errors.LockNotAvailable:
        raise EraBusy(
            f"a transaction that has appended has been open for more than {LOCK_WAIT}: end it, or wait, and try again"
        ) from None
    return show_eras(connection)


def show_eras(connection: Connection) -> list[dict[str, Any]]:
    """All eras, the first one first."""
    with connection.transaction():
        connection.execute("SET LOCAL ROLE admin")
        rows = connection.execute(_ERAS).fetchall()
    return [{**row, "started_at": format_instant(row["started_at"])} for row in rows]
