"""Each check made to fail by breaking what it looks at; its remedy leads back where it is a statement."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from db_migration.handler import answer
from db_migration.migrations import read_migrations
from ledger.database import Identity
from ledger.ids import derived_id
from ledger.settings import asset_directory
from loglineos.health.checks import run_checks
from loglineos.health.finding import worst
from tests.health.kit import ORIGIN, Ward, boot
from tests.ledger.kit import copied_database, put, sealed

OBSERVER, WORKER, AGENT = (f"00000000-0000-4000-8000-00000000000{n}" for n in (2, 3, 4))
MEMORY = "00000000-0000-4000-8000-000000000007"
REGISTRY = "ledger.universal_registry"


def now() -> str:
    return datetime.now(UTC).isoformat()


@contextmanager
def broken(ward: Ward, statement: str, mended: str) -> Iterator[None]:
    """What a superuser did, undone afterwards."""
    ward.break_(statement)
    try:
        yield
    finally:
        ward.break_(mended)


def test_before_anything_has_run_it_says_what_has_not(ward: Ward) -> None:
    found = {finding.check: finding for finding in ward.findings()}
    assert found["last boot"].remedy == "Boot one: `loglineos boot observer_bot_kernel`."
    assert found["schedule request_worker_kernel"].level == "warning"
    assert "run `loglineos boot request_worker_kernel`" in found["schedule request_worker_kernel"].remedy
    assert (found["checkpoint"].level, found["checkpoint"].remedy) == ("warning", "Seal now: `loglineos checkpoint`.")
    assert worst(found.values()) == "warning"


def test_all_is_well_where_everything_runs(ward: Ward) -> None:
    for kernel in (OBSERVER, WORKER, AGENT):
        boot(ward, kernel)
    assert ward.backend().migration({"action": "checkpoint"})["ok"]
    found = ward.findings()
    assert [finding for finding in found if finding.level in ("warning", "failure")] == []
    said = {finding.check: finding.said for finding in found}
    assert said["manifest"] == "seq 4, signed"
    assert said["kernel memory_store_kernel"] == "seq 3, signed"
    assert said["signing of executions"].startswith("by the loader's key ")
    assert said["dead requests"] == "none in the last 24 h, 0 in all"
    assert re.fullmatch(r"size \d+, \d+ s ago; 0 spans not sealed", said["checkpoint"])


GUARDS = [
    (f"ALTER TABLE {REGISTRY} DISABLE TRIGGER ur_guard_insert", f"{REGISTRY} ur_guard_insert: enabled is disabled"),
    (f"ALTER TABLE {REGISTRY} ENABLE TRIGGER ur_append_only", f"{REGISTRY} ur_append_only: enabled is on"),
    (f"ALTER TABLE {REGISTRY} NO FORCE ROW LEVEL SECURITY", f"{REGISTRY}: forced is False"),
    (f"ALTER TABLE {REGISTRY} DISABLE ROW LEVEL SECURITY", f"{REGISTRY}: row_security is False"),
]


@pytest.mark.parametrize(("statement", "said"), GUARDS)
def test_a_guard_that_is_off_fails_and_its_remedy_puts_it_on(ward: Ward, statement: str, said: str) -> None:
    ward.break_(statement)
    found = ward.find("schema")
    assert (found.level, said in found.said) == ("failure", True), found
    (remedy,) = re.findall(r"As the owner: (ALTER TABLE [^.]+\.\S+ [A-Z _a-z]+)", found.remedy)
    ward.ledger.execute("postgres", f"SET ROLE admin; {remedy}")
    assert ward.find("schema").level == "ok"


DIFFERENCES = [
    (
        "GRANT SELECT ON ledger_idx.era TO readonly", "REVOKE SELECT ON ledger_idx.era FROM readonly",
        "failure", "beyond the release (SELECT)", "REVOKE what is too much ON ledger_idx.era FROM readonly",
    ),
    (
        f"GRANT UPDATE (name) ON {REGISTRY} TO lambda_exec", f"REVOKE UPDATE (name) ON {REGISTRY} FROM lambda_exec",
        "failure", "beyond the release (UPDATE)", "FROM lambda_exec",
    ),
    (
        "ALTER ROLE readonly BYPASSRLS", "ALTER ROLE readonly NOBYPASSRLS",
        "failure", "bypasses_policies is True", "Put it back",
    ),
    (
        f"CREATE POLICY mine ON {REGISTRY} FOR SELECT TO lambda_exec USING (true)", f"DROP POLICY mine ON {REGISTRY}",
        "failure", "mine: beyond the release", "write a migration",
    ),
    (
        "DROP INDEX ledger.ur_at", f"SET ROLE admin; CREATE INDEX ur_at ON {REGISTRY} USING brin (at)",
        "warning", "ledger.ur_at: missing", "`grep -n ur_at migrations/*.sql`",
    ),
    (
        "SET ROLE admin; CREATE TABLE app.mine (n int)", "DROP TABLE app.mine",
        "warning", "app.mine: beyond the release", "Put it back",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "mended", "level", "said", "remedy"), DIFFERENCES)
def test_what_is_not_the_releases_is_named(
    ward: Ward, statement: str, mended: str, level: str, said: str, remedy: str
) -> None:
    with broken(ward, statement, mended):
        found = ward.find("schema")
        assert (found.level, said in found.said, remedy in found.remedy) == (level, True, True), found
    assert ward.find("schema").level == "ok"


def test_a_kernel_without_its_signature_fails(ward: Ward) -> None:
    tampered = f"""ALTER TABLE {REGISTRY} DISABLE TRIGGER ALL;
        UPDATE {REGISTRY} SET signature = translate(signature, '01', '10') WHERE id = '{MEMORY}';
        ALTER TABLE {REGISTRY} ENABLE TRIGGER ALL;
        ALTER TABLE {REGISTRY} ENABLE ALWAYS TRIGGER ur_append_only, ENABLE ALWAYS TRIGGER ur_append_only_row,
          ENABLE ALWAYS TRIGGER ur_guard_insert"""
    with broken(ward, tampered, tampered):
        found = ward.find("kernel memory_store_kernel")
        assert (found.level, found.said) == ("failure", "seq 3, broken: its signature is wrong")
        assert "publish the next seq, signed: `loglineos seed`" in found.remedy
        assert ward.find("signing of rows").level == "failure"
    assert ward.find("kernel memory_store_kernel").level == "ok"


def test_no_trusted_key_is_a_warning(ward: Ward) -> None:
    found = ward.find("signing of rows", TRUSTED_ROW_KEYS="")
    assert (found.level, "-c trusted_row_keys=HEX" in found.remedy) == ("warning", True)


def test_migrations_that_are_pending_or_ahead(ward: Ward) -> None:
    last = f"'{read_migrations(asset_directory('migrations'))[-1].name}'"
    row = ward.ledger.execute("postgres", f"SELECT sha256 FROM app.schema_migration WHERE name = {last}")[0]["sha256"]
    again = f"INSERT INTO app.schema_migration VALUES ({last}, '{row}', 'pre', false)"
    with broken(ward, f"DELETE FROM app.schema_migration WHERE name = {last}", again):
        found = ward.find("migrations")
        assert (found.level, found.remedy) == ("failure", "Run `loglineos migrate`.")
    ahead = "INSERT INTO app.schema_migration VALUES ('0999_later.sql', 'x', 'pre', false)"
    with broken(ward, ahead, "DELETE FROM app.schema_migration WHERE name = '0999_later.sql'"):
        assert ward.find("migrations").level == "warning"
        assert ward.find("schema").level == "unknown"


def test_requests_that_wait_or_died(ward: Ward) -> None:
    ana = Identity("ana", "acme")
    put(ward.ledger, sealed(ana, entity_type="request", status="scheduled", at="2026-01-01T00:00:00Z"))
    put(ward.ledger, sealed(ana, entity_type="request", status="dead", at=now()))
    assert "`loglineos boot request_worker_kernel`" in ward.find("queue").remedy
    dead = ward.find("dead requests")
    assert (dead.level, dead.said) == ("warning", "1 in the last 24 h, 1 in all")
    assert "`loglineos queue` names them" in dead.remedy
    ward.break_("DELETE FROM ledger_idx.pending")


def test_a_policy_that_waits_for_its_turn(ward: Ward) -> None:
    with broken(
        ward,
        "UPDATE ledger_idx.policy SET ran_at = now() - interval '2 hours'",
        "UPDATE ledger_idx.policy SET ran_at = now()",
    ):
        found = ward.find("policies")
        assert (found.level, "slow_exec_policy (2 h)" in found.said) == ("warning", True), found
        assert "`loglineos boot policy_agent_kernel`" in found.remedy


def test_what_was_reported_is_shown_with_the_command_that_reads_it(ward: Ward) -> None:
    assert ward.find("alerts of the day").level == "ok"
    alert = sealed(Identity("system", "system"), entity_type="security_alert", at=now(), this="a kernel")
    put(ward.ledger, alert, sealed(Identity("ana", "acme"), entity_type="error_report", at=now()))
    found = ward.find("security_alert of the day")
    assert (found.level, found.said) == ("failure", "1, the newest: a kernel")
    assert f"--param '\"{alert.id}\"'" in found.remedy
    assert ward.find("error_report of the day").level == "warning"


def test_a_checkpoint_that_is_old_or_forged(ward: Ward) -> None:
    facts = ward.facts()
    late = replace(facts, now=facts.now + timedelta(minutes=45))
    (found,) = [finding for finding in run_checks(late) if finding.check == "checkpoint"]
    assert (found.level, found.remedy) == ("warning", "Seal now: `loglineos checkpoint`.")
    late = replace(facts, now=facts.now + timedelta(hours=3))
    (found,) = [finding for finding in run_checks(late) if finding.check == "checkpoint"]
    assert found.level == "failure"
    checkpoint = derived_id("checkpoint", ORIGIN)
    forged = f"""SET session_replication_role = replica; ALTER TABLE {REGISTRY} DISABLE TRIGGER ALL;
        UPDATE {REGISTRY} SET who = reverse(who) WHERE id = '{checkpoint}';
        ALTER TABLE {REGISTRY} ENABLE TRIGGER ALL;
        ALTER TABLE {REGISTRY} ENABLE ALWAYS TRIGGER ur_append_only, ENABLE ALWAYS TRIGGER ur_append_only_row,
          ENABLE ALWAYS TRIGGER ur_guard_insert"""
    with broken(ward, forged, forged):
        found = ward.find("checkpoint")
        assert (found.level, "`loglineos fsck --key KEY --log LOG`" in found.remedy) == ("failure", True), found


def test_a_replica_that_follows_the_database_before_a_restore(ward: Ward) -> None:
    event = {"action": "xray", "sections": ["pulse", "queue"]}
    with copied_database(ward.ledger.server) as other:
        assert answer({"action": "era", "reason": "PITR"}, other.environment)["ok"]
        replica = {"READONLY_DATABASE_URL": other.url("readonly")}
        told = replace(ward.facts(), xray=answer(event, ward.ledger.environment | replica)["xray"])
    (found,) = (finding for finding in run_checks(told) if finding.check == "replica")
    assert found.level == "failure"
    assert found.said == "reports are read from a database in era 2, and the ledger is in era 1"
    assert "docs/runbooks/restore.md" in found.remedy


def test_a_ledger_that_cannot_be_reached(ward: Ward) -> None:
    facts = ward.facts(DATABASE_URL="postgresql://postgres:hunter2@127.0.0.1:1/x")
    assert facts.unreachable
    found = {finding.check: finding for finding in run_checks(facts)}
    assert found["database"].level == "failure"
    assert "`loglineos status`" in found["database"].remedy
    assert "hunter2" not in str(found)
