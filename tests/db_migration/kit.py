"""A folder of rows that a test writes, and the answer of the function that seeds from it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest

from db_migration import handler as handler_module
from db_migration.handler import answer
from tests.conftest import TestLedger


def row(number: int, seq: int = 1, **values: Any) -> dict[str, Any]:
    """A row of `row/`."""
    return {
        "id": str(UUID(f"00000000-0000-4000-8000-{number:012}")),
        "seq": seq,
        "entity_type": "prompt",
        "who": "system",
        "did": "released",
        "this": f"row {number}",
        "at": "2026-01-01T00:00:00Z",
        "name": f"row {number}",
        **values,
    }


def lines(rows: Iterable[Any]) -> bytes:
    return b"\n".join(one if isinstance(one, bytes) else orjson.dumps(one) for one in rows) + b"\n"


class Rows:
    """The folder that stands in for `row/`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, *rows: Any, file: str = "rows.ndjson") -> None:
        """Replace a file of rows."""
        path = self.directory / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(lines(rows))

    def seed(self, ledger: TestLedger, **settings: str) -> dict[str, Any]:
        """What db-migration answers."""
        return answer({"action": "seed"}, ledger.environment | settings)


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rows:
    """An empty folder from which the function seeds."""
    monkeypatch.setattr(handler_module, "asset_directory", lambda name: tmp_path if name == "row" else Path(name))
    return Rows(tmp_path)


def seqs(found: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """The last digits of the id, and the seq, of each span of a report."""
    return [(one["id"][-3:], one["seq"]) for one in found]
