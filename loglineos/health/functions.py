"""Functions, database, schema: is what should answer there, and is it what was released?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from loglineos.health.facts import Facts
from loglineos.health.finding import FSCK, LEVELS, Finding, Level, age

SLOW_MS: Final = 100.0
LAG_S: Final = 60.0
SHOWN: Final = 12
# A difference in one of these lets somebody do what the ledger promises nobody can.
_GUARDS: Final = ("trigger", "row-level policy", "grant", "role")


def functions(facts: Facts) -> Iterator[Finding]:
    """The three functions: invoked, or where that would do something, asked for by name (manual 8.3)."""
    for thing, milliseconds in (("stage0-loader", facts.loader_ms), ("db-migration", facts.xray_ms)):
        if problem := facts.problems.get(thing):
            yield Finding(f"function {thing}", "failure", problem, _see_log(facts, thing))
        else:
            where = "" if facts.deployed else ", in this process"
            yield Finding(f"function {thing}", "ok", f"answered in {milliseconds:.0f} ms{where}")
    if not facts.deployed:
        return
    deploy = facts.aws.get("functions", {}).get("db-deploy", {})
    if "unknown" in deploy:
        yield Finding(
            "function db-deploy", "failure", deploy["unknown"], f"Deploy again: `bash deploy.sh {_env(facts)}`."
        )
    elif deploy.get("state") not in (None, "Active"):
        yield Finding("function db-deploy", "failure", f"its state is {deploy['state']}",
                      f"`aws lambda get-function --function-name {facts.resource('db-deploy')}` says why.")  # fmt: skip
    else:
        yield Finding("function db-deploy", "ok", "there, and active")


def database(facts: Facts) -> Iterator[Finding]:
    """Connection and round trip as the functions see them; the replica's lag, and its ledger."""
    if facts.unreachable:
        remedy = (f"`aws rds describe-db-instances --db-instance-identifier {_instance(facts)}` tells its state;"
                  " then manual 8.1, \"Connection timeout\"." if facts.deployed
                  else "Start it, or correct DATABASE_URL; `loglineos status` tells where it is expected.")  # fmt: skip
        yield Finding("database", "failure", facts.problems.get("stage0-loader", ""), remedy)
        return
    pulse = facts.section("pulse")
    if not pulse:
        yield Finding("database", "unknown", facts.reason("pulse"), f"Ask again: `{facts.command} health`.")
        return
    server = pulse["server"]
    said = (
        f"PostgreSQL {server['version']}, {server['latency_ms']} ms a round trip, {server['connect_ms']} ms to connect"
    )
    level: Level = "warning" if server["latency_ms"] > SLOW_MS else "ok"
    yield Finding("database", level, said, f"Look for load: `{facts.command} xray`." if level == "warning" else "")
    yield from _replica(facts, server)


def _replica(facts: Facts, server: dict[str, Any]) -> Iterator[Finding]:
    expected = facts.aws.get("replicas") or []
    eras = facts.section("queue").get("eras") or []  # as the primary has them, the newest first
    if eras and server.get("era") not in (None, eras[0]["era"]):
        said = f"reports are read from a database in era {server['era']}, and the ledger is in era {eras[0]['era']}"
        yield Finding("replica", "failure", said, "It follows the database that was there before a restore: make it"
                      " anew (docs/runbooks/restore.md). If that was done a moment ago, ask again.")  # fmt: skip
    elif server["replica"]:
        lag = server["lag_s"] or 0.0
        yield Finding("replica", "warning" if lag > LAG_S else "ok", f"reports are read from it, {age(lag)} behind",
                      f"Look for long queries on it: `{facts.command} xray`." if lag > LAG_S else "")  # fmt: skip
    elif expected:
        states = ", ".join(
            f"{one.get('DBInstanceIdentifier', '?')} {one.get('DBInstanceStatus', '')}" for one in expected
        )
        ready = all(one.get("DBInstanceStatus") == "available" for one in expected)
        yield Finding("replica", "ok" if ready else "warning", f"{states}; reports are read from the primary",
                      "" if ready else "`aws rds describe-events --source-type db-instance` says why.")  # fmt: skip
    else:
        yield Finding("replica", "ok", "none; reports are read from the primary")


