"""A ledger with a life behind it, sealed; and somebody with a superuser's power over it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from nacl.signing import SigningKey

from db_migration.handler import answer
from ledger.append import append
from ledger.connection import Target
from ledger.database import Identity
from ledger.keys import Use
from ledger.proof import public_key_of, seal
from ledger.read import span_of
from ledger.span import Span
from ledger.storage import Folder
from loglineos.fsck import Plan, Report, fsck
from loglineos.local.postgres import Server
from tests.conftest import LOADER_KEY, ROW_KEY, TestLedger
from tests.ledger.kit import copied_database, draft, following
from tlog.checkpoint import open_checkpoint
from tlog.note import NoteKey

CHECKPOINT_KEY = SigningKey(b"checkpoint key of these tests !!")
ORIGIN = "loglineos-tests"
KEY = NoteKey(ORIGIN, bytes(CHECKPOINT_KEY.verify_key))
ROOTS: dict[Use, frozenset[str]] = {
    "row": frozenset({public_key_of(ROW_KEY)}),
    "loader": frozenset({public_key_of(LOADER_KEY)}),
    "checkpoint": frozenset({public_key_of(CHECKPOINT_KEY)}),
}
ANA = Identity("ana", "acme")


@dataclass
class Sealed:
    """A ledger, the log over it, and the newest checkpoint, kept outside of both."""

    ledger: TestLedger
    log: Folder
    outside: list[tuple[str, str]] = field(default_factory=list)
    size: int = 0

    def write(self, count: int, **values: Any) -> list[Span]:
        """Spans of ana's, signed by the loader, each in a transaction of its own."""
        database = self.ledger.database()
        try:
            return [
                append(database, ANA, [draft(ANA, name=f"note {n}", metadata={"n": n}, **values)], LOADER_KEY)[0].span
                for n in range(count)
            ]
        finally:
            database.close()

    def versions(self, count: int) -> list[Span]:
        """The versions of one span, sealed and signed."""
        first = self.write(1, did="began")[0]
        made = [first]
        database = self.ledger.database()
        try:
            for n in range(1, count):
                made.append(append(database, ANA, [following(made[-1], name=f"version {n}")], LOADER_KEY)[0].span)
        finally:
            database.close()
        return made

    def rows(self) -> list[Span]:
        """Every span, in the ledger's order."""
        found = self.ledger.execute("readonly", "SELECT * FROM ledger.universal_registry ORDER BY era, xid, position")
        return [span_of(row) for row in found]

    def seal(self) -> None:
        """A checkpoint over all that is there, by the notary."""
        environment = {
            **self.ledger.environment,
            "DATABASE_URL": self.ledger.url("postgres"),
            "CHECKPOINT_KEY_HEX": bytes(CHECKPOINT_KEY).hex(),
            "LOG_ORIGIN": ORIGIN,
            "ARCHIVE_LOCATION": str(self.log.path.parent),
        }
        result = answer({"action": "checkpoint"}, environment)
        assert result["ok"], result
        note = (self.log.read("checkpoint") or b"").decode()
        self.size = open_checkpoint(note, [KEY]).size
        self.outside.append((f"outside/{self.size}", note))

    def check(
        self,
        *,
        roots: Mapping[Use, frozenset[str]] = ROOTS,
        log: bool = True,
        outside: bool = True,
        jobs: int = 1,
        signed_from: int | None = None,
    ) -> Report:
        """What fsck finds, as `readonly`."""
        target = Target(role="readonly", url=self.ledger.url("readonly"))
        notes = self.outside[-1:] if outside else []
        return fsck(Plan(target, roots, self.log if log else None, [KEY], notes, jobs, signed_from=signed_from))

    def found(self, **settings: Any) -> list[tuple[str, str | None]]:
        """Kind and span of each finding, in order."""
        return [(finding.kind, finding.span) for finding in self.check(**settings).ordered()]

    @contextmanager
    def superuser(self) -> Iterator[psycopg.Connection[Any]]:
        """One who has turned the triggers off."""
        with psycopg.connect(self.ledger.url("rdsadmin"), autocommit=True) as connection:
            connection.execute("ALTER TABLE ledger.universal_registry DISABLE TRIGGER ALL")
            connection.execute("SET session_replication_role = replica")
            yield connection

    def tamper(self, statement: str, *parameters: Any) -> None:
        """A statement that changes at least one row."""
        with self.superuser() as connection:
            assert connection.execute(statement.encode(), parameters).rowcount > 0

    def store(self, span: Span) -> None:
        """Put a span in the place of the one with its id and seq."""
        self.tamper(
            "UPDATE ledger.universal_registry SET name = %s, metadata = %s::jsonb, curr_hash = %s, prev_hash = %s,"
            " signature = %s, public_key = %s WHERE (id, seq) = (%s, %s)",
            span.name, psycopg.types.json.Json(span.metadata), span.curr_hash, span.prev_hash,
            span.signature, span.public_key, span.id, span.seq,
        )  # fmt: skip


def changed(span: Span, key: SigningKey | None = None, **values: Any) -> Span:
    """The span with other values and the hash of those, signed by a key of one's own or none."""
    return seal(span.with_values(**values), key)


def name(span: Span) -> str:
    """As findings name it."""
    return f"{span.id} seq {span.seq}"


@pytest.fixture(scope="module")
def lived(cluster: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sealed]:
    """Notes, a span of four versions, a checkpoint; more notes, a second one; and some that are not sealed."""
    with copied_database(cluster) as ledger:
        made = Sealed(ledger, Folder(tmp_path_factory.mktemp("archive") / "log"))
        made.write(12)
        made.versions(4)
        made.seal()
        made.write(6)
        made.seal()
        made.write(3)
        yield made


@pytest.fixture
def sealed(lived: Sealed, tmp_path: Path) -> Iterator[Sealed]:
    """A copy of it, for one test to spoil."""
    shutil.copytree(lived.log.path, tmp_path / "log")
    with copied_database(lived.ledger.server, lived.ledger.name) as ledger:
        yield Sealed(ledger, Folder(tmp_path / "log"), list(lived.outside), lived.size)
