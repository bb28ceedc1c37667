"""Following the ledger over HTTPS: nothing missed, nothing repeated, and 304 while there is nothing."""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.synchronize import Event
from typing import Any

from tests.edge.kit import Device
from tests.edge.writers import write
from tests.stage0_loader.stage import Stage

WRITERS, SPANS = 3, 40


def follow(device: Device, place: str, **query: Any) -> tuple[list[str], str, int]:
    """What is new after a cursor, the next cursor, and the status."""
    answer = device.get("/api/timeline", after=place, headers={"if-none-match": f'W/"{place}"'}, **query)
    if answer.status == 304:
        return [], place, 304
    return [span["this"] for span in answer.body["spans"]], answer.body["cursor"], answer.status


def test_a_follower_gets_what_is_new_and_304_while_nothing_is(device: Device) -> None:
    device.append("first")
    found, place, _ = follow(device, "beginning", entity_type="note")
    assert found == ["first"]
    assert follow(device, place, entity_type="note") == ([], place, 304)
    device.append("second")
    found, place, status = follow(device, place, entity_type="note")
    assert (found, status) == (["second"], 200)
    assert follow(device, place, entity_type="note")[2] == 304


def test_without_a_condition_an_empty_page_says_where_to_go_on(device: Device) -> None:
    place = device.get("/api/timeline", entity_type="note").body["cursor"]
    page = device.get("/api/timeline", after=place, entity_type="note").body
    assert (page["spans"], page["cursor"]) == ([], place)


def test_the_same_url_has_the_same_validator_until_something_is_added(device: Device) -> None:
    device.append("a")
    first = device.get("/api/timeline", entity_type="note")
    assert first.headers["etag"] == f'W/"{first.body["cursor"]}"'
    assert (
        device.get("/api/timeline", entity_type="note", headers={"if-none-match": first.headers["etag"]}).status == 304
    )
    device.append("b")
    again = device.get("/api/timeline", entity_type="note", headers={"if-none-match": first.headers["etag"]})
    assert [span["this"] for span in again.body["spans"]] == ["a", "b"]


def test_a_follower_misses_and_repeats_nothing_while_others_write(stage: Stage, device: Device) -> None:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.edge.writers"])
    done: list[Event] = [processes.Event() for _ in range(WRITERS)]
    writers = [
        processes.Process(target=write, args=(stage.environment, device.user_id, device.tenant_id, n, SPANS, done[n]))
        for n in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    found: list[str] = []
    place, ended, until = "beginning", False, time.monotonic() + 90
    try:
        while time.monotonic() < until:
            over = all(event.is_set() for event in done)
            new, place, _ = follow(device, place, entity_type="note", limit=7)
            found += new
            if over and not new:
                ended = True
                break
    finally:
        for writer in writers:
            writer.join(10)
            writer.kill()
    assert ended
    assert sorted(found) == sorted(f"{n}-{k}" for n in range(WRITERS) for k in range(SPANS))
    for n in range(WRITERS):
        own = [this for this in found if this.startswith(f"{n}-")]
        assert own == [f"{n}-{k}" for k in range(SPANS)]


def test_an_open_transaction_holds_back_what_may_yet_come_before(stage: Stage, device: Device) -> None:
    place = device.get("/api/timeline", entity_type="note").body["cursor"]
    with stage.ledger.connect("admin") as connection, connection.transaction():
        connection.execute("SELECT pg_current_xact_id()")
        device.append("later")
        assert follow(device, place, entity_type="note") == ([], place, 304)
    found, _, _ = follow(device, place, entity_type="note")
    assert found == ["later"]


def test_spans_of_a_megabyte_come_in_pages_that_lambda_can_answer(device: Device) -> None:
    for n in range(4):
        device.append(str(n), metadata={"text": "x" * 900_000})
    answer = device.get("/api/timeline", entity_type="note")
    assert [span["this"] for span in answer.body["spans"]] == ["0", "1"]
    found, _, _ = follow(device, answer.body["cursor"], entity_type="note")
    assert found == ["2", "3"]
