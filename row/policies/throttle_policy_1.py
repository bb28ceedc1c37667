"""throttle_policy: records, once a day, that a tenant has used up the executions that the manifest allows it."""


def on(span):
    facts = span["facts"]
    limit = facts["manifest"]["throttle"].get("per_tenant_daily_exec_limit", 100)
    if facts["executions_today"] < limit:
        return None
    return {
        "action": "violation",
        "kind": "quota.exec.per_tenant.daily",
        "limit": limit,
        "used": facts["executions_today"],
    }
