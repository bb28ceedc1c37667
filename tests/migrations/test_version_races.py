"""Several connections append at once: exactly one version wins, and no two batches wait in a circle."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import psycopg
import pytest

from ledger.append import append
from ledger.errors import VersionConflict
from ledger.span import Span
from tests.conftest import TestLedger
from tests.ledger.kit import ask, draft, following, insert, put, sealed, set_context, someone

WRITERS = 6
PATIENCE_S = 30.0


@pytest.mark.parametrize("seq", [0, 1])
def test_of_concurrent_versions_exactly_one_wins(shared: TestLedger, seq: int) -> None:
    owner = someone()
    first = sealed(owner)
    if seq == 1:
        put(shared, first)
    barrier = Barrier(WRITERS)

    def write(number: int) -> str:
        content = {"name": f"writer {number}"}
        rival = following(first, **content) if seq == 1 else draft(owner, id=first.id, **content)
        database = shared.database()
        database.connection()
        barrier.wait(PATIENCE_S)
        try:
            return "won" if append(database, owner, [rival], None)[0].inserted else "repeated"
        except VersionConflict as conflict:
            return "lost to another" if conflict.details["stored_hash"] != conflict.details["given_hash"] else "odd"
        finally:
            database.close()

    with ThreadPoolExecutor(WRITERS) as pool:
        outcomes = sorted(pool.map(write, range(WRITERS)))
    assert outcomes == ["lost to another"] * (WRITERS - 1) + ["won"]


def test_batches_that_share_ids_in_any_order_never_deadlock(shared: TestLedger) -> None:
    owner = someone()
    rounds = [[draft(owner) for _ in range(40)] for _ in range(8)]
    barrier = Barrier(WRITERS)

    def write(number: int) -> list[tuple[int, Span]]:
        order = random.Random(number)
        database = shared.database()
        inserted = []
        for round_number, batch in enumerate(rounds):
            barrier.wait(PATIENCE_S)
            shuffled = order.sample(batch, len(batch))
            done = append(database, owner, shuffled, None)
            assert [one.span.id for one in done] == [span.id for span in shuffled]
            inserted += [(round_number, one.span) for one in done if one.inserted]
        database.close()
        return inserted

    with ThreadPoolExecutor(WRITERS) as pool:
        inserted = [entry for entries in pool.map(write, range(WRITERS)) for entry in entries]
    assert len(inserted) == len({span.id for _, span in inserted}) == sum(map(len, rounds))


def test_a_lower_seq_cannot_slip_in_behind_an_open_transaction(shared: TestLedger) -> None:
    owner = someone()
    first = sealed(owner)
    put(shared, first)
    seventh, sixth = following(first, seq=7), following(first, seq=6)
    with shared.connect("lambda_exec") as early, shared.connect("lambda_exec") as late:
        with ThreadPoolExecutor(1) as pool, early.transaction():
            set_context(early, owner)
            insert(early, seventh)

            def write_sixth() -> str | None:
                with pytest.raises(psycopg.Error) as refusal, late.transaction():  # noqa: PT012 - one transaction
                    set_context(late, owner)
                    insert(late, sixth)
                return refusal.value.sqlstate

            pending = pool.submit(write_sixth)
            wait_until_blocked(shared, late.info.backend_pid)
            assert not pending.done()
        assert pending.result(PATIENCE_S) == "LL006"


def wait_until_blocked(ledger: TestLedger, pid: int) -> None:
    """Until the backend waits for a lock of another."""
    with ledger.connect("rdsadmin") as watcher:
        for _ in range(1000):
            if watcher.execute("SELECT cardinality(pg_blocking_pids(%s)) AS n", [pid]).fetchall()[0]["n"]:
                return
            watcher.execute("SELECT pg_sleep(0.01)")
    pytest.fail("nobody ever waited")


def test_a_rolled_back_version_leaves_its_place_to_another(shared: TestLedger) -> None:
    owner = someone()
    first = sealed(owner)
    put(shared, first)
    with shared.connect("lambda_exec") as connection:
        with connection.transaction(force_rollback=True):
            set_context(connection, owner)
            insert(connection, following(first, name="withdrawn"))
        with connection.transaction():
            set_context(connection, owner)
            insert(connection, following(first, name="kept"))
    rows = ask(shared, "readonly", "SELECT name FROM ledger.current_span WHERE id = %s", [first.id])
    assert rows == [{"name": "kept"}]
