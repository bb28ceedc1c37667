"""slow_exec_policy: marks executions that took longer than the manifest's policy.slow_ms."""


def on(span):
    slow_ms = span["facts"]["manifest"]["policy"].get("slow_ms", 5000)
    if span["duration_ms"] is not None and span["duration_ms"] > slow_ms:
        return {"action": "status_patch", "status": "slow"}
    return None
