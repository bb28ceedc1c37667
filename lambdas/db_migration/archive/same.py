"""Is what reports are read from this ledger? After a restore the replica still follows the database that was lost."""

from __future__ import annotations

from typing import Final, LiteralString

import psycopg

from ledger.connection import Connection
from ledger.database import raise_typed

from .columns import ArchiveRefused
from .record import Checkpoint, Record

_THERE: Final[LiteralString] = """
SELECT ledger.current_era() AS era,
       (SELECT curr_hash FROM ledger.universal_registry WHERE id = %s AND seq = %s) AS curr_hash
"""


def require_same(reports: Connection, record: Record, covering: Checkpoint) -> None:
    """It is in the ledger's era and has the checkpoint that is gone by.

    No proof, which the log is: without this, that what is read is not what was sealed would look like tampering.

    Raises:
        ArchiveRefused: it is another ledger, or has not caught up with this one.
        LedgerError: the database's own.
    """
    span, era = covering.span, record.era()
    try:
        there = reports.execute(_THERE, [span.id, span.seq]).fetchall()[0]
    except psycopg.Error as error:
        raise_typed(error)
    if there["era"] != era:
        raise _other(f"it is in era {there['era']}, the ledger in era {era}")
    if there["curr_hash"] is None:
        raise _other(f"it lacks the checkpoint of {covering.size} spans")
    if there["curr_hash"] != span.curr_hash:
        raise _other(f"it has another checkpoint in the place of that of {covering.size} spans")


def _other(how: str) -> ArchiveRefused:
    return ArchiveRefused(
        f"the replica that is read is not of this ledger, or far behind it: {how}. After a restore make it anew"
        " (docs/runbooks/restore.md); if that was done, try again when it has caught up"
    )
