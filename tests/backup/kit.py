"""What the tests of backups share: spans of all sorts, taking, restoring, and what a ledger holds in all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey

from db_migration.handler import answer
from ledger.connection import Connection, Target
from ledger.proof import seal, verify
from ledger.read import span_of
from ledger.span import Span
from loglineos.backup.manifest import read_chain
from loglineos.backup.restore import Restored, restore_backup
from loglineos.backup.take import Taken, take_backup
from loglineos.backup.verify import verify_backup
from tests.conftest import LOADER_KEY, TestLedger
from tests.ledger.kit import draft, following, put, someone

ALL = "SELECT * FROM ledger.universal_registry ORDER BY era, xid, position"
AWKWARD = "tab\there, newline\nthere, \\N, \\\\, \r, \x0b, \x01, 用户 🌙 \u2028 'quoted' \"twice\""


def quiet(done: int, total: int) -> None:
    """No progress is shown."""


def target(ledger: TestLedger) -> Target:
    """The login that migrates: the owner of the database, no superuser."""
    return Target(role=None, url=ledger.url("postgres"))


def take(ledger: TestLedger, folder: Path, *, incremental: bool = False) -> Taken:
    return take_backup(folder, target(ledger), incremental=incremental, tell=quiet)


def restore(folder: Path, ledger: TestLedger) -> Restored:
    return restore_backup(folder, target(ledger), tell=quiet)


def findings(folder: Path) -> list[tuple[str, str]]:
    """File and reason of each finding of `verify`."""
    return [(one.file, one.reason) for one in verify_backup(folder, quiet).findings]


def fill(ledger: TestLedger, key: SigningKey | None = None) -> list[Span]:
    """Spans of a new owner: values that are awkward in a file, a tombstone, a request, a schedule, a policy.

    Most are signed by `key`, or not at all: a loader that has a key signs all that it appends.
    """
    owner = someone()
    first = seal(draft(owner, name=AWKWARD, metadata={"text": AWKWARD, "n": [1.5, 1e16, -3, 1e-7], "": {}}), LOADER_KEY)
    others = [
        seal(draft(owner, entity_type="memory", metadata={"content": AWKWARD}, visibility="tenant"), key),
        seal(draft(owner, related_to=[first.id], parent_id=first.id, duration_ms=0, output=[], input=0), key),
        seal(draft(owner, related_to=[], error={"code": None}, output=None, description=""), LOADER_KEY),
        seal(draft(owner, entity_type="request", status="scheduled", parent_id=first.id), key),
        seal(
            draft(
                owner, entity_type="function", metadata={"schedule": "*/5 * * * *"}, code="def main(input):\n\treturn 1"
            ),
            key,
        ),
        seal(draft(owner, entity_type="policy", status="active", metadata={"on_demand": True}), key),
        seal(draft(owner, at="0001-01-01T00:00:00.000001Z"), key),
        seal(draft(owner, at="9999-12-31T23:59:59.999999Z"), key),
    ]
    second = seal(following(first, is_deleted=True), key)
    put(ledger, first, *others, second)
    return [first, *others, second]


def rows_of(ledger: TestLedger) -> list[dict[str, Any]]:
    """Every column of every span, in the ledger's order."""
    with ledger.connect("rdsadmin") as connection:
        return connection.execute(ALL).fetchall()


def proved(connection: Connection) -> int:
    """Recompute each hash from the stored columns, check signatures and chains; how many spans there are."""
    heads: dict[object, Span] = {}
    rows = connection.execute("SELECT * FROM ledger.universal_registry ORDER BY id, seq").fetchall()
    for row in rows:
        span = span_of(row)
        verify(span, None)
        before = heads.get(span.id)
        assert span.prev_hash == (before.curr_hash if before else None)
        heads[span.id] = span
    return len(rows)


def seeded(ledger: TestLedger) -> list[Any]:
    """What a seed of this release appends."""
    result = answer({"action": "seed"}, ledger.environment)
    assert result["ok"], result
    inserted: list[Any] = result["inserted"]
    return inserted


def rewrite_manifest(folder: Path, number: int, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a manifest in place, as somebody would who does not mind its hash."""
    path = folder / read_chain(folder)[number].manifest.name
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest, indent=2) + "\n")
