"""A ledger, the storage of its log, and the notary that stands between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey

from db_migration.handler import answer
from db_migration.notary.settings import Settings
from ledger.append import append
from ledger.database import Identity
from ledger.proof import public_key_of
from ledger.read import span_of
from ledger.span import Span
from ledger.storage import Folder
from tests.conftest import LOADER_KEY, TestLedger
from tests.ledger.kit import draft
from tlog.checkpoint import Checkpoint, open_checkpoint
from tlog.growth import Growth
from tlog.merkle import EMPTY_ROOT
from tlog.note import NoteKey
from tlog.tiles import Tree

CHECKPOINT_KEY = SigningKey(b"checkpoint key of these tests !!")
ORIGIN = "loglineos-tests"
KEY = NoteKey(ORIGIN, bytes(CHECKPOINT_KEY.verify_key))
ANA = Identity("ana", "acme")


@dataclass
class Notary:
    """The action `checkpoint` of db-deploy, on a ledger of the tests and a folder."""

    __test__ = False

    ledger: TestLedger
    folder: Path
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **self.ledger.environment,
            "CHECKPOINT_KEY_HEX": bytes(CHECKPOINT_KEY).hex(),
            "LOG_ORIGIN": ORIGIN,
            "ARCHIVE_LOCATION": str(self.folder),
            **self.settings,
        }

    @property
    def log(self) -> Folder:
        return Folder(self.folder / "log")

    def parsed(self) -> Settings:
        return Settings.from_environment(self.environment)

    def answer(self, **event: Any) -> dict[str, Any]:
        return answer({"action": "checkpoint", **event}, self.environment)

    def seal(self, **event: Any) -> dict[str, Any]:
        """What it answers, where all went well."""
        said = self.answer(**event)
        assert said["ok"], said
        return said

    def refusal(self, **event: Any) -> str:
        """What it says, where it refuses."""
        said = self.answer(**event)
        assert said["error"]["code"] == "sealing_refused", said
        return str(said["error"]["message"])

    def write(self, count: int, **values: Any) -> list[Span]:
        """Spans of ana's, in one transaction."""
        database = self.ledger.database()
        try:
            spans = [draft(ANA, metadata={"n": n}, **values) for n in range(count)]
            return [done.span for begin in range(0, count, 1000)
                    for done in append(database, ANA, spans[begin : begin + 1000], LOADER_KEY)]  # fmt: skip
        finally:
            database.close()

    def rows(self) -> list[Span]:
        """Every span, in the ledger's order."""
        found = self.ledger.execute("readonly", "SELECT * FROM ledger.universal_registry ORDER BY era, xid, position")
        return [span_of(row) for row in found]

    def chain(self) -> list[Span]:
        """The checkpoints of the ledger, the first one first."""
        return [span for span in self.rows() if span.entity_type == "checkpoint"]

    def newest(self) -> Checkpoint:
        """As storage has it."""
        return open_checkpoint((self.log.read("checkpoint") or b"").decode(), [KEY])

    def require_whole(self) -> None:
        """The log is the ledger's, file by file, and there is one root for each size."""
        rows, chain = self.rows(), self.chain()
        newest = self.newest()
        sealed = [bytes.fromhex(span.curr_hash or "") for span in rows[: newest.size]]
        tree = Tree(self.log, newest.size)
        assert [entry for n in range(-(-newest.size // 256)) for entry in tree.entries(n)] == sealed
        assert tree.root() == newest.root
        sizes = [(span.metadata or {})["size"] for span in chain]
        assert sizes == sorted(set(sizes))
        assert [f"checkpoints/{size:020}" for size in sizes] == list(self.log.names("checkpoints/"))
        growth = Growth(_Nowhere(), 0, EMPTY_ROOT)
        for span in chain:
            said = span.metadata or {}
            growth.append(sealed[growth.size : said["size"]])
            note = self.log.read(f"checkpoints/{said['size']:020}") or b""
            assert open_checkpoint(note.decode(), [KEY]) == Checkpoint(ORIGIN, growth.size, growth.root())
            assert said["note"] == note.decode()
            assert span.public_key == public_key_of(CHECKPOINT_KEY)
        assert growth.size == newest.size

    def tamper(self, statement: str, *parameters: Any) -> None:
        """What a superuser who has turned the triggers off can do."""
        with self.ledger.connect("rdsadmin") as connection:
            connection.execute("ALTER TABLE ledger.universal_registry DISABLE TRIGGER ALL")
            assert connection.execute(statement.encode(), parameters).rowcount > 0
            connection.execute("ALTER TABLE ledger.universal_registry ENABLE ALWAYS TRIGGER ur_guard_insert")
            connection.execute("ALTER TABLE ledger.universal_registry ENABLE ALWAYS TRIGGER ur_append_only")


class _Nowhere:
    def read(self, _name: str) -> None:
        return None

    def add_all(self, _files: Any) -> None:
        pass


@pytest.fixture
def notary(ledger: TestLedger, tmp_path: Path) -> Notary:
    """One with a ledger of its own."""
    return Notary(ledger, tmp_path)
