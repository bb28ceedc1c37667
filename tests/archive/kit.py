"""A ledger whose spans are sealed at a time that the test chooses, and what its archive then holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from nacl.signing import SigningKey

from db_migration.handler import answer
from db_migration.notary import chain
from ledger.append import append
from ledger.database import Database, Identity
from ledger.ids import derived_id
from ledger.read import versions
from ledger.span import Span
from ledger.storage import Storage, storage_at
from tests.conftest import TestLedger
from tlog.checkpoint import Checkpoint

CHECKPOINT_KEY = SigningKey(b"checkpoint key of these tests 32")
ORIGIN = "loglineos-tests"
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

    def seal(self, at: datetime) -> Checkpoint:
        """The notary seals all that is committed, by a clock that the test sets."""

        class Clock(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
                return at

        with patch.object(chain, "datetime", Clock):
            said = answer({"action": "checkpoint"}, self.environment)
        assert said["ok"], said
        return Checkpoint(ORIGIN, said["newest"]["size"], bytes.fromhex(said["newest"]["root"]))

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


def days_since(at: datetime) -> int:
    """The age of what was sealed then."""
    return (datetime.now(UTC) - at) // timedelta(days=1)
