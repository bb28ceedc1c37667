"""One connection for a process: re-made when it has died, and no context outlives its transaction."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from ledger import database as database_module
from ledger.append import append, append_within
from ledger.connection import Target
from ledger.database import Database, Identity
from ledger.errors import LedgerUnavailable, NotPermitted, QueryFailed
from ledger.read import newest_page
from tests.conftest import TestLedger
from tests.ledger.kit import draft, someone

_CONTEXT = "SELECT concat(current_setting('app.user_id', true), current_setting('app.tenant_id', true)) AS c"
_PID = "SELECT pg_backend_pid() AS pid"


@pytest.fixture
def database(shared: TestLedger) -> Iterator[Database]:
    database = shared.database()
    yield database
    database.close()


def pid_of(database: Database) -> int:
    pid: int = database.query(None, _PID)[0]["pid"]
    return pid


def sleep(database: Database, way: str) -> None:
    """A statement that is still running when its backend is ended."""
    if way == "query":
        database.query(None, "SELECT pg_sleep(20)")
    else:
        with database.transaction(someone()) as connection:
            connection.execute("SELECT pg_sleep(20)")


def terminate(ledger: TestLedger, pid: int) -> None:
    """End the backend, and wait until it is gone."""
    with ledger.connect("rdsadmin") as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


def test_it_is_one_connection_as_long_as_it_lives(database: Database) -> None:
    assert len({pid_of(database) for _ in range(3)}) == 1


@pytest.mark.parametrize("idle_check_s", [0.0, 30.0])
def test_a_connection_that_died_between_uses_is_made_anew(
    shared: TestLedger, database: Database, idle_check_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "IDLE_CHECK_S", idle_check_s)
    me = someone()
    first = pid_of(database)
    assert pid_of(database) == first
    terminate(shared, first)
    assert append(database, me, [draft(me)], None)[0].inserted
    second = pid_of(database)
    assert second != first
    terminate(shared, second)
    with database.transaction(me) as connection:
        connection.execute("SELECT 1")
    assert pid_of(database) not in (first, second)


@pytest.mark.parametrize("way", ["query", "transaction"])
def test_a_connection_that_dies_during_a_statement_is_reported_and_made_anew(
    shared: TestLedger, database: Database, way: str
) -> None:
    pid = pid_of(database)
    killer = threading.Timer(0.2, terminate, [shared, pid])
    killer.start()
    started = time.monotonic()
    with pytest.raises(LedgerUnavailable) as failure:
        sleep(database, way)
    killer.join()
    assert time.monotonic() - started < 10
    assert failure.value.message == "Ledger unavailable"
    assert failure.value.passing
    assert pid_of(database) != pid


def test_a_transaction_that_dies_leaves_nothing(shared: TestLedger, database: Database) -> None:
    me = someone()
    with pytest.raises(LedgerUnavailable), database.transaction(me) as connection:  # noqa: PT012 - one transaction
        append_within(connection, [draft(me)], None)
        terminate(shared, connection.info.backend_pid)
        connection.execute("SELECT 1")
    assert newest_page(database, me, entity_type="note").spans == []


@pytest.mark.parametrize("ending", ["well", "with an error of SQL", "with a refusal", "with an error of ours"])
@pytest.mark.parametrize("way", ["query", "transaction"])
def test_no_context_outlives_its_transaction_that_ended(database: Database, way: str, ending: str) -> None:
    me = someone()
    append(database, me, [draft(me)], None)
    pid = pid_of(database)
    statement = {
        "well": "SELECT 1",
        "with an error of SQL": "SELECT 1 / 0",
        "with a refusal": "UPDATE ledger.universal_registry SET name = 'x'",
        "with an error of ours": "SELECT 1",
    }[ending]
    try:
        if way == "query":
            database.query(me, statement)
        else:
            with database.transaction(me) as connection:
                assert connection.execute(_CONTEXT).fetchall()[0]["c"] == f"{me.user_id}{me.tenant_id}"
                connection.execute(statement.encode())
                if ending == "with an error of ours":
                    raise RuntimeError
    except (QueryFailed, NotPermitted, RuntimeError):
        assert ending != "well"
    assert database.query(None, _CONTEXT) == [{"c": ""}]
    assert {span.visibility for span in newest_page(database, Identity("", None), limit=1000).spans} == {"public"}
    assert newest_page(database, someone(), entity_type="note").spans == []
    assert pid_of(database) == pid, "the connection itself is still good"


def test_identities_alternate_on_one_connection_without_mixing(database: Database) -> None:
    people = [someone(name) for name in ("ann", "ben", "cid")]
    for turn in range(9):
        person = people[turn % 3]
        append(database, person, [draft(person)], None)
        assert database.query(None, _CONTEXT) == [{"c": ""}]
        with pytest.raises(NotPermitted):
            append(database, people[(turn + 1) % 3], [draft(person)], None)
        assert database.query(None, _CONTEXT) == [{"c": ""}]
    for person in people:
        spans = newest_page(database, person, entity_type="note").spans
        assert [span.owner_id for span in spans] == [person.user_id] * 3


def test_a_statement_that_nobody_waits_for_is_ended(shared: TestLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "STATEMENT_TIMEOUT_S", 1)
    database = shared.database()
    with pytest.raises(QueryFailed) as failure:
        database.query(None, "SELECT pg_sleep(20)")
    assert failure.value.details == {"sqlstate": "57014"}
    database.close()


@pytest.fixture
def closed_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def test_an_unreachable_database_is_tried_until_the_deadline(closed_port: int) -> None:
    database = Database(Target(role=None, url=f"postgresql://u:hidden-word@127.0.0.1:{closed_port}/x"))
    started = time.monotonic()
    with pytest.raises(LedgerUnavailable) as failure:
        database.wait_until_reachable(started + 0.7)
    assert 0.3 < time.monotonic() - started < 3
    assert failure.value.passing
    assert "hidden-word" not in f"{failure.value} {failure.value.reason} {failure.value.details}"


@pytest.mark.parametrize("fault", ["password", "role", "database"])
def test_a_refused_sign_in_is_not_tried_again(shared: TestLedger, fault: str) -> None:
    server = shared.server
    user, password, name = {
        "password": ("lambda_exec", "wrong-word", shared.name),
        "role": ("no_such_role", "wrong-word", shared.name),
        "database": ("", "", "no_such_database"),
    }[fault]
    url = f"postgresql://{user}:{password}@{server.host}:{server.port}/{name}"
    if fault == "database":
        url = server.url("lambda_exec", name)
    database = Database(Target(role=None, url=url))
    started = time.monotonic()
    with pytest.raises(LedgerUnavailable) as failure:
        database.wait_until_reachable(started + 30)
    assert time.monotonic() - started < 5
    assert not failure.value.passing
    assert "wrong-word" not in failure.value.reason


def test_a_closed_database_opens_again_on_use(database: Database) -> None:
    first = pid_of(database)
    database.close()
    database.close()
    assert pid_of(database) != first
