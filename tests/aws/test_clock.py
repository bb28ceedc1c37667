"""When rules of EventBridge fire."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from loglineos.aws.clock import is_due

MONDAY = datetime(2026, 11, 23, 0, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "minute", "due"),
    [
        ("rate(1 minute)", MONDAY, True),
        ("rate(5 minutes)", MONDAY, True),
        ("rate(5 minutes)", MONDAY.replace(minute=11), False),
        ("rate(1 hour)", MONDAY.replace(minute=0), True),
        ("rate(1 hour)", MONDAY, False),
        ("rate(2 days)", MONDAY, False),
        ("cron(10 0 * * ? *)", MONDAY, True),
        ("cron(10 0 * * ? *)", MONDAY.replace(hour=1), False),
        ("cron(0 6 1 * ? *)", datetime(2026, 12, 1, 6, tzinfo=UTC), True),
        ("cron(10 0 ? * 2 *)", MONDAY, True),
        ("cron(10 0 ? * 1 *)", MONDAY, False),
        ("cron(10 0 ? * MON-FRI *)", MONDAY, True),
        ("cron(10 0 * * ? 2031)", MONDAY, False),
        ("cron(nonsense)", MONDAY, False),
        ("", MONDAY, False),
    ],
)
def test_a_rule_is_due_at_its_minutes(expression: str, minute: datetime, due: bool) -> None:
    assert is_due(expression, minute) is due
