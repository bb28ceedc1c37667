"""One Lambda among several: a warm loader in the main thread of a process of its own."""

from __future__ import annotations

from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Any

from aws_lambda_powertools import Logger

from stage0_loader.handler import handle, make_loader
from stage0_loader.settings import Settings


def invoke(environment: dict[str, str], event: dict[str, Any], start: Barrier, answers: Queue[dict[str, Any]]) -> None:
    """Connect, wait for the others, and put the answer into the queue."""
    loader = make_loader(Settings.from_environment(environment), Logger(service="worker", level="CRITICAL"))
    handle(loader, {"action": "timeline", "limit": 1}, None)
    start.wait(30)
    answers.put(handle(loader, event, None))
