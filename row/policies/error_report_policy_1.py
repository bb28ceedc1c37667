"""error_report_policy: reports executions that failed, except for what their callers did wrong."""

# A caller's mistakes and limits: the caller was told, and there is nothing for an operator to mend.
CALLERS = ["rejected", "invalid_input", "not_permitted", "version_conflict", "quota_exceeded", "busy"]


def on(span):
    if span["status"] not in ("error", "timeout"):
        return None
    error = span["error"] if isinstance(span["error"], dict) else {}
    code = str(error.get("code", span["status"]))
    if code in CALLERS or "execution_id" in error:  # the execution that this one speaks of is reported itself
        return None
    # The message of an error may quote what is the tenant's own: operators get its kind, and where to look.
    return {"action": "report", "message": "execution " + span["id"] + " of " + span["this"][:100] + ": " + code[:100]}
