"""What the ledger, its log and its files do not agree on is not archived, and the refusal says where it begins."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, LiteralString

import pytest

from db_migration.handler import answer
from ledger.proof import seal
from tests.archive.kit import JANUARY, ORIGIN, Archived
from tests.conftest import TestLedger
from tests.ledger.kit import draft, someone
from tlog.tiles import tile_path


@pytest.fixture
def archived(ledger: TestLedger, tmp_path: Path) -> Archived:
    return Archived(ledger, tmp_path)


def tamper(archived: Archived, statement: LiteralString, *parameters: Any) -> None:
    """As a superuser who switches the triggers off, for good: nothing is appended any more."""
    with archived.ledger.connect("rdsadmin") as connection, connection.transaction():
        connection.execute("ALTER TABLE ledger.universal_registry DISABLE TRIGGER USER")
        connection.execute(statement, parameters)


def refusal(archived: Archived, **event: Any) -> str:
    result = archived.run(**event)
    assert result["ok"] is False, result
    assert archived.files() == []
    assert archived.spans() == []
    return f"{result['error']['code']}: {result['error']['message']}"


def test_an_edited_span_is_named(archived: Archived) -> None:
    span = draft(someone(), code="a")
    archived.append(span)
    archived.seal(JANUARY)
    tamper(archived, "UPDATE ledger.universal_registry SET code = 'b' WHERE id = %s", span.id)
    said = f"archive_refused: span {span.id} seq 0, in the ledger: its columns do not match its hash"
    assert refusal(archived).startswith(said)


def test_a_span_replaced_together_with_its_hash_is_named_by_its_number_in_the_log(archived: Archived) -> None:
    span = draft(someone(), code="a")
    archived.append(span)
    size = archived.seal(JANUARY).size
    other = seal(span.with_values(code="b"), None)
    statement: LiteralString = "UPDATE ledger.universal_registry SET code = 'b', curr_hash = %s WHERE id = %s"
    tamper(archived, statement, other.curr_hash, span.id)
    assert refusal(archived).startswith(f"archive_refused: span number {size - 1} is not what the log has sealed there")


def test_a_span_that_went_missing(archived: Archived) -> None:
    writer = someone()
    first, last = draft(writer), draft(writer)
    archived.append(first)
    archived.append(last)
    size = archived.seal(JANUARY).size
    tamper(archived, "DELETE FROM ledger.universal_registry WHERE id = %s", last.id)
    assert f"the ledger has {size - 1} spans where the checkpoint of size {size} has sealed more" in refusal(archived)
    tamper(archived, "DELETE FROM ledger.universal_registry WHERE id = %s", first.id)
    assert "has sealed more, or others" in refusal(archived)


def test_a_checkpoint_that_somebody_else_signed(archived: Archived) -> None:
    archived.seal(JANUARY)
    archived_elsewhere = {**archived.environment, "CHECKPOINT_KEY_HEX": "11" * 32}
    result = answer({"action": "archive", "older_than_days": 0}, archived_elsewhere)
    assert result["error"]["code"] == "archive_refused"
    assert "is not a trusted one" in result["error"]["message"]
    assert "list it in CHECKPOINT_KEYS_BEFORE" in result["error"]["message"]


def test_a_log_without_its_entries(archived: Archived) -> None:
    size = archived.seal(JANUARY).size
    (archived.folder / "log" / tile_path("entries", 0, size)).unlink()
    assert refusal(archived).startswith("log_damaged: tile/entries/000")


@pytest.mark.parametrize("name", ["CHECKPOINT_KEY_HEX", "ARCHIVE_LOCATION", "LOG_ORIGIN"])
def test_a_setting_that_is_missing_is_named(archived: Archived, name: str) -> None:
    result = answer({"action": "archive"}, {**archived.environment, name: ""})
    assert result["error"]["code"] == "misconfigured"
    assert ("loglineos-db-deploy" if name == "CHECKPOINT_KEY_HEX" else name) in result["error"]["message"]


WITHOUT_PYARROW = """
import os, sys
from db_migration.handler import answer
assert "pyarrow" not in sys.modules
sys.modules["pyarrow"] = None
print(answer({"action": "archive"}, os.environ)["error"]["message"])
"""


def test_without_pyarrow_the_function_that_has_it_is_named() -> None:
    """And nothing else imports it: a start of db-migration does not wait for it."""
    command = [sys.executable, "-c", WITHOUT_PYARROW]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LOG_ORIGIN": ORIGIN})
    assert "no pyarrow, which writes the archive: invoke loglineos-db-deploy" in done.stdout, done.stderr
