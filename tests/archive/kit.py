"""A ledger whose spans are sealed at a time that the test chooses, and what its archive then holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey

from db_migration.archive.columns import hash_of
from db_migration.archive.source import rows
from db_migration.handler import answer
from ledger.append import append
from ledger.database import Database, Identity
from ledger.ids import derived_id
from ledger.read import BEGINNING, END, Cursor, versions
from ledger.span import Span, parse_span
from ledger.storage import Storage, storage_at
from tests.conftest import TestLedger
from tests.ledger.kit import session
from tlog.checkpoint import Checkpoint
from tlog.growth import Growth
from tlog.merkle import EMPTY_ROOT

CHECKPOINT_KEY = SigningKey(b"checkpoint key of these tests 32")
ORIGIN = "loglineos-tests"
NOTARY = Identity("notary", "system")
ARCHIVIST = Identity("archivist", "system")
JANUARY = datetime(2025, 1, 15, 12, tzinfo=UTC)
FEBRUARY = datetime(2025, 2, 3, tzinfo=UTC)


@dataclass
class Archived:
    """A ledger, its log, and the storage of its archive."""

    ledger: TestLedger
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What db-deploy would have."""
        return {
            **self.ledger.environment,
            "READONLY_DATABASE_URL": self.ledger.url("readonly"),
            "LAMBDA_EXEC_DATABASE_URL": self.ledger.url("lambda_exec"),
            "ARCHIVE_LOCATION": str(self.folder),
            "LOG_ORIGIN": ORIGIN,
            "CHECKPOINT_KEY_HEX": bytes(CHECKPOINT_KEY).hex(),
        }

    @property
    def storage(self) -> Storage:
        return storage_at(str(self.folder))

    def append(self, *spans: Span) -> None:
        """Spans of one owner."""
        database = self.ledger.database()
        append(database, Identity(spans[0].owner_id, spans[0].tenant_id), spans, None)
        database.close()

    def seal(self, at: datetime, end: Cursor = END) -> Checkpoint:
        """What the notary does, at a time of the test's choice: everything that is committed goes into the log."""
        database = self.ledger.database()
        log = storage_at(str(self.folder / "log"))
        before = versions(database, NOTARY, derived_id("checkpoint", ORIGIN))
        last = before[-1] if before else None
        known: dict[str, Any] = (
            (last.metadata or {}) if last else {"size": 0, "root": EMPTY_ROOT.hex(), "end": str(BEGINNING)}
        )
        growth = Growth(log, known["size"], bytes.fromhex(known["root"]))
        with session(self.ledger, "readonly") as connection:
            new = list(rows(connection, Cursor.parse(known["end"]), end, 10**9))
        growth.append([hash_of(row) for row in new])
        checkpoint = Checkpoint(ORIGIN, growth.size, growth.finish())
        note = checkpoint.sign(CHECKPOINT_KEY)
        log.replace("checkpoint", note.encode())
        place = Cursor(new[-1][29], int(new[-1][30]), new[-1][31])
        append(database, NOTARY, [_checkpoint_span(last, checkpoint, note, place, at)], CHECKPOINT_KEY)
        database.close()
        return checkpoint

    def run(self, days: int = 0, **more: Any) -> dict[str, Any]:
        """The action, on a fresh process's terms."""
        return answer({"action": "archive", "older_than_days": days, **more}, self.environment)

    def spans(self) -> list[Span]:
        """What the ledger says is archived."""
        database: Database = self.ledger.database()
        found = versions(database, ARCHIVIST, derived_id("archive", ORIGIN))
        database.close()
        return found

    def files(self) -> list[str]:
        """What storage has of it."""
        return list(self.storage.names("spans/"))


def _checkpoint_span(last: Span | None, checkpoint: Checkpoint, note: str, end: Cursor, at: datetime) -> Span:
    return parse_span(
        {
            "id": derived_id("checkpoint", ORIGIN),
            "seq": last.seq + 1 if last else 0,
            "prev_hash": last.curr_hash if last else None,
            "entity_type": "checkpoint",
            "who": "notary",
            "did": "sealed",
            "this": "ledger",
            "at": at,
            "owner_id": "notary",
            "tenant_id": "system",
            "visibility": "tenant",
            "status": "active",
            "metadata": {
                "origin": ORIGIN,
                "size": checkpoint.size,
                "root": checkpoint.root.hex(),
                "note": note,
                "end": str(end),
            },
        }
    )


def days_since(at: datetime) -> int:
    """The age of what was sealed then."""
    return (datetime.now(UTC) - at) // timedelta(days=1)
