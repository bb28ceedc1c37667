"""What is secret in one span must not stand in clear in the audit spans and logs beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

MASKED = "***"


def mask(value: Any, rules: Iterable[Any], *, always: bool = False) -> Any:
    """A copy of `value` with the declared places replaced by `***`.

    A rule is a dotted path with `*` for every item (`memories.*.content`), or
    `{"path": …, "when": {"sensitivity": "secret"}}`, which holds where the fields beside it have those values.
    `always` ignores the conditions.
    """
    for rule in rules:
        path, when = (rule, {}) if isinstance(rule, str) else (rule["path"], rule.get("when", {}))
        value = _mask(value, path.split("."), {} if always else when)
    return value


def _mask(value: Any, path: list[str], when: Mapping[str, Any]) -> Any:
    step, rest = path[0], path[1:]
    if isinstance(value, list):
        return [_mask(item, rest, when) if rest else MASKED for item in value] if step == "*" else value
    if not isinstance(value, dict):
        return value
    if step == "*":
        return {key: _mask(item, rest, when) if rest else MASKED for key, item in value.items()}
    if value.get(step) is None:
        return value
    if rest:
        return {**value, step: _mask(value[step], rest, when)}
    if any(value.get(key) != expected for key, expected in when.items()):
        return value
    return {**value, step: MASKED}
