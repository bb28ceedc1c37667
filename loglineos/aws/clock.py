"""What makes rules of EventBridge fire by themselves, at each whole minute, where the emulator is asked to."""

from __future__ import annotations

import datetime as dt
import logging
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cronsim import CronSim, CronSimError

from .api import Api
from .emulator import Endpoint
from .schedules import fire

_MINUTES = {"minute": 1, "hour": 60, "day": 1440}
_log = logging.getLogger("loglineos.aws.clock")


def is_due(expression: str, minute: dt.datetime) -> bool:
    """Does `rate(…)` or `cron(…)` of a rule fire at this minute (UTC)? A form it can't read fires never."""
    if rate := re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", expression):
        return int(minute.timestamp() // 60) % (int(rate[1]) * _MINUTES[rate[2]]) == 0
    cron = re.fullmatch(r"cron\((\S+ \S+ \S+ \S+ \S+) \*\)", expression)
    try:
        return cron is not None and next(CronSim(_five_fields(cron[1]), minute - dt.timedelta(minutes=1))) == minute
    except (CronSimError, StopIteration):
        return False


def _five_fields(fields: str) -> str:
    """AWS counts days of the week from Sunday = 1, and writes `?` for a day that the other day field gives."""
    *others, weekday = fields.replace("?", "*").split()
    return " ".join([*others, re.sub(r"\d+", lambda day: str(int(day[0]) - 1), weekday)])


def tick(endpoint: Endpoint, minute: dt.datetime) -> list[str]:
    """Fire every enabled rule that is due, side by side; their names."""
    pages = Api(endpoint.url, endpoint.region)("events", "list_rules")["Rules"]
    due = [rule["Name"] for rule in pages if rule["State"] == "ENABLED" and is_due(_expression(rule), minute)]
    with ThreadPoolExecutor(max_workers=8) as threads:
        for name, done in [(name, threads.submit(fire, endpoint, name)) for name in due]:
            if problem := done.exception():
                _log.warning("rule %s: %s", name, problem)
    return due


def _expression(rule: dict[str, Any]) -> str:
    return str(rule.get("ScheduleExpression", ""))


def start_clock(endpoint: Endpoint) -> None:
    """Tick in the background for as long as this process lives. A minute whose rules run on is not waited for."""
    threading.Thread(target=_run, args=(endpoint,), name="clock", daemon=True).start()


def _run(endpoint: Endpoint) -> None:
    pause = threading.Event()
    while True:
        now = dt.datetime.now(dt.UTC)
        minute = now.replace(second=0, microsecond=0) + dt.timedelta(minutes=1)
        pause.wait((minute - now).total_seconds())
        threading.Thread(target=_tick_safely, args=(endpoint, minute), daemon=True).start()


def _tick_safely(endpoint: Endpoint, minute: dt.datetime) -> None:
    try:
        tick(endpoint, minute)
    except Exception:  # noqa: BLE001 - the next minute is tried all the same
        _log.exception("the rules of %s could not be fired", minute)
