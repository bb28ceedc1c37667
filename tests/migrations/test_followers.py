"""A reader that follows the ledger misses nothing and repeats nothing, whatever the order of commits."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from uuid import UUID

import pytest

from ledger.append import append_within
from ledger.connection import Connection
from ledger.database import Database, Identity
from ledger.errors import InvalidInput
from ledger.read import BEGINNING, END, Cursor, newest_page, next_page
from ledger.span import Span
from tests.conftest import TestLedger
from tests.ledger.kit import ask, draft, insert, put, sealed, set_context, someone

WRITERS = 4
WRITING_S = 1.2
CATCH_UP_S = 10.0


@pytest.fixture
def reader(shared: TestLedger) -> Iterator[Database]:
    database = shared.database()
    yield database
    database.close()


def follow(database: Database, identity: Identity, after: Cursor, limit: int = 50) -> tuple[list[UUID], Cursor]:
    """Everything from the cursor on that can be read now, page by page."""
    found: list[UUID] = []
    while True:
        page = next_page(database, identity, after=after, limit=limit, entity_type="note")
        if not page.spans:
            return found, after
        found += [span.id for span in page.spans]
        after = page.cursor


class Rollback(Exception):
    """Takes a writer's transaction back."""


def test_a_follower_misses_and_repeats_nothing_while_several_write(shared: TestLedger) -> None:
    tenant = someone()
    stop = Event()

    def write(number: int) -> set[UUID]:
        """Transactions of one to three spans that stay open for up to 40 ms; one in five is rolled back."""
        choice = random.Random(number)
        me = Identity(f"writer {number}", tenant.tenant_id)
        database = shared.database()
        committed: set[UUID] = set()
        while not stop.is_set():
            spans: list[Span] = []
            try:
                with database.transaction(me) as connection:
                    for _ in range(choice.randint(1, 3)):
                        new = [draft(me, visibility="tenant") for _ in range(choice.randint(1, 2))]
                        append_within(connection, new, None)
                        spans += new
                        time.sleep(choice.random() * 0.02)
                    if choice.random() < 0.2:
                        raise Rollback
            except Rollback:
                continue
            committed |= {span.id for span in spans}
        database.close()
        return committed

    def read(limit: int, expected: list[set[UUID]]) -> list[UUID]:
        """Follow until all that was committed has been read, or time is up."""
        database = shared.database()
        seen: list[UUID] = []
        after, deadline = BEGINNING, time.monotonic() + WRITING_S + CATCH_UP_S
        while time.monotonic() < deadline and not (expected and len(seen) >= len(expected[0])):
            more, after = follow(database, tenant, after, limit)
            seen += more
            time.sleep(0.002)
        database.close()
        return seen

    committed: list[set[UUID]] = []
    with ThreadPoolExecutor(WRITERS + 2) as pool:
        readers = [pool.submit(read, limit, committed) for limit in (3, 50)]
        writers = [pool.submit(write, number) for number in range(WRITERS)]
        time.sleep(WRITING_S)
        stop.set()
        committed.append(set().union(*(writer.result() for writer in writers)))
    assert len(committed[0]) > 100
    for result in readers:
        assert len(result.result()) == len(set(result.result())), "a span came twice"
        assert set(result.result()) == committed[0]


def write_in(connection: Connection, identity: Identity) -> UUID:
    span = sealed(identity)
    set_context(connection, identity)
    insert(connection, span)
    return span.id


def test_nothing_is_read_above_a_transaction_that_is_still_open(shared: TestLedger, reader: Database) -> None:
    me = someone()
    with shared.connect("lambda_exec") as slow, shared.connect("lambda_exec") as quick:
        with slow.transaction():
            first = write_in(slow, me)
            with quick.transaction():
                second = write_in(quick, me)
            assert follow(reader, me, BEGINNING) == ([], BEGINNING)
            assert [span.id for span in newest_page(reader, me).spans][:1] == [second], "people see it at once"
            third = write_in(slow, me)
        found, _ = follow(reader, me, BEGINNING)
    assert found == [first, third, second], "the order is that of transactions, not of positions"


def test_a_transaction_that_only_reads_holds_nobody_up(shared: TestLedger, reader: Database) -> None:
    me = someone()
    with shared.connect("lambda_exec") as idle, idle.transaction():
        idle.execute("SELECT count(*) FROM ledger.visible_timeline")
        span = sealed(me)
        put(shared, span)
        assert follow(reader, me, BEGINNING)[0] == [span.id]


def test_pages_back_and_on_visit_the_same_spans_in_opposite_order(shared: TestLedger, reader: Database) -> None:
    me = someone()
    put(shared, *(sealed(me) for _ in range(23)))
    onwards, _ = follow(reader, me, BEGINNING, limit=5)
    back: list[UUID] = []
    cursor = END
    while spans := (page := newest_page(reader, me, before=cursor, limit=5, entity_type="note")).spans:
        back += [span.id for span in spans]
        cursor = Cursor.parse(str(page.cursor))
    assert len(back) == 23
    assert back == onwards[::-1]


def test_an_earlier_era_is_wholly_visible_and_comes_first(ledger: TestLedger) -> None:
    me = someone()
    database = ledger.database()
    early, restored, new = (sealed(me, name=name) for name in ("early", "restored", "new"))
    put(ledger, early)
    # A row as a restore brings it: its transaction id is far above all of this cluster.
    with ledger.connect("rdsadmin") as connection:
        connection.execute("ALTER TABLE ledger.universal_registry DISABLE TRIGGER ur_guard_insert")
        insert(connection, restored, era=1, xid=str(2**40), position=10**6)
        connection.execute("ALTER TABLE ledger.universal_registry ENABLE ALWAYS TRIGGER ur_guard_insert")
    assert follow(database, me, BEGINNING)[0] == [early.id], "in the current era it lies above the horizon"
    ask(ledger, "postgres", "INSERT INTO ledger_idx.era (era, reason) VALUES (2, 'a restore')")
    put(ledger, new)
    found, cursor = follow(database, me, BEGINNING, limit=1)
    assert found == [early.id, restored.id, new.id]
    assert cursor.era == 2
    assert [span.id for span in newest_page(database, me, entity_type="note").spans] == found[::-1]
    restored_place = Cursor(1, 2**40, 10**6)
    assert follow(database, me, restored_place)[0] == [new.id]
    assert [s.id for s in newest_page(database, me, before=restored_place, entity_type="note").spans] == [early.id]
    database.close()


@pytest.mark.parametrize("text", ["", "x", "MS4y", "LTEuMi4z", "MS4yLjM_IQ", "é", "MS4yLjMuNA", "9" * 400])
def test_a_made_up_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="an earlier page gave"):
        Cursor.parse(text)


@pytest.mark.parametrize("cursor", [BEGINNING, END, Cursor(1, 2**63, 5)])
def test_a_cursor_survives_as_text_and_reaches_the_database(
    shared: TestLedger, reader: Database, cursor: Cursor
) -> None:
    assert Cursor.parse(str(cursor)) == cursor
    assert next_page(reader, someone(), after=cursor, limit=1, entity_type="none such").cursor == cursor


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_page_has_a_sensible_size(reader: Database, limit: int) -> None:
    with pytest.raises(InvalidInput, match="from 1 to 1000"):
        newest_page(reader, someone(), limit=limit)
