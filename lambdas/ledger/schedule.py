"""Schedules: five fields of cron, in UTC (kernels.md, observer_bot_kernel)."""

from __future__ import annotations

from datetime import datetime, timedelta

from cronsim import CronSim, CronSimError

from .errors import InvalidInput

EXPECTED = "expected five fields of cron, in UTC, such as '*/5 * * * *'"
MAX_LENGTH = 200


def check_schedule(schedule: object, field: str) -> None:
    """Raise InvalidInput unless it is a schedule that comes at least once."""
    if not isinstance(schedule, str) or len(schedule) > MAX_LENGTH or len(schedule.split()) != 5:
        raise InvalidInput(field, EXPECTED)
    try:
        next(CronSim(schedule, datetime(2026, 1, 1)))
    except CronSimError as error:
        raise InvalidInput(field, f"{EXPECTED}: {error}") from None
    except StopIteration:
        raise InvalidInput(field, f"{EXPECTED}: this one never comes") from None


def next_slot(schedule: str, after: datetime) -> datetime:
    """The first slot after an instant (UTC)."""
    return next(CronSim(schedule, after))


def last_slot(schedule: str, now: datetime) -> datetime:
    """The latest slot that is not after `now` (UTC): of several that were missed, the one that is run."""
    minute = now.replace(second=0, microsecond=0)
    return next(CronSim(schedule, minute + timedelta(minutes=1), reverse=True))
