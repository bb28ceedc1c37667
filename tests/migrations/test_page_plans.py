"""A page of a timeline reads buffers by the page, not by the table: for big, tiny and dormant tenants."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ledger.connection import Connection
from ledger.database import Identity
from loglineos.local.postgres import Server
from tests.conftest import TestLedger
from tests.ledger.kit import ask, copied_database, insert, sealed, set_context

SPANS = 20_000
BATCH = 2_500  # each span takes a lock for the transaction
BUFFERS = 200

# One tenant that has ceased to write, one with nearly all, one with twenty; every third is an execution.
_FILL = """
INSERT INTO ledger.universal_registry
  (id, seq, entity_type, who, did, this, at, owner_id, tenant_id, visibility, metadata, curr_hash)
SELECT gen_random_uuid(), 0, CASE WHEN n / 3 %% 3 = 1 THEN 'execution' ELSE 'note' END, 'w', 'd', 't', now(),
       CASE WHEN n <= 400 THEN 'olga' WHEN n %% 1000 = 7 THEN 'tina'
            WHEN n %% 50 = 1 THEN 'bea' ELSE 'u' || n %% 40 END,
       CASE WHEN n <= 400 THEN 'dormant' WHEN n %% 1000 = 7 THEN 'tiny' ELSE 'big' END,
       CASE WHEN n %% 97 = 0 THEN 'public' WHEN n %% 3 = 0 THEN 'tenant' ELSE 'private' END,
       jsonb_build_object('filler', repeat(md5(n::text), 20)), encode(sha256(n::text::bytea), 'hex')
  FROM generate_series(%s::int, %s::int) n
"""
CALLERS = {
    "big, with much of one's own": Identity("bea", "big"),
    "big, with nothing of one's own": Identity("newcomer", "big"),
    "tiny": Identity("tina", "tiny"),
    "dormant": Identity("olga", "dormant"),
    "unknown": Identity("nobody", "nowhere"),
    "without a tenant": Identity("bea", None),
}
_END = "2147483647, '18446744073709551615', 9223372036854775807"
_START = "0, '0', 0"


@pytest.fixture(scope="module")
def crowded(cluster: Server) -> Iterator[TestLedger]:
    with copied_database(cluster) as ledger:
        with ledger.connect("postgres") as connection:
            for start in range(1, SPANS, BATCH):
                connection.execute(_FILL, [start, start + BATCH - 1])
            connection.execute("ANALYZE ledger.universal_registry")
        yield ledger


def buffers(connection: Connection, identity: Identity, call: str) -> tuple[int, int]:
    """Buffers and rows of a call, the second time in a session: catalogues are cached by then."""
    plan: dict[str, Any] = {}
    for _ in range(2):
        with connection.transaction():
            set_context(connection, identity)
            statement = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM {call}"
            plan = connection.execute(statement.encode()).fetchall()[0]["QUERY PLAN"][0]["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"], plan["Actual Rows"]


@pytest.mark.parametrize("kind", [None, "note", "execution", "none such"])
@pytest.mark.parametrize("forward", [False, True])
@pytest.mark.parametrize("caller", CALLERS)
def test_a_page_reads_a_bounded_number_of_buffers(
    crowded: TestLedger, caller: str, forward: bool, kind: str | None
) -> None:
    call = f"ledger.timeline({forward}, {_START if forward else _END}, 50{f', {kind!r}' if kind else ''})"
    with crowded.connect("lambda_exec") as connection:
        read, rows = buffers(connection, CALLERS[caller], call)
    assert rows == (0 if kind == "none such" else 50), "public spans alone fill a page"
    assert read < BUFFERS


@pytest.mark.parametrize("kind", [None, "note", "execution"])
@pytest.mark.parametrize("forward", [False, True])
@pytest.mark.parametrize("caller", CALLERS)
def test_a_page_in_the_middle_of_the_ledger_does_too(
    crowded: TestLedger, caller: str, forward: bool, kind: str | None
) -> None:
    middle = ask(crowded,
        "readonly", "SELECT era, xid::text, position FROM ledger.visible_timeline ORDER BY 1, 2, 3 OFFSET %s LIMIT 1",
        [SPANS // 2],
    )[0]  # fmt: skip
    place = f"{middle['era']}, '{middle['xid']}', {middle['position']}"
    call = f"ledger.timeline({forward}, {place}, 50{f', {kind!r}' if kind else ''})"
    with crowded.connect("lambda_exec") as connection:
        read, rows = buffers(connection, CALLERS[caller], call)
    assert rows == 50 if kind != "execution" else rows > 20
    assert read < BUFFERS


def test_a_follower_that_waits_for_an_old_transaction_reads_little(crowded: TestLedger) -> None:
    # Polls come again and again: what lies above the horizon must not be read each time.
    me = CALLERS["big, with much of one's own"]
    with (
        crowded.connect("lambda_exec") as slow,
        crowded.connect("lambda_exec") as follower,
        slow.transaction(force_rollback=True),
    ):
        set_context(slow, me)
        insert(slow, sealed(me))
        xid = slow.execute("SELECT pg_current_xact_id()::text AS xid").fetchall()[0]["xid"]
        ask(crowded, "postgres", _FILL, [SPANS + 1, SPANS + BATCH])
        call = f"ledger.timeline(true, 1, '{xid}', 0, 50)"
        read, rows = buffers(follower, me, call)
    assert rows == 0
    assert read < BUFFERS
