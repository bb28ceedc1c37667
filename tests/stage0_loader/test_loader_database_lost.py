"""503, and what the loader does about a database that is away, silent, or hangs up."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from tests.stage0_loader.proxy import Proxy, closed_port, dumb_port, proxied, through
from tests.stage0_loader.stage import NOTHING, Answer, Stage

PID = "def main(ctx):\n    return ctx.ledger.query('SELECT pg_backend_pid() AS pid')[0]['pid']"


def require_unavailable(answer: Answer) -> None:
    """503 in the manual's words; hosts and reasons are in the log only."""
    assert answer.status == 503
    assert answer.error == {"code": "ledger_unavailable", "message": "Ledger unavailable"}
    assert "127.0.0.1" not in answer.raw
    assert [line["message"] for line in answer.errors] == ["ERROR ledger unavailable"]
    assert answer.errors[0]["trace_id"] == answer.trace_id


@pytest.mark.parametrize("action", ["boot", "timeline", "append", "health"])
def test_a_closed_port_is_503_after_trying_until_the_deadline(stage: Stage, action: str) -> None:
    extra: dict[str, dict[str, Any]] = {
        "boot": {"boot_function_id": "00000000-0000-4000-8000-000000000007"},
        "append": {"span": {"entity_type": "note", "did": "d", "this": "t"}},
    }
    loader = stage.new_loader(DATABASE_URL=through(stage.environment["DATABASE_URL"], closed_port()))
    answer = stage.send({"action": action, **extra.get(action, {})}, remaining_ms=2_400, loader=loader)
    require_unavailable(answer)
    assert 0.15 < answer.seconds < 1.5


def test_a_database_that_never_answers_is_503_before_lambda_ends_the_loader(stage: Stage) -> None:
    with dumb_port() as port:
        loader = stage.new_loader(DATABASE_URL=through(stage.environment["DATABASE_URL"], port))
        answer = stage.send({"action": "health"}, remaining_ms=3_000, loader=loader)
    require_unavailable(answer)
    assert answer.seconds < 3.0


def test_a_database_that_comes_back_within_the_deadline_is_waited_for(stage: Stage) -> None:
    port = closed_port()
    url = stage.environment["DATABASE_URL"]
    loader = stage.new_loader(DATABASE_URL=through(url, port))
    proxies: list[Proxy] = []
    timer = threading.Timer(0.5, lambda: proxies.append(Proxy(url, port)))
    timer.start()
    answer = stage.boot(stage.publish(NOTHING), remaining_ms=8_000, loader=loader)
    timer.join()
    loader.database.close()
    proxies[0].cut()
    assert answer.output == {"done": True}
    assert answer.seconds < 3


def test_after_503_the_same_loader_works_once_the_database_is_back(stage: Stage) -> None:
    kernel, port = stage.publish(NOTHING), closed_port()
    loader = stage.new_loader(DATABASE_URL=through(stage.environment["DATABASE_URL"], port))
    assert stage.boot(kernel, remaining_ms=2_100, loader=loader).status == 503
    with proxied(stage.environment["DATABASE_URL"], port):
        assert stage.boot(kernel, loader=loader).output == {"done": True}
    assert stage.boot(kernel, remaining_ms=2_100, loader=loader).status == 503


@pytest.mark.parametrize("change", ["password", "user", "database"])
def test_a_refused_sign_in_is_503_at_once_and_names_no_password(stage: Stage, change: str) -> None:
    url = stage.environment["DATABASE_URL"]
    login, _, place = url.removeprefix("postgresql://").rpartition("@")
    password = login.partition(":")[2]
    wrong = {
        "password": f"postgresql://lambda_exec:wr0ng-pass@{place}",
        "user": f"postgresql://nobody:{password}@{place}",
        "database": url.rpartition("/")[0] + "/no_such_database",
    }[change]
    answer = stage.send({"action": "health"}, remaining_ms=12_000, loader=stage.new_loader(DATABASE_URL=wrong))
    require_unavailable(answer)
    assert answer.seconds < 2
    assert password not in answer.raw + answer.log
    assert "wr0ng-pass" not in answer.raw + answer.log


