"""Drills and audits that other commands carry out, and what only a person can do."""

from __future__ import annotations

import json
from typing import Any, Final

from loglineos.health import ledger
from loglineos.health.finding import FSCK, Finding
from loglineos.routine.access import database_users
from loglineos.routine.others import USAGE, Ended
from loglineos.routine.task import Outcome, Round, checked
from loglineos.xray.report import build

DRILL_S: Final = 30 * 60.0
FSCK_S: Final = 60 * 60.0
# What a command says that reads the database itself, where only a tunnel leads to it.
TUNNEL: Final = "set DATABASE_URL"
BY_HAND: Final = f"on a machine that reaches the database: {FSCK}"
UNDONE: Final = {
    "Missing option '--key'": "set LOGLINEOS_LOG_KEY to the log's key as you keep it outside, and run this again",
    "give it by --log": "set LOGLINEOS_LOG to where the log is, as you keep it outside, and run this again",
}


def drill(round_: Round) -> Outcome:
    """A backup restored into a PostgreSQL of its own, proved and booted: `loglineos drill`."""
    by_hand = "run `loglineos drill` on a machine that reaches the database, with DATABASE_URL set to it"
    if not round_.drill:
        return Outcome("person", f"left out by --no-drill: {by_hand}")
    if "drill" not in round_.others.known:
        return Outcome("person", f"restore the newest backup into an empty database and look at it: {by_hand}")
    ended = round_.others.command("drill", "--json", timeout_s=DRILL_S)
    if ended.code == 0:
        report = _json(ended.output)
        return Outcome("done", f"a backup was restored and proved; report {report.get('report', '')}".strip())
    if undone := _undone(ended):
        return Outcome("person", f"the database is not reached from here: {by_hand}" if undone == BY_HAND else undone)
    failed = Finding("drill", "failure", ended.last, "`loglineos drill` again; its report says how far it came.")
    return Outcome("failed", "the drill failed", [failed])


def recovery(round_: Round) -> Outcome:
    """The whole disaster: the drill here; on AWS also a restore to a point in time, which costs money and a person."""
    done = drill(round_)
    if not round_.facts.on_aws or done.state == "failed":
        return done
    said = (f"{done.said}; and restore to a point in time: `{round_.facts.command} pitr --help`, look at the restored"
            " instance, then delete it")  # fmt: skip
    return Outcome("person", said, done.findings)


def costs(round_: Round) -> Outcome:
    """Manual 9.4, "Revisão de custos AWS"."""
    if not round_.facts.deployed:
        return Outcome("done", "there is no AWS account to be billed")
    month = f"{round_.facts.now:%Y-%m}-01"
    return Outcome("person", "compare the bill with docs/deploy.md, What it costs a month: `aws ce get-cost-and-usage"
                   f" --time-period Start={month},End={round_.facts.now:%Y-%m-%d} --granularity MONTHLY"
                   " --metrics UnblendedCost --group-by Type=TAG,Key=environment`")  # fmt: skip


def security(round_: Round) -> Outcome:
    """Manual 9.4, "Security audit completo": every span recomputed, privileges, keys."""
    facts = round_.facts
    report = build(facts, round_.storage_gb)
    findings = [
        *ledger.manifest(facts), *ledger.kernels(facts), *ledger.signing(facts), *database_users(facts),
        *(Finding(**one) for one in report["findings"] if one["check"] == "integrity"),
    ]  # fmt: skip
    undone = "" if "fsck" in round_.others.known else BY_HAND
    ended = None if undone else round_.others.command("fsck", "--json", timeout_s=FSCK_S)
    if ended is not None and ended.code != 0:
        undone = _undone(ended)
    if ended is None or undone:
        outcome = checked("a sample was recomputed", findings)
        return outcome if outcome.state == "failed" else Outcome("person", f"recompute all spans: {undone}", findings)
    findings.append(_recomputed(ended))
    return checked("privileges, keys and every span", findings)


def _undone(ended: Ended) -> str:
    """What a person has to do first, where the command did not begin its work: its words were off, or no database."""
    if ended.code == USAGE:
        return next((what for said, what in UNDONE.items() if said in ended.error), ended.last.removeprefix("Error: "))
    return BY_HAND if TUNNEL in ended.error else ""


def _recomputed(ended: Ended) -> Finding:
    report = _json(ended.output)
    if ended.code == 0:
        said = f"{report.get('spans', 0):,} spans are what they were, {report.get('sealed', 0):,} of them sealed"
        return Finding("fsck", "ok", said)
    found = report.get("findings") or [{"message": ended.last}]
    said = f"{report.get('finding_count', 1)} findings, the first: {found[0].get('message')}"
    return Finding("fsck", "failure", said, f"{FSCK}, names all; then docs/runbooks/tampering.md.")


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
