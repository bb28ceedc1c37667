"""metrics_exec_duration: the duration of each execution as a metric, in the ledger and in CloudWatch."""


def on(span):
    if span["duration_ms"] is None:
        return None
    # Few and known values only: in CloudWatch each combination of dimensions is a metric of its own, and costs.
    status = span["status"] if span["status"] in ("complete", "error", "timeout", "rejected") else "other"
    return {
        "action": "metric",
        "name": "ExecutionDuration",
        "value": float(span["duration_ms"]),
        "unit": "Milliseconds",
        "dimensions": {"kind": "function" if span["this"] == "run_code" else "kernel", "status": status},
    }
