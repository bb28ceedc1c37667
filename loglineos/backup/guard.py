"""What keeps a span's place from being written, lifted for one transaction, and the proof that it is back.

The insert guard overwrites era, xid and position, and PostgreSQL refuses COPY FROM where row-level security holds. Both
are lifted by DDL of the table's owner, `admin`, which takes the table from everybody else until the transaction ends:
nobody ever sees it unguarded. The append-only triggers, and those that keep the indexes, stay on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, LiteralString

from ledger.connection import Connection

from .errors import BackupFailed

_LIFT: Final[LiteralString] = """
ALTER TABLE ledger.universal_registry NO FORCE ROW LEVEL SECURITY, DISABLE TRIGGER ur_guard_insert
"""
_PUT_BACK: Final[LiteralString] = """
ALTER TABLE ledger.universal_registry FORCE ROW LEVEL SECURITY, ENABLE ALWAYS TRIGGER ur_guard_insert
"""
_STATE: Final[LiteralString] = """
SELECT pg_get_triggerdef(t.oid) AS what, t.tgenabled::text AS how
  FROM pg_trigger t WHERE t.tgrelid = 'ledger.universal_registry'::regclass AND NOT t.tgisinternal
UNION ALL
SELECT 'row-level security', concat(c.relrowsecurity, c.relforcerowsecurity)
  FROM pg_class c WHERE c.oid = 'ledger.universal_registry'::regclass
UNION ALL
SELECT concat('policy ', p.polname), concat_ws(' ', p.polcmd, p.polpermissive, p.polroles::regrole[],
         pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
  FROM pg_policy p WHERE p.polrelid = 'ledger.universal_registry'::regclass
ORDER BY 1, 2
"""


@contextmanager
def lifted(connection: Connection) -> Iterator[None]:
    """Within the caller's transaction, as `admin`. After an error the transaction cannot be committed.

    Raises:
        BackupFailed: triggers, row-level security or policies are not what they were before.
    """
    before = _state(connection)
    connection.execute(_LIFT)
    yield
    connection.execute(_PUT_BACK)
    if _state(connection) != before:
        raise BackupFailed("the ledger's guards would not be as they were before: nothing was restored")


def _state(connection: Connection) -> list[dict[str, Any]]:
    return connection.execute(_STATE).fetchall()
