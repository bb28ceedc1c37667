"""note_of_failures: leaves a note when a run of a function fails, or takes longer than two seconds.

The note stands in its owner's timeline (`loglineos timeline --type note`): which function, what happened, and the id
of the execution to look at. Runs that were all right leave nothing.

Watches: execution. Input: the span that was appended. Answer: an `emit_span` action, or None.
Append it:  loglineos append @note_of_failures.span.json
"""

SLOW_MS = 2000


def on(span):
    if span["who"] != "edge:run_code":  # kernels leave executions too
        return None
    took = span["duration_ms"] or 0
    if span["status"] != "complete":
        error = span["error"] or {}
        what = f"failed: {error.get('code', span['status'])}: {error.get('message', '')}"
    elif took > SLOW_MS:
        what = f"took {took} ms"
    else:
        return None
    note = {
        "entity_type": "note",
        "did": "noted",
        "this": span["name"] or "function",
        "status": "active",
        "parent_id": span["id"],
        "metadata": {"text": f"{span['name']} {what}"[:500], "function_id": span["parent_id"], "duration_ms": took},
    }
    return {"action": "emit_span", "span": note}
