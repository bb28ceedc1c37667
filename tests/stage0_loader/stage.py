"""A loader on a real ledger, driven through its handler, with its log lines beside each answer."""

from __future__ import annotations

import io
import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from aws_lambda_powertools import Logger
from nacl.signing import SigningKey

from db_migration.rows import OWNER, read_rows
from db_migration.seed import seed
from ledger.append import insert_sealed
from ledger.connection import Connection
from ledger.ids import MANIFEST_ID
from ledger.proof import public_key_of, seal
from ledger.read import span_of
from ledger.settings import asset_directory
from ledger.span import Span, parse_span
from stage0_loader.boot import Loader
from stage0_loader.handler import handle, make_loader
from stage0_loader.settings import Settings
from tests.conftest import LOADER_KEY, MEMORY_KEY, ROW_KEY, TestLedger

MEMORY_KERNEL: Final = UUID("00000000-0000-4000-8000-000000000007")
PROMPT_KERNEL: Final = UUID("00000000-0000-4000-8000-000000000006")
ROW_PUBLIC: Final = public_key_of(ROW_KEY)
NOTHING: Final = "def main(ctx):\n    return {'done': True}\n"
TEST_KERNELS: Final = [UUID(f"00000000-0000-4000-8000-{n:012x}") for n in range(0x90000, 0x90060)]
ACTING_KERNELS: Final = TEST_KERNELS[-8:]
UNSEEDED: Final = TEST_KERNELS[-9]  # in the manifest, and nowhere else
NOT_LISTED: Final = UUID("00000000-0000-4000-8000-0000000fffff")
MANIFEST_SEQ: Final = 1000
_numbers = itertools.count()


class FakeContext:
    """Lambda's context: it counts down from the milliseconds given."""

    def __init__(self, remaining_ms: int = 30_000) -> None:
        self._end = time.monotonic() + remaining_ms / 1000

    def get_remaining_time_in_millis(self) -> int:
        """What is left of the invocation."""
        return round((self._end - time.monotonic()) * 1000)


