"""Is what should happen by itself happening: boots, schedules, queue, policies; and what has been reported?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from loglineos.health.facts import Facts
from loglineos.health.finding import FSCK, Finding, Level, age

NO_BOOT_S: Final = 15 * 60  # as the alarm no-boot
AGENT_LATE_S: Final = 5 * 60  # booted every minute
QUEUE_LATE_S: Final = 10 * 60
POLICY_LATE_S: Final = 30 * 60
AGENTS: Final = {
    "00000000-0000-4000-8000-000000000002": "observer_bot_kernel",
    "00000000-0000-4000-8000-000000000003": "request_worker_kernel",
    "00000000-0000-4000-8000-000000000004": "policy_agent_kernel",
}
_RULES: Final = {"observer_bot_kernel": "observer", "request_worker_kernel": "request-worker",
                 "policy_agent_kernel": "policy-agent"}  # fmt: skip


def spans(facts: Facts) -> Iterator[Finding]:
    """How many there are (manual 8.3)."""
    pulse = facts.section("pulse")
    if pulse:
        counted = pulse["spans"]
        count = "not counted yet (run ANALYZE)" if counted["spans"] < 0 else f"{counted['spans']:,}"
        yield Finding("ledger spans", "ok", count + (", estimated" if counted["estimated"] else ""))


def last_boot(facts: Facts) -> Iterator[Finding]:
    """Of anything (manual 8.3)."""
    pulse = facts.section("pulse")
    if not pulse:
        return
    last = pulse["last_boot"]
    if last is None:
        yield Finding("last boot", "warning", "there is none among the newest spans",
                      f"Boot one: `{facts.command} boot observer_bot_kernel`.")  # fmt: skip
    elif last["age_s"] > NO_BOOT_S:
        yield Finding("last boot", "failure" if facts.on_aws else "warning", f"{age(last['age_s'])} ago, {last['at']}",
                      _rule_remedy(facts, "observer_bot_kernel"))  # fmt: skip
    else:
        yield Finding("last boot", "ok", f"{age(last['age_s'])} ago, {last['at']}")


def schedules(facts: Facts) -> Iterator[Finding]:
    """The three agents that are booted every minute."""
    pulse = facts.section("pulse")
    if not pulse:
        return
    booted: dict[str, dict[str, Any]] = {agent["kernel"]: agent for agent in pulse["agents"]}
    for kernel, name in AGENTS.items():
        agent = booted.get(kernel)
        if agent is None or agent["age_s"] > AGENT_LATE_S:
            said = "never booted by schedule" if agent is None else f"booted last {age(agent['age_s'])} ago"
            level: Level = "failure" if facts.on_aws else "warning"
            yield Finding(f"schedule {name}", level, said, _rule_remedy(facts, name))
        elif agent["last_failed"]:
            yield Finding(f"schedule {name}", "warning",
                          f"its last boot failed, {agent['failed']} of the last {agent['boots']} did",
                          f"`{facts.command} boot {name}` shows the error; the log has the traceback.")  # fmt: skip
        else:
            yield Finding(f"schedule {name}", "ok", f"booted {age(agent['age_s'])} ago")


def _rule_remedy(facts: Facts, name: str) -> str:
    rule = facts.resource(_RULES[name])
    if facts.on_aws:
        return f"`aws events describe-rule --name {rule}` must say ENABLED; then its dead letters."
    if facts.deployed:
        return f"`loglineos up` boots it every minute unless LOGLINEOS_CLOCK=off; by hand: `loglineos boot {name}`."
    return f"With DATABASE_URL nothing boots by itself: run `loglineos boot {name}`, from cron every minute."


def queue(facts: Facts) -> Iterator[Finding]:
    """Requests that wait, and those that were given up."""
    found = facts.section("queue")
    if not found:
        yield Finding("queue", "unknown", facts.reason("queue"), f"`{facts.command} queue`")
        return
    waiting = found["oldest_s"] or 0.0
    said = f"{found['pending']} pending, {found['running']} running, {found['functions']} functions scheduled"
    if waiting > QUEUE_LATE_S:
        yield Finding("queue", "warning", f"{said}; the oldest is ready since {age(waiting)}",
                      f"`{facts.command} boot request_worker_kernel`, then look: `{facts.command} queue`.")  # fmt: skip
    else:
        yield Finding("queue", "ok", said)
    if found["dead_of_the_day"]:
        yield Finding("dead requests", "warning",
                      f"{found['dead_of_the_day']} in the last 24 h, {found['dead']} in all",
                      f"`{facts.command} queue` names them; their error_report says why. Mend the function, then its"
                      " owner asks again.")  # fmt: skip
    else:
        yield Finding("dead requests", "ok", f"none in the last 24 h, {found['dead']} in all")


def policies(facts: Facts) -> Iterator[Finding]:
    """Whether each active policy gets its turn."""
    found = facts.section("policies")
    if not found:
        yield Finding("policies", "unknown", facts.reason("policies"), f"`{facts.command} boot policy_agent_kernel`")
        return
    active = found["policies"]
    late = [one for one in active if not one["on_demand"] and one["waited_s"] > POLICY_LATE_S]
    paused = [one for one in active if one["paused"]]
    if late:
        named = ", ".join(f"{one['name'] or one['id']} ({age(one['waited_s'])})" for one in late[:5])
        yield Finding("policies", "warning", f"{len(late)} of {len(active)} wait for their turn: {named}",
                      f"Boot the agent: `{facts.command} boot policy_agent_kernel`.")  # fmt: skip
    if paused:
        named = ", ".join(f"{one['name'] or one['id']} for {one['paused']}" for one in paused[:5])
        yield Finding("policies", "warning", f"paused after failures, for so many tenants: {named}",
                      f"`{facts.command} timeline --type policy_error` says why; a next version goes on.")  # fmt: skip
    if not late and not paused:
        yield Finding("policies", "ok", f"{len(active)} active, all had their turn")


def alerts(facts: Facts) -> Iterator[Finding]:
    """What was reported in the last 24 hours."""
    found = facts.section("alerts")
    if not found:
        yield Finding("alerts of the day", "unknown", facts.reason("alerts"), f"`{facts.command} xray`")
        return
    by_type = {one["entity_type"]: one for one in found["rows"]}
    for kind, level in (("security_alert", "failure"), ("error_report", "warning"), ("policy_error", "warning")):
        one = by_type.get(kind)
        if one is None:
            continue
        yield Finding(f"{kind} of the day", "failure" if level == "failure" else "warning",
                      f"{one['spans']}, the newest: {one['newest_says']}",
                      _shown(facts, one["newest_id"])
                      + (f"; then {FSCK}." if level == "failure" else "."))  # fmt: skip
    if not by_type:
        yield Finding("alerts of the day", "ok", "no security_alert, error_report or policy_error in the last 24 h")


def _shown(facts: Facts, span_id: str) -> str:
    statement = "SELECT * FROM ledger.visible_timeline WHERE id = $1"
    return f"`{facts.command} query '{statement}' --param '\"{span_id}\"'` shows it"
