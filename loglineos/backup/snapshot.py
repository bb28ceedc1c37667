"""What a backup reads: the ledger as it was at one moment, in its order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, LiteralString

from psycopg import sql
from pydantic import ValidationError

from ledger.connection import Connection
from ledger.read import Cursor
from ledger.span import COLUMNS

from .errors import BackupFailed
from .manifest import AppliedMigration, EraRow, KnownCheckpoint, Manifest

# Walks through the index of the ledger's order only: a sort would take the ledger's size in temporary files.
_SETTINGS: Final[tuple[LiteralString, ...]] = (
    "SET LOCAL ROLE admin",  # whose policies show all rows
    "SET LOCAL DateStyle = 'ISO, YMD'",
    "SET LOCAL client_encoding = 'UTF8'",
    "SET LOCAL enable_seqscan = off",
    "SET LOCAL enable_bitmapscan = off",
    "SET LOCAL enable_sort = off",
)
_HAS_LEDGER: Final[LiteralString] = "SELECT to_regclass('ledger.universal_registry') IS NOT NULL AS there"
# Everything below the lowest transaction that is still open is decided: no later backup can find a row there that this
# one has not.
_FACTS: Final[LiteralString] = """
SELECT now() AS taken_at, current_setting('server_version') AS postgresql, ledger.current_era() AS era,
       pg_snapshot_xmin(pg_current_snapshot()) AS xmin,
       (SELECT c.reltuples::bigint FROM pg_class c WHERE c.oid = 'ledger.universal_registry'::regclass) AS estimate
"""
_MIGRATIONS: Final[LiteralString] = "SELECT name, sha256, phase, breaking FROM app.schema_migration ORDER BY name"
_ERAS: Final[LiteralString] = "SELECT era, started_at, reason FROM ledger_idx.era ORDER BY era"
_CHECKPOINT: Final[LiteralString] = """
SELECT metadata FROM ledger.universal_registry
 WHERE tenant_id = 'system' AND entity_type = 'checkpoint' AND visibility IN ('tenant', 'public')
   AND owner_id = 'notary' AND (era, xid, position) < (%s, %s::text::xid8, %s)
 ORDER BY era DESC, xid DESC, position DESC LIMIT 1
"""
_BETWEEN: Final[LiteralString] = """
 FROM ledger.universal_registry
WHERE position >= 0 AND (era, xid, position) > (%s, %s::text::xid8, %s)
  AND (era, xid, position) < (%s, %s::text::xid8, %s)
"""
_COUNT: Final[LiteralString] = "SELECT count(*) AS count" + _BETWEEN
_COUNT_ABOVE: Final[LiteralString] = """
SELECT count(*) AS count FROM ledger.universal_registry
 WHERE position >= 0 AND (era, xid, position) > (%s, %s::text::xid8, %s)
"""
_HASH_AT: Final[LiteralString] = """
SELECT curr_hash FROM ledger.universal_registry
 WHERE (id, seq) = (%s, %s) AND (era, xid, position) = (%s, %s::text::xid8, %s)
"""


class Snapshot:
    """An open REPEATABLE READ transaction, by a login that is a member of `admin`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        if not self._one(_HAS_LEDGER)["there"]:
            raise BackupFailed("there is no ledger in this database: `loglineos migrate` makes one")
        for statement in _SETTINGS:
            connection.execute(statement)
        facts = self._one(_FACTS)
        self.taken_at: datetime = facts["taken_at"]
        self.postgresql: str = facts["postgresql"].split()[0]
        self.estimate: int = max(0, facts["estimate"])
        self.horizon = Cursor(facts["era"], facts["xmin"], 0)

    def count(self, after: Cursor) -> int:
        """How many spans stand between the cursor and the horizon."""
        return int(self._one(_COUNT, [*_plain(after), *_plain(self.horizon)])["count"])

    def count_waiting(self) -> int:
        """How many committed spans stand above a transaction that is still open."""
        return int(self._one(_COUNT_ABOVE, _plain(self.horizon))["count"])

    def lines(self, after: Cursor) -> Iterator[bytes]:
        """The spans between the cursor and the horizon as COPY writes them, each with its line's end."""
        columns = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
        statement = sql.SQL("COPY (SELECT {} {} ORDER BY era, xid, position) TO STDOUT").format(
            columns, sql.SQL(_BETWEEN)
        )
        with self._connection.cursor().copy(statement, [*_plain(after), *_plain(self.horizon)]) as copy:
            for data in copy:
                yield bytes(data)

    def migrations(self) -> list[AppliedMigration]:
        """What the schema was made by."""
        return [AppliedMigration(**row) for row in self._all(_MIGRATIONS)]

    def eras(self) -> list[EraRow]:
        """All eras so far."""
        return [EraRow(**row) for row in self._all(_ERAS)]

    def checkpoint(self) -> KnownCheckpoint | None:
        """The newest one among the spans of the backup."""
        for row in self._all(_CHECKPOINT, _plain(self.horizon)):
            # What is wrong with one is for fsck to say: a backup is made all the same.
            with suppress(ValidationError):
                return KnownCheckpoint.model_validate(
                    {name: (row["metadata"] or {}).get(name) for name in KnownCheckpoint.model_fields}
                )
        return None

    def require_same_ledger(self, chain: Sequence[Manifest]) -> None:
        """Raise BackupFailed if the ledger has not all that the chain ends with: then this is no continuation."""
        last = next((one for one in reversed(chain) if one.count), chain[-1])
        place, newest = last.horizon.cursor, last.newest
        eras = [(row.era, row.reason) for row in self.eras()]
        known = [(row.era, row.reason) for row in chain[-1].eras]
        found = self._all(_HASH_AT, [newest.id, newest.seq, *_plain(newest.place.cursor)]) if newest else []
        counted = self._one(_COUNT, [*_plain(last.after.cursor), *_plain(place)])["count"]
        same = newest is None or [row["curr_hash"] for row in found] == [newest.curr_hash]
        if not same or counted != last.count or eras[: len(known)] != known or self.horizon < place:
            raise BackupFailed(
                f"the ledger does not hold what {last.name} ends with: it is another one, or was set back to an earlier"
                " time. Make a full backup in a new folder, and keep this one"
            )

    def _one(self, statement: LiteralString, parameters: Sequence[Any] = ()) -> dict[str, Any]:
        return self._all(statement, parameters)[0]

    def _all(self, statement: LiteralString, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        return self._connection.execute(statement, parameters).fetchall()


def _plain(cursor: Cursor) -> list[Any]:
    return [cursor.era, str(cursor.xid), cursor.position]
