"""504: kernels that do not end in time are stopped, whatever they do, and the loader goes on."""

from __future__ import annotations

import time

import pytest

from tests.stage0_loader.stage import NOTHING, Stage

STUCK: dict[str, str] = {
    "asleep": "import time\ndef main(ctx):\n    time.sleep(60)",
    "busy": "def main(ctx):\n    while True:\n        pass",
    "busy in C": "def main(ctx):\n    while True:\n        sum(range(200_000))",
    "in a query": "def main(ctx):\n    ctx.ledger.query('SELECT pg_sleep(60)')",
    "catching exceptions": (
        "import time\ndef main(ctx):\n    while True:\n        try:\n            time.sleep(60)\n"
        "        except Exception:\n            pass"
    ),
    "catching even the first stop": (
        "import time\ndef main(ctx):\n    try:\n        time.sleep(60)\n"
        "    except BaseException:\n        pass\n    time.sleep(60)"
    ),
    "in a transaction": (
        "def main(ctx):\n    with ctx.ledger.database.transaction(ctx.ledger.identity) as connection:\n"
        "        connection.execute('SELECT pg_sleep(60)')"
    ),
    "while it loads": "import time\ntime.sleep(60)\ndef main(ctx):\n    return 1",
    "in a thread of its own": (
        "import threading, time\ndef main(ctx):\n"
        "    other = threading.Thread(target=time.sleep, args=(2,), daemon=True)\n    other.start()\n    other.join(60)"
    ),
}


@pytest.mark.parametrize("source", STUCK.values(), ids=STUCK)
def test_a_kernel_is_stopped_at_its_deadline_and_the_next_boot_works(stage: Stage, tenant: str, source: str) -> None:
    answer = stage.boot(stage.publish(source), tenant=tenant, remaining_ms=2_300)
    assert answer.status == 504
    limit = answer.error["deadline_ms"]
    assert 200 <= limit <= 300
    assert answer.error == {"code": "timeout", "message": f"Kernel timed out after {limit} ms", "deadline_ms": limit}
    assert answer.seconds < 2.0
    event, execution = stage.spans(trace_id=answer.trace_id)
    assert (event.status, execution.status, execution.parent_id) == ("started", "timeout", event.id)
    assert execution.error == answer.error
    assert limit - 50 <= (execution.duration_ms or 0) < 1_500
    assert [line["code"] for line in answer.errors] == ["timeout"]
    assert stage.boot(stage.publish(NOTHING), tenant=tenant).output == {"done": True}


def test_the_database_stops_a_query_whose_kernel_was_stopped(stage: Stage, tenant: str) -> None:
    kernel = stage.publish("def main(ctx):\n    ctx.ledger.query('SELECT pg_sleep(61)')")
    assert stage.boot(kernel, tenant=tenant, remaining_ms=2_200).status == 504
    running = "SELECT count(*) AS n FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep(61)%'"
    for _ in range(20):
        if stage.superuser.execute(running.encode()).fetchall()[0]["n"] == 0:
            return
        time.sleep(0.05)
    pytest.fail("the statement goes on in the database, and so does its connection")


def test_what_a_stopped_kernel_had_appended_stays_and_its_open_transaction_does_not(stage: Stage, tenant: str) -> None:
    source = (
        "import time\ndef main(ctx):\n"
        "    ctx.ledger.append(entity_type='note', who='w', did='d', this='kept')\n"
        "    with ctx.ledger.database.transaction(ctx.ledger.identity) as connection:\n"
        "        from ledger.append import append_within\n        from ledger.span import parse_span\n"
        "        draft = ctx.ledger._complete({'entity_type': 'note', 'who': 'w', 'did': 'd', 'this': 'lost'})\n"
        "        append_within(connection, [parse_span(draft)], None)\n        time.sleep(60)\n"
    )
    assert stage.boot(stage.publish(source), tenant=tenant, remaining_ms=2_300).status == 504
    assert [span.this for span in stage.spans(tenant_id=tenant, entity_type="note")] == ["kept"]


def test_a_kernel_sees_how_much_time_it_has(stage: Stage) -> None:
    kernel = stage.publish("def main(ctx):\n    return ctx.deadline.left_s()")
    assert 7.5 < stage.boot(kernel, remaining_ms=10_000).output <= 8.0
    assert stage.boot(kernel).output > 20


def test_a_kernel_just_in_time_is_not_stopped_afterwards(stage: Stage) -> None:
    kernel = stage.publish("import time\ndef main(ctx):\n    time.sleep(0.1)\n    return 1")
    assert stage.boot(kernel, remaining_ms=2_400).output == 1
    time.sleep(0.4)  # the alarm of that boot would strike here
    assert stage.boot(kernel, remaining_ms=2_400).output == 1


def test_with_no_time_left_a_boot_answers_still(stage: Stage, tenant: str) -> None:
    answer = stage.boot(
        stage.publish("import time\ndef main(ctx):\n    time.sleep(9)"), tenant=tenant, remaining_ms=900
    )
    assert (answer.status, answer.error["message"]) == (504, "Kernel timed out after 1 ms")
    assert answer.seconds < 0.9
