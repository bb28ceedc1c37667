"""Does what its event says: the ways in which a function can end."""

import os
import signal
import sys
import time
import urllib.request
from typing import Any

import boto3
from greetings import greet  # type: ignore[import-not-found]  # from the layer

STARTED = time.time()


def handler(event: dict[str, Any], context: Any) -> Any:
    kind = event.get("do", "echo")
    print(f"working on {kind}")  # noqa: T201  it is what the log has to show
    if kind == "raise":
        raise ValueError("no good")
    if kind == "exit":
        sys.exit(3)
    if kind == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "sleep":
        time.sleep(event["seconds"])
    if kind == "parallel":
        return meet(event["url"])
    if kind == "identity":
        return boto3.client("sts").get_caller_identity()["Account"]
    if kind == "modules":
        return {name: importable(name) for name in event["names"]}
    return {
        "pid": os.getpid(),
        "greeting": greet(event.get("name", "nobody")),
        "setting": os.environ.get("SETTING"),
        "name": context.function_name,
        "left": context.get_remaining_time_in_millis(),
        "arguments": sys.argv,
        "endpoint": os.environ.get("AWS_ENDPOINT_URL"),
    }


def meet(url: str) -> int:
    """Answered only once everybody who was asked to meet is there."""
    with urllib.request.urlopen(url, timeout=20) as answer:
        return int(answer.read())


def importable(name: str) -> bool:
    try:
        __import__(name)
    except ImportError:
        return False
    return True
