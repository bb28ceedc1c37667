"""An agent among several: it boots again and again, in a process of its own, until it is told to stop."""

from __future__ import annotations

import time
from multiprocessing.synchronize import Event
from typing import Any

from aws_lambda_powertools import Logger

from stage0_loader.handler import handle, make_loader
from stage0_loader.settings import Settings


def boot_repeatedly(environment: dict[str, str], event: dict[str, Any], stop: Event) -> None:
    """The event, again and again; a boot that fails ends it with an exception."""
    loader = make_loader(Settings.from_environment(environment), Logger(service="agent", level="CRITICAL"))
    while not stop.is_set():
        answer = handle(loader, event, None)
        if answer["statusCode"] != 200:
            raise RuntimeError(str(answer["body"]))
        time.sleep(0.05)
