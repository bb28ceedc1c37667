"""Repeats of one request by many processes at the same moment: exactly one runs."""

from __future__ import annotations

from uuid import uuid4

import pytest

from ledger.database import Identity
from stage0_loader.audit import Audit
from stage0_loader.claim import RequestInProgress, claim
from tests.stage0_loader.counting import COUNTER, request, runs, unfinished
from tests.stage0_loader.stage import NOT_LISTED, Stage
from tests.stage0_loader.worker import PROCESSES, at_once

SLOW_COUNTER = COUNTER.replace("    return", "    __import__('time').sleep(0.3)\n    return")


def test_of_eight_concurrent_repeats_exactly_one_runs(stage: Stage, tenant: str) -> None:
    kernel, request_id = stage.publish(SLOW_COUNTER), request()
    answers = at_once(stage, kernel, tenant, request_id=request_id)
    assert sorted(answer["statusCode"] for answer in answers) == [200] + [409] * 7
    assert all("request_in_progress" in answer["body"] for answer in answers if answer["statusCode"] == 409)
    assert runs(stage, tenant) == 1
    again = at_once(stage, kernel, tenant, request_id=request_id)
    assert {answer["statusCode"] for answer in again} == {200}
    assert runs(stage, tenant) == 1


def test_of_eight_concurrent_repeats_of_an_abandoned_request_exactly_one_runs(stage: Stage, tenant: str) -> None:
    kernel, request_id = stage.publish(SLOW_COUNTER), request()
    unfinished(stage, tenant, kernel, request_id, ends_in=-1)
    answers = at_once(stage, kernel, tenant, request_id=request_id)
    assert sorted(answer["statusCode"] for answer in answers) == [200] + [409] * 7
    assert runs(stage, tenant) == 2


def test_without_a_request_id_all_of_them_run(stage: Stage, tenant: str) -> None:
    kernel = stage.publish(COUNTER)
    assert {answer["statusCode"] for answer in at_once(stage, kernel, tenant)} == {200}
    assert runs(stage, tenant) == PROCESSES


def test_eight_concurrent_refusals_leave_one_span(stage: Stage, tenant: str) -> None:
    answers = at_once(stage, NOT_LISTED, tenant, trace_id=str(uuid4()))
    assert {answer["statusCode"] for answer in answers} == {403}
    assert 1 <= len(stage.spans(tenant_id=tenant, entity_type="boot_event")) <= 2  # (two, if a minute ended)


def test_a_repeat_of_the_same_microsecond_does_not_run_either(stage: Stage, tenant: str) -> None:
    """Same trace, same time: the boot_event is the same to the letter, and the ledger takes it as its repeat."""
    audit = Audit(stage.loader.database, Identity("alice", tenant), "trace", None)
    metadata = {"request_digest": "x", "deadline": "2999-01-01T00:00:00.000000Z"}
    event = audit.boot_event("kernel", "started", metadata, id=uuid4())
    assert claim(audit, event) is not None
    with pytest.raises(RequestInProgress):
        claim(audit, event)