def migrations(facts: Facts) -> Iterator[Finding]:
    """This release's migrations against what the database has."""
    state = facts.section("migrations")
    if not state:
        yield Finding("migrations", "unknown", facts.reason("migrations"), f"`{facts.command} migrate --dry-run`")
    elif problem := state.get("problem"):
        yield Finding("migrations", "failure", problem, "Deploy the release that the database was migrated by.")
    elif state["pending"]:
        yield Finding(
            "migrations", "failure", f"pending: {', '.join(state['pending'])}", f"Run `{facts.command} migrate`."
        )
    elif state["ahead"]:
        yield Finding("migrations", "warning", f"the database is ahead by {', '.join(state['ahead'])}",
                      "Deploy the newer release again, or leave it: they do not break this one.")  # fmt: skip
    else:
        yield Finding("migrations", "ok", f"all {len(state['applied'])} applied")


def schema(facts: Facts) -> Iterator[Finding]:
    """Tables, guards, policies, roles and grants against what the release's migrations make."""
    found = facts.section("structure")
    if not found:
        yield Finding(
            "schema", "unknown", facts.reason("structure"), f"`{facts.command} xray` shows what could be read."
        )
        return
    state = facts.section("migrations")
    if state.get("pending") or state.get("ahead"):
        yield Finding("schema", "unknown", "it can be compared when it is migrated to this very release")
        return
    differing = found["differences"]
    if not differing:
        yield Finding("schema", "ok", "tables, triggers, row-level policies, roles and grants are the release's")
    yield from sorted(map(difference, differing), key=lambda found: -LEVELS.index(found.level))[:SHOWN]
    if len(differing) > SHOWN:
        yield Finding(
            "schema", "warning", f"{len(differing) - SHOWN} differences more", f"`{facts.command} xray --json`"
        )


def difference(one: dict[str, Any]) -> Finding:
    """One difference, as weighty as what it opens."""
    guarded = one["kind"] in _GUARDS or one["what"] in ("row_security", "forced")
    harmless = one["kind"] == "grant" and one["name"].startswith("database")
    level: Level = "failure" if guarded and not harmless else "warning"
    said = f"{one['kind']} {one['name']}: {_told(one)}"
    return Finding("schema", level, said, _mend(one))


def _told(one: dict[str, Any]) -> str:
    if one["what"] in ("missing", "beyond the release"):
        extra = one["found"] or {}
        return f"{one['what']}" + (f" ({extra['privileges']})" if "privileges" in extra else "")
    return f"{one['what']} is {one['found']}, the release has {one['expected']}"


def _mend(one: dict[str, Any]) -> str:
    table, _, thing = str(one["name"]).partition(" ")
    if one["kind"] == "trigger" and one["what"] == "enabled":
        how = {"always": "ENABLE ALWAYS", "on": "ENABLE"}.get(one["expected"], "ENABLE")
        return (f"As the owner: ALTER TABLE {table} {how} TRIGGER {thing}. Then find out who turned it off, and run"
                f" {FSCK}: spans may have been changed meanwhile.")  # fmt: skip
    if one["what"] in ("row_security", "forced"):
        how = "FORCE" if one["what"] == "forced" else "ENABLE"
        return f"As the owner: ALTER TABLE {table} {how} ROW LEVEL SECURITY. Tenants may have read each other's spans."
    if one["kind"] == "grant" and one["what"] in ("beyond the release", "privileges"):
        thing, _, grantee = str(one["name"]).rpartition(": ")
        thing = thing.removeprefix("relation ")
        return f"As the owner: REVOKE what is too much ON {thing} FROM {grantee}; then ask who granted it."
    if one["what"] == "missing":
        word = str(one["name"]).split("(")[0].split()[-1].rpartition(".")[2]
        return f"Make it as the migrations have it: `grep -n {word} migrations/*.sql`."
    return "Put it back to what the migrations say, or write a migration that says so."


def _see_log(facts: Facts, thing: str) -> str:
    if facts.deployed:
        return f"Its log says why: `aws logs tail /aws/lambda/{facts.resource(thing)} --since 15m`."
    return f"Its log says why: .local/logs/loglineos-{thing}.log."


def _env(facts: Facts) -> str:
    return facts.command.partition("--env ")[2]


def _instance(facts: Facts) -> str:
    return str(facts.aws.get("instance", {}).get("DBInstanceIdentifier", "loglineos-prod"))
