"""Token buckets: a rate, and the burst that is let through above it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

Limits = tuple[float, int]  # requests a second; how many at once
Whose = tuple[str, ...]


class Throttle:
    """Every stage has a bucket, and so has each route with limits of its own."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[Whose, tuple[Limits, float, float]] = {}  # limits, tokens, when they were counted
        self._lock = threading.Lock()

    def admits(self, api: str, stage: Any, route_key: str) -> bool:
        """Whether one more request may pass now; then it is counted."""
        own = limits_of(stage.route_settings.get(route_key) or {})
        if own:
            return self._take((api, stage.name, route_key), own)
        limits = limits_of(stage.default_route_settings or {})
        return limits is None or self._take((api, stage.name), limits)

    def _take(self, whose: Whose, limits: Limits) -> bool:
        rate, burst = limits
        with self._lock:
            now = self._clock()
            known, tokens, at = self._buckets.get(whose, (limits, float(burst), now))
            tokens = min(float(burst), tokens + (now - at) * rate) if known == limits else float(burst)
            admitted = tokens >= 1
            self._buckets[whose] = limits, tokens - 1 if admitted else tokens, now
        return admitted


def limits_of(settings: Mapping[str, Any]) -> Limits | None:
    """What a stage's settings limit; None if nothing."""
    rate, burst = settings.get("throttlingRateLimit"), settings.get("throttlingBurstLimit")
    if rate is None and burst is None:
        return None
    return float(rate or 0), int(burst or 0)