def test_a_warm_loader_keeps_its_one_connection(stage: Stage) -> None:
    kernel = stage.publish(PID)
    assert len({stage.boot(kernel).output for _ in range(3)}) == 1
    name = stage.ledger.name
    found = stage.superuser.execute(
        "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = %s AND usename = 'lambda_exec'", [name]
    ).fetchall()
    assert found[0]["n"] == 1


def test_a_connection_that_died_between_two_boots_is_replaced(stage: Stage) -> None:
    kernel = stage.publish(PID)
    first = stage.boot(kernel).output
    stage.superuser.execute("SELECT pg_terminate_backend(%s, 1000)", [first])
    second = stage.boot(kernel)
    assert second.output != first
    assert second.errors == []


def test_a_connection_that_dies_under_the_kernel_leaves_both_spans(stage: Stage, tenant: str) -> None:
    kernel = stage.publish("def main(ctx):\n    ctx.ledger.query('SELECT pg_terminate_backend(pg_backend_pid())')")
    answer = stage.boot(kernel, {"a": 1}, tenant=tenant)
    require_unavailable(answer)
    event, execution = stage.spans(trace_id=answer.trace_id)
    assert (event.status, execution.status, execution.parent_id) == ("started", "error", event.id)
    assert stage.boot(stage.publish(NOTHING), tenant=tenant).status == 200


def test_a_kernel_that_survives_a_dead_connection_succeeds(stage: Stage, tenant: str) -> None:
    source = (
        "def main(ctx):\n    try:\n        ctx.ledger.query('SELECT pg_terminate_backend(pg_backend_pid())')\n"
        "    except Exception:\n        pass\n    return ctx.ledger.query('SELECT 1 AS one')"
    )
    answer = stage.boot(stage.publish(source), tenant=tenant)
    assert answer.output == [{"one": 1}]
    assert len(stage.spans(trace_id=answer.trace_id)) == 2


def test_a_network_that_fails_under_the_kernel_leaves_the_execution_once_it_is_back(stage: Stage, tenant: str) -> None:
    kernel = stage.publish("import time\ndef main(ctx):\n    time.sleep(0.4)\n    return 'went on'")
    with proxied(stage.environment["DATABASE_URL"]) as proxy:
        loader = stage.new_loader(DATABASE_URL=proxy.url)
        url, port = stage.environment["DATABASE_URL"], proxy.port
        later: list[Proxy] = []
        cut = threading.Timer(0.2, proxy.cut)
        mend = threading.Timer(0.9, lambda: later.append(Proxy(url, port)))
        assert stage.send({"action": "health"}, loader=loader).status == 200
        cut.start()
        mend.start()
        answer = stage.boot(kernel, tenant=tenant, remaining_ms=10_000, loader=loader)
        mend.join()
        time.sleep(0.05)
        loader.database.close()
        later[0].cut()
    executions = stage.spans(tenant_id=tenant, entity_type="execution")
    assert [span.output for span in executions] == ["went on"], answer.raw


def test_a_boot_takes_three_round_trips(stage: Stage) -> None:
    kernel = stage.publish(NOTHING)
    with proxied(stage.environment["DATABASE_URL"]) as proxy:
        loader = stage.new_loader(DATABASE_URL=proxy.url)
        for _ in range(7):  # psycopg prepares what it sees often
            stage.boot(kernel, loader=loader)
        before = proxy.round_trips
        assert stage.boot(kernel, loader=loader).status == 200
        assert proxy.round_trips - before == 3
        before = proxy.round_trips
        assert stage.send({"action": "timeline"}, loader=loader).status == 200
        assert proxy.round_trips - before == 1
        loader.database.close()
