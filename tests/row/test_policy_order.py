"""Each span is shown to a policy exactly once, whatever the order of commits and however many agents there are."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from uuid import UUID

import pytest

from ledger.append import append_within
from ledger.database import Identity
from ledger.ids import derived_id, new_id
from ledger.span import parse_span
from tests.row.policy_kit import AGENT, COUNT, add_policy, note, run_agent, seen_by, system_policy
from tests.row.policy_process import boot_repeatedly
from tests.stage0_loader.stage import Stage

WRITERS, EACH, AGENTS = 8, 625, 2
EVENT = {
    "action": "boot",
    "boot_function_id": str(AGENT),
    "input": {},
    "user_id": "edge:stage0",
    "tenant_id": "system",
}


class Rollback(Exception):
    """Takes a writer's transaction back."""


def write(stage: Stage, number: int) -> list[UUID]:
    """625 notes in transactions of 1 to 12 that stay open for up to 60 ms; one in eight is rolled back."""
    choice = random.Random(number)
    me = Identity("alice", "acme") if number % 2 else Identity(f"user {number}", f"tenant {number}")
    database = stage.ledger.database()
    committed: list[UUID] = []
    try:
        while len(committed) < EACH:
            count = min(choice.randint(1, 12), EACH - len(committed))
            ids = [new_id() for _ in range(count)]
            values = {"entity_type": "note", "who": "w", "did": "d", "this": "t", "at": "2026-11-23T00:00:00Z"}
            owner = {"owner_id": me.user_id, "tenant_id": me.tenant_id}
            spans = [parse_span({"id": span_id, **values, **owner}) for span_id in ids]
            try:
                with database.transaction(me) as connection:
                    append_within(connection, spans[: count // 2], None)
                    time.sleep(choice.choice([0, 0.001, 0.01, 0.06]))
                    append_within(connection, spans[count // 2 :], None)
                    if choice.random() < 0.125:
                        raise Rollback
            except Rollback:
                continue
            committed += ids
    finally:
        database.close()
    return committed


def test_eight_writers_two_agents_five_thousand_spans_each_once(own: Stage) -> None:
    """And a third agent, which is killed and started again all the time."""
    system, mine = system_policy(0, COUNT), add_policy(own, COUNT)
    own.seed(system)
    processes = multiprocessing.get_context("forkserver")
    stop = processes.Event()
    agents = [processes.Process(target=boot_repeatedly, args=(own.environment, EVENT, stop)) for _ in range(AGENTS)]
    for agent in agents:
        agent.start()
    killed: list[int | None] = []

    def kill_again_and_again() -> None:
        choice = random.Random(0)
        while not stop.is_set():
            victim = processes.Process(target=boot_repeatedly, args=(own.environment, EVENT, stop))
            victim.start()
            stop.wait(choice.uniform(1, 4))
            victim.kill()
            victim.join(10)
            killed.append(victim.exitcode)

    killer = Thread(target=kill_again_and_again)
    killer.start()
    with ThreadPoolExecutor(WRITERS) as pool:
        written = list(pool.map(lambda number: write(own, number), range(WRITERS)))
    everything = {span_id for ids in written for span_id in ids}
    alices = {span_id for number, ids in enumerate(written) if number % 2 for span_id in ids}
    deadline = time.monotonic() + 600  # of a busy machine; it ends when all is seen
    while time.monotonic() < deadline and all(agent.is_alive() for agent in agents):
        counted = own.superuser.execute("SELECT count(*) FROM ledger.universal_registry WHERE entity_type = 'metric'")
        if counted.fetchall()[0]["count"] >= len(everything) + len(alices):
            break
        time.sleep(0.5)
    stop.set()
    killer.join(20)
    for agent in agents:
        agent.join(40)
    assert [agent.exitcode for agent in agents] == [0] * AGENTS
    assert -9 in killed
    assert len(everything) == WRITERS * EACH
    assert Counter(seen_by(own, system.id)) == Counter(everything)
    assert Counter(seen_by(own, mine)) == Counter(alices)


def test_what_is_still_open_is_waited_for_and_then_seen_in_order(own: Stage) -> None:
    policy, system = add_policy(own, COUNT), system_policy(0, COUNT)
    own.seed(system)
    database = own.ledger.database()
    values = {"entity_type": "note", "who": "w", "did": "d", "this": "t", "at": "2026-11-23T00:00:00Z"}
    late = parse_span({"id": new_id(), **values, "owner_id": "alice", "tenant_id": "acme"})
    with database.transaction(Identity("alice", "acme")) as connection:
        append_within(connection, [late], None)
        early = note(own)
        run_agent(own)
        assert seen_by(own, policy) == seen_by(own, system.id) == []
    run_agent(own)
    assert seen_by(own, policy) == seen_by(own, system.id) == [late.id, early]
    database.close()


@pytest.mark.parametrize("agents", [1, 2])
def test_agents_that_overtake_each_other_undo_their_effects(own: Stage, agents: int) -> None:
    policy = add_policy(own, COUNT)
    seen = [note(own) for _ in range(8)]
    processes = multiprocessing.get_context("forkserver")
    stop = processes.Event()
    event = {**EVENT, "input": {"policy_id": str(policy)}}
    others = [processes.Process(target=boot_repeatedly, args=(own.environment, event, stop)) for _ in range(agents)]
    for other in others:
        other.start()
    for _ in range(20):
        seen.append(note(own))
        run_agent(own, policy)
    stop.set()
    for other in others:
        other.join(40)
    assert [other.exitcode for other in others] == [0] * agents
    run_agent(own, policy)
    assert Counter(seen_by(own, policy)) == Counter(seen)
    versions = own.spans(id=derived_id("policy_cursor", str(policy)))
    assert [span.seq for span in versions] == list(range(len(versions)))
