"""visible_timeline and current_span: what is deleted is hidden, and the outdated never passes for the latest."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.database import Identity
from ledger.read import latest, versions
from ledger.span import Span
from tests.conftest import TestLedger
from tests.ledger.kit import ask, following, put, sealed, someone

SEEN = {"timeline": "ledger.visible_timeline", "current": "ledger.current_span"}


def seqs(ledger: TestLedger, view: str, span: Span, identity: Identity, role: str = "lambda_exec") -> list[int]:
    statement = f"SELECT seq FROM {SEEN[view]} WHERE id = %s ORDER BY seq"
    return [row["seq"] for row in ask(ledger, role, statement, [span.id], identity)]


def history(owner: Identity, *steps: dict[str, Any]) -> list[Span]:
    """Versions 0, 1, 2, … with these columns."""
    spans = [sealed(owner, **steps[0])]
    for step in steps[1:]:
        spans.append(following(spans[-1], **step))
    return spans


TENANT, PRIVATE, GONE = {"visibility": "tenant"}, {"visibility": "private"}, {"is_deleted": True}
BACK = {"is_deleted": False}
# Versions; then the seqs that owner and colleague see in visible_timeline and in current_span.
HISTORIES: dict[str, tuple[list[dict[str, Any]], list[int], list[int], list[int], list[int]]] = {
    "one version": ([TENANT], [0], [0], [0], [0]),
    "three versions": ([TENANT, {}, {}], [0, 1, 2], [2], [0, 1, 2], [2]),
    "a tombstone": ([TENANT, GONE], [0], [], [0], []),
    "a tombstone and a return": ([TENANT, GONE, BACK], [0, 2], [2], [0, 2], [2]),
    "narrowed": ([TENANT, PRIVATE], [0, 1], [1], [0], []),
    "widened": ([PRIVATE, TENANT], [0, 1], [1], [1], [1]),
    "narrowed and widened again": ([TENANT, PRIVATE, TENANT], [0, 1, 2], [2], [0, 2], [2]),
    "a private tombstone": ([TENANT, {**GONE, **PRIVATE}], [0], [], [0], []),
    "private all along": ([PRIVATE, {}], [0, 1], [1], [], []),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_owner_and_colleague_see_of_a_history(shared: TestLedger, name: str) -> None:
    steps, *expected = HISTORIES[name]
    owner = someone()
    colleague = Identity("bob", owner.tenant_id)
    spans = history(owner, *steps)
    put(shared, *spans)
    assert [
        seqs(shared, view, spans[0], identity) for identity in (owner, colleague) for view in ("timeline", "current")
    ] == expected


@pytest.mark.parametrize("name", HISTORIES)
def test_the_library_shows_a_latest_version_only_to_whom_it_is_visible(shared: TestLedger, name: str) -> None:
    steps, *_ = HISTORIES[name]
    owner = someone()
    spans = history(owner, *steps)
    put(shared, *spans)
    database = shared.database()
    newest = spans[-1]
    for identity in (owner, Identity("bob", owner.tenant_id)):
        visible = identity == owner or newest.visibility == "tenant"
        found = latest(database, identity, [newest.id])
        assert {span.seq for span in found.values()} == ({newest.seq} if visible else set())
        allowed = [s.seq for s in spans if identity == owner or s.visibility == "tenant"]
        assert [span.seq for span in versions(database, identity, newest.id)] == allowed
    database.close()


def test_when_is_at(shared: TestLedger) -> None:
    owner = someone()
    span = sealed(owner)
    put(shared, span)
    for view in SEEN.values():
        rows = ask(shared, "lambda_exec", f'SELECT "when", at FROM {view} WHERE id = %s', [span.id], owner)
        assert rows == [{"when": span.at, "at": span.at}]


def test_the_views_have_every_column_of_the_table_and_when(shared: TestLedger) -> None:
    def columns(name: str) -> set[str]:
        rows = ask(
            shared,
            "readonly",
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
            [name],
        )
        return {row["attname"] for row in rows}

    table = columns("ledger.universal_registry")
    assert columns(SEEN["timeline"]) == columns(SEEN["current"]) == table | {"when"}


def test_reports_see_the_latest_versions_of_all_tenants(shared: TestLedger) -> None:
    owner = someone()
    spans = history(owner, PRIVATE, {})
    put(shared, *spans)
    assert seqs(shared, "current", spans[0], Identity("", None), role="readonly") == [1]
