"""Log lines serve the manual's Insights queries (5.1): one JSON object a line."""

from __future__ import annotations

import re
from uuid import uuid4

import pytest

from tests.stage0_loader.stage import MEMORY_KERNEL, NOT_LISTED, NOTHING, UNSEEDED, Answer, Stage

PARSE = re.compile(r'"boot_function_id":"([^"]*)"')  # parse @message '"boot_function_id":"*"' as kernel_id


def kernels_counted(answer: Answer) -> list[str]:
    """What the manual's third query counts."""
    lines = [line for line in answer.log.splitlines() if "boot_function_id" in line]
    return [found[1] for line in lines if (found := PARSE.search(line))]


SOURCES = {
    "that works": NOTHING,
    "that raises": 'def main(ctx):\n    raise ValueError(\'"boot_function_id":"x"\')',
    "that rejects": "def main(ctx):\n    raise ctx.rejected('no', boot_function_id='x')",
    "that takes too long": "import time\ndef main(ctx):\n    time.sleep(9)",
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_a_kernel_is_counted_once_a_boot(stage: Stage, source: str) -> None:
    kernel = stage.publish(source)
    assert kernels_counted(stage.boot(kernel, remaining_ms=2_100)) == [str(kernel)]


@pytest.mark.parametrize("kernel", [NOT_LISTED, UNSEEDED, MEMORY_KERNEL])
def test_a_refused_boot_is_counted_once_too(stage: Stage, kernel: object) -> None:
    answer = stage.send({"action": "boot", "boot_function_id": str(kernel).upper(), "input": {"nonsense": 1}})
    assert answer.status in (403, 404, 422)
    assert kernels_counted(answer) == [str(kernel)]


def test_a_tampered_kernel_is_counted_once(stage: Stage) -> None:
    kernel = stage.publish(NOTHING)
    stage.tamper("code = 'x'", kernel)
    assert kernels_counted(stage.boot(kernel)) == [str(kernel)]


def test_a_caller_cannot_add_to_the_count(stage: Stage) -> None:
    kernel = stage.publish(NOTHING)
    forged = '","boot_function_id":"forged"'
    answer = stage.boot(kernel, {"boot_function_id": "forged"}, user=forged, tenant=forged, trace_id=forged)
    assert answer.status == 200
    assert kernels_counted(answer) == [str(kernel)]


def test_a_replay_and_other_actions_count_no_other_kernel(stage: Stage) -> None:
    kernel, request = stage.publish(NOTHING), str(uuid4())
    for _ in range(2):
        assert kernels_counted(stage.boot(kernel, request_id=request)) == [str(kernel)]
    for action in ("timeline", "health"):
        assert kernels_counted(stage.send({"action": action})) == []


FAILING = {
    "an exception": "def main(ctx):\n    raise ValueError('of two\\nlines')",
    "a timeout": "import time\ndef main(ctx):\n    time.sleep(9)",
    "wrong SQL": "def main(ctx):\n    ctx.ledger.query('SELEKT')",
    "a dead connection": "def main(ctx):\n    ctx.ledger.query('SELECT pg_terminate_backend(pg_backend_pid())')",
}


@pytest.mark.parametrize("source", FAILING.values(), ids=FAILING)
def test_what_an_operator_must_see_is_found_by_ERROR(stage: Stage, source: str) -> None:
    answer = stage.boot(stage.publish(source), remaining_ms=2_200)
    assert answer.status >= 500
    found = [line for line in answer.log.splitlines() if re.search("ERROR", line)]
    assert len(found) == len(answer.errors) >= 1
    for line in answer.lines:  # each parses: nothing broke a line in two
        assert {"level", "message", "timestamp", "service", "trace_id"} <= set(line)


@pytest.mark.parametrize("status", [200, 400, 403, 404, 422])
def test_what_only_concerns_the_caller_is_no_ERROR(stage: Stage, status: int) -> None:
    events = {
        200: {"boot_function_id": str(stage.publish(NOTHING))},
        400: {"boot_function_id": "x"},
        403: {"boot_function_id": str(NOT_LISTED)},
        404: {"boot_function_id": str(UNSEEDED)},
        422: {"boot_function_id": str(MEMORY_KERNEL)},
    }
    answer = stage.send({"action": "boot", **events[status]})
    assert answer.status == status
    assert "ERROR" not in answer.log
