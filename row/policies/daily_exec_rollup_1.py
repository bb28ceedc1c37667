"""daily_exec_rollup: executions of each tenant, day (UTC) and status, counted and their durations added up."""


def on(span):
    return {
        "action": "rollup",
        "name": "executions",
        "day": span["at"][:10],
        "key": {"status": span["status"] or "none"},
        "sums": {"count": 1, "duration_ms": span["duration_ms"] or 0},
    }