@dataclass(frozen=True)
class Answer:
    """An answer taken apart, and what was logged meanwhile."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]
    raw: str
    log: str
    seconds: float

    @property
    def trace_id(self) -> str:
        """Joins answer, spans and log lines."""
        return str(self.body["trace_id"])

    @property
    def output(self) -> Any:
        """What the kernel answered; the boot must have succeeded."""
        assert self.status == 200, self.raw
        return self.body["output"]

    @property
    def error(self) -> dict[str, Any]:
        """The error; the request must have failed."""
        assert self.body["ok"] is False, self.raw
        error: dict[str, Any] = self.body["error"]
        return error

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log lines: each has to be one JSON object."""
        return [json.loads(line) for line in self.log.splitlines()]

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The log lines at level ERROR."""
        return [line for line in self.lines if line["level"] == "ERROR"]


class Stage:
    """One loader. `environment` is what its Lambda would have."""

    def __init__(self, ledger: TestLedger, log_level: str = "INFO", **changes: str) -> None:
        self.ledger = ledger
        self.environment = loader_environment(ledger, **changes)
        self._log = io.StringIO()
        self._log_level = log_level
        self._superuser: Connection | None = None
        self._loaders: list[Loader] = []
        self.loader = self.new_loader()

    def new_loader(self, **changes: str) -> Loader:
        """Another cold loader of the same deployment, or of one with other settings."""
        settings = Settings.from_environment({**self.environment, **changes})
        loader = make_loader(
            settings, Logger(service=f"stage0-{next(_numbers)}", level=self._log_level, stream=self._log)
        )
        self._loaders.append(loader)
        return loader

    def send(self, event: object, *, remaining_ms: int = 30_000, loader: Loader | None = None) -> Answer:
        """One invocation, through the handler."""
        started = time.monotonic()
        raw, log = self.invoke(event, remaining_ms=remaining_ms, loader=loader)
        seconds = time.monotonic() - started
        assert set(raw) == {"statusCode", "headers", "body"}
        return Answer(raw["statusCode"], raw["headers"], json.loads(raw["body"]), raw["body"], log, seconds)

    def invoke(
        self, event: object, *, remaining_ms: int = 30_000, loader: Loader | None = None
    ) -> tuple[dict[str, Any], str]:
        """What Lambda gets of one invocation, and what was logged meanwhile."""
        before = self._log.tell()
        raw = handle(loader or self.loader, event, FakeContext(remaining_ms))
        return raw, self._log.getvalue()[before:]

    def boot(
        self,
        kernel: UUID,
        given: dict[str, Any] | None = None,
        *,
        user: str = "alice",
        tenant: str = "acme",
        remaining_ms: int = 30_000,
        loader: Loader | None = None,
        **fields: Any,
    ) -> Answer:
        """Boot a kernel as a user of a tenant."""
        event = {"action": "boot", "boot_function_id": str(kernel), "input": given or {}, **fields}
        event |= {"user_id": user, "tenant_id": tenant}
        return self.send(event, remaining_ms=remaining_ms, loader=loader)

    def memory(self, given: dict[str, Any], **options: Any) -> Answer:
        """Boot memory_store_kernel."""
        return self.boot(MEMORY_KERNEL, given, **options)

    def store(self, content: str, *, user: str = "alice", tenant: str = "acme", **given: Any) -> dict[str, Any]:
        """Store a memory; answers it as the kernel shows it."""
        answer = self.memory({"action": "store", "content": content, **given}, user=user, tenant=tenant)
        memory: dict[str, Any] = answer.output["memory"]
        return memory

    def append(self, *spans: dict[str, Any], user: str = "alice", tenant: str = "acme") -> Answer:
        """The `append` action with a list of spans."""
        return self.send({"action": "append", "spans": list(spans), "user_id": user, "tenant_id": tenant})

    def publish(self, source: str | None, *, kernel: UUID | None = None, seq: int = 1, **values: Any) -> UUID:
        """Seed a kernel, signed by ROW_KEY. Ids of TEST_KERNELS are in the manifest already."""
        kernel = kernel or TEST_KERNELS[next(_numbers) % TEST_KERNELS.index(UNSEEDED)]
        self.seed(row(kernel, "function", seq, **{"name": f"kernel_{kernel.hex[-5:]}", "code": source, **values}))
        return kernel

    def seed(self, *spans: Span, key: SigningKey | None = ROW_KEY) -> None:
        """Seed rows as db-migration does."""
        trusted = frozenset([public_key_of(key)]) if key else frozenset[str]()
        with self.ledger.connect("admin") as connection:
            seed(connection, {span.id: [span] for span in spans}, key, trusted)

    def insert_as_admin(self, span: Span, key: SigningKey | None) -> None:
        """What somebody who holds the database can do: a next version, sealed with any key or none."""
        head = self.spans(id=span.id)
        chained = span.with_values(prev_hash=head[-1].curr_hash if head else None)
        with self.ledger.connect("admin") as connection:
            insert_sealed(connection, [seal(chained, key)])

    def tamper(self, assignment: str, span_id: UUID, parameters: Sequence[Any] = ()) -> None:
        """Change a stored span behind the ledger's back, which only a superuser can, with the guards off."""
        with self.superuser.transaction():
            self.superuser.execute("ALTER TABLE ledger.universal_registry DISABLE TRIGGER ALL")
            self.superuser.execute(
                f"UPDATE ledger.universal_registry SET {assignment} WHERE id = %s".encode(), [*parameters, span_id]
            )
            self.superuser.execute("ALTER TABLE ledger.universal_registry ENABLE TRIGGER ALL")
            for trigger in ("ur_append_only", "ur_append_only_row", "ur_guard_insert"):
                self.superuser.execute(
                    f"ALTER TABLE ledger.universal_registry ENABLE ALWAYS TRIGGER {trigger}".encode()
                )

    @property
    def superuser(self) -> Connection:
        """A connection that sees all rows of all tenants."""
        if self._superuser is None:
            self._superuser = self.ledger.connect("rdsadmin")
        return self._superuser

    def spans(self, **columns: Any) -> list[Span]:
        """The spans that have these values, whoever owns them, in the ledger's order."""
        conditions = " AND ".join(f"{name} = %s" for name in columns)
        rows = self.superuser.execute(
            f"SELECT * FROM ledger.universal_registry WHERE {conditions} ORDER BY era, xid, position".encode(),
            list(columns.values()),
        ).fetchall()
        return [span_of(found) for found in rows]

    def one(self, **columns: Any) -> Span:
        """The only span that has these values."""
        (span,) = self.spans(**columns)
        return span

    def places_of(self, text: str) -> list[str]:
        """Where in the whole database a text stands: `entity_type`s, or the names of other tables."""
        found = self.superuser.execute(
            "SELECT entity_type FROM ledger.universal_registry r WHERE strpos(r::text, %s) > 0", [text]
        ).fetchall()
        places = [str(place["entity_type"]) for place in found]
        for table in (
            "ledger_idx.usage",
            "ledger_idx.refusal",
            "ledger_idx.token_use",
            "ledger_idx.open_call",
            "ledger_idx.era",
            "app.schema_migration",
        ):
            statement = f"SELECT FROM {table} t WHERE strpos(t::text, %s) > 0"
            places += [table] * len(self.superuser.execute(statement.encode(), [text]).fetchall())
        return sorted(places)

    def secrets(self) -> list[str]:
        """What must never be seen: the password comes first."""
        password = self.environment["DATABASE_URL"].removeprefix("postgresql://").partition(":")[2].rpartition("@")[0]
        return [password, bytes(LOADER_KEY).hex(), bytes(LOADER_KEY).decode(), MEMORY_KEY.hex(), MEMORY_KEY.decode()]

    def close(self) -> None:
        """Let the connections go, and end the sandboxes' processes."""
        for loader in self._loaders:
            loader.database.close()
            loader.sandbox.close()
        if self._superuser is not None:
            self._superuser.close()


def loader_environment(ledger: TestLedger, **changes: str) -> dict[str, str]:
    """The variables of the loader's Lambda."""
    return {
        "DATABASE_URL": ledger.url("lambda_exec"),
        "SIGNING_KEY_HEX": bytes(LOADER_KEY).hex(),
        "MEMORY_KEY_HEX": MEMORY_KEY.hex(),
        "TRUSTED_ROW_KEYS": ROW_PUBLIC,
        **changes,
    }


def row(span_id: UUID, entity_type: str, seq: int, **values: Any) -> Span:
    """A row as the files in `row/` have them."""
    defaults = {"who": "system", "did": "released", "at": "2026-11-22T00:00:00Z", "status": "active", "metadata": {}}
    given = {**OWNER, **defaults, "this": values.get("name", entity_type), **values}
    return parse_span({"id": span_id, "entity_type": entity_type, "seq": seq, **given})


def manifest(seq: int = MANIFEST_SEQ, **changes: Any) -> Span:
    """The released manifest as a higher version that allows the test kernels too."""
    metadata = dict(read_rows(asset_directory("row"))[MANIFEST_ID][-1].metadata or {})
    metadata["allowed_boot_ids"] = [*metadata["allowed_boot_ids"], *map(str, TEST_KERNELS)]
    metadata["may_act_as"] = [*metadata["may_act_as"], *map(str, ACTING_KERNELS)]
    return row(MANIFEST_ID, "manifest", seq, name="manifest", metadata={**metadata, **changes})
