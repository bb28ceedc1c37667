"""Lambdas among several: a warm loader in the main thread of a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerProcess
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Any, Final
from uuid import UUID

from aws_lambda_powertools import Logger

from stage0_loader.handler import handle, make_loader
from stage0_loader.settings import Settings
from tests.stage0_loader.stage import Stage

PROCESSES: Final = 8
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.stage0_loader.worker"])


def invoke(environment: dict[str, str], event: dict[str, Any], start: Barrier, answers: Queue[dict[str, Any]]) -> None:
    """Connect, wait for the others, and put the answer into the queue."""
    loader = make_loader(Settings.from_environment(environment), Logger(service="worker", level="CRITICAL"))
    handle(loader, {"action": "timeline", "limit": 1}, None)
    start.wait(30)
    answers.put(handle(loader, event, None))


def at_once(stage: Stage, kernel: UUID, tenant: str, *, user: str = "alice", **fields: Any) -> list[dict[str, Any]]:
    """The same boot by eight processes at once."""
    start, answers = _processes.Barrier(PROCESSES), _processes.Queue()
    event = {"action": "boot", "boot_function_id": str(kernel), "user_id": user, "tenant_id": tenant, **fields}
    workers = [
        _processes.Process(target=invoke, args=(stage.environment, event, start, answers)) for _ in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    found = [answers.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(10)
    return found


@contextmanager
def running(stage: Stage, kernel: UUID, tenant: str, user: str = "alice", **fields: Any) -> Iterator[ForkServerProcess]:
    """One boot in a process of its own, which can be killed; it is killed at the end."""
    event = {"action": "boot", "boot_function_id": str(kernel), "user_id": user, "tenant_id": tenant, **fields}
    arguments = (stage.environment, event, _processes.Barrier(1), _processes.Queue())
    process = _processes.Process(target=invoke, args=arguments)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join(10)
