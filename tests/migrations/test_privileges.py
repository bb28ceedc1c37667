"""The runtime roles can do what the ledger needs of them and nothing else; the lists are written by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import psycopg
import pytest

from db_migration.handler import answer
from loglineos.local.postgres import Server
from tests.conftest import ALICE, TestLedger
from tests.ledger.kit import acting, ask, copied_database, session

REGISTRY = "ledger.universal_registry"
OUTSIDE_A_BLOCK = ("CREATE DATABASE", "ALTER SYSTEM")
ATTEMPTS = [
    "SET ROLE admin",
    "SET ROLE postgres",
    "SET ROLE rdsadmin",
    "SELECT set_config('role', 'admin', true)",
    "SET SESSION AUTHORIZATION admin",
    "SET session_replication_role = replica",
    "SET row_security = off; SELECT count(*) FROM ledger.universal_registry; SET ROLE admin",
    "GRANT admin TO CURRENT_USER",
    "ALTER ROLE CURRENT_USER BYPASSRLS",
    "CREATE ROLE helper",
    "CREATE DATABASE other",
    "SELECT * FROM ledger_idx.era",
    "SELECT * FROM ledger_idx.usage",
    "SELECT * FROM ledger_idx.refusal",
    "SELECT * FROM ledger_idx.policy",
    "UPDATE ledger_idx.policy SET ran_at = 'infinity'",
    "SELECT * FROM ledger_idx.latest_policy",
    "SELECT * FROM ledger_idx.pending",
    "SELECT * FROM ledger_idx.unfinished_request",
    "SELECT * FROM ledger_idx.dead_request",
    "SELECT * FROM ledger_idx.schedule",
    "SELECT * FROM ledger_idx.scheduled_function",
    "SELECT * FROM ledger_idx.running",
    "SELECT * FROM ledger_idx.turn",
    "DELETE FROM ledger_idx.pending",
    "SELECT ledger.rebuild_pending()",
    "SELECT ledger.rebuild_schedule()",
    "INSERT INTO ledger_idx.era (era, reason) VALUES (9, 'x')",
    "UPDATE ledger_idx.usage SET used = 0",
    "DELETE FROM ledger_idx.refusal",
    "SELECT * FROM app.schema_migration",
    "SELECT nextval('ledger.position')",
    "SELECT setval('ledger.position', 1)",
    "SELECT last_value FROM ledger.position",
    "SELECT ledger.guard_insert()",
    "SELECT ledger.refuse_change()",
    "CREATE TABLE public.mine (a int)",
    "CREATE TABLE ledger.mine (a int)",
    "CREATE TABLE ledger_idx.mine (a int)",
    "CREATE TABLE app.mine (a int)",
    "CREATE TEMP TABLE mine (a int)",
    "CREATE TEMP VIEW universal_registry AS SELECT 1",
    "CREATE SCHEMA mine",
    "CREATE FUNCTION public.lower(text) RETURNS text LANGUAGE sql AS 'SELECT $1'",
    "CREATE OR REPLACE FUNCTION ledger.is_latest(uuid, integer) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
    "CREATE EXTENSION hstore",
    f"ALTER TABLE {REGISTRY} DISABLE TRIGGER ALL",
    f"ALTER TABLE {REGISTRY} NO FORCE ROW LEVEL SECURITY",
    f"CREATE POLICY mine ON {REGISTRY} USING (true)",
    f"DROP POLICY ur_insert_policy ON {REGISTRY}",
    f"CREATE TRIGGER mine BEFORE INSERT ON {REGISTRY} FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change()",
    f"CREATE RULE mine AS ON INSERT TO {REGISTRY} DO INSTEAD NOTHING",
    f"CREATE INDEX mine ON {REGISTRY} (id)",
    f"DROP TABLE {REGISTRY}",
    f"LOCK TABLE {REGISTRY} IN ACCESS EXCLUSIVE MODE",
    f"COPY {REGISTRY} TO PROGRAM 'cat'",
    f"COPY {REGISTRY} TO '/tmp/stolen'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'",
    "ALTER SYSTEM SET fsync = off",
]


@pytest.fixture(scope="module")
def migrated(cluster: Server) -> Iterator[TestLedger]:
    """Migrated itself: a copy of a database does not have its grants on the database."""
    with copied_database(cluster, "template1") as ledger:
        assert answer({"action": "migrate"}, ledger.environment)["ok"]
        yield ledger


@pytest.mark.parametrize("statement", ATTEMPTS)
@pytest.mark.parametrize("role", ["lambda_exec", "readonly"])
def test_a_runtime_role_is_not_allowed(migrated: TestLedger, role: str, statement: str) -> None:
    with session(migrated, "postgres"), migrated.connect(role) as connection:
        connection.execute("SET default_transaction_read_only = off")
        in_block = connection.transaction() if not statement.startswith(OUTSIDE_A_BLOCK) else nullcontext()
        with pytest.raises(psycopg.errors.InsufficientPrivilege), in_block:
            connection.execute(statement.encode())


# Every function of ours, and which of the runtime roles may call it.
FUNCTIONS = {
    "ledger.current_era": {"lambda_exec", "readonly"},
    "ledger.is_latest": {"lambda_exec", "readonly"},
    "ledger.last_position": {"readonly"},
    "ledger.timeline": {"lambda_exec"},
    "ledger.fold": {"lambda_exec"},
    "ledger.search_memory": {"lambda_exec"},
    "ledger.indexed_matches": set[str](),
    "ledger.memory_score": set[str](),
    "ledger.spend_quota": {"lambda_exec"},
    "ledger.count_refusal": {"lambda_exec"},
    "ledger.invitation_owner": {"lambda_exec"},
    "ledger.device_for_token": {"lambda_exec"},
    "ledger.take_policy": {"lambda_exec"},
    "ledger.find_policy": {"lambda_exec"},
    "ledger.policy_ran": {"lambda_exec"},
    "ledger.committed_after": {"lambda_exec"},
    "ledger.rebuild_policies": set[str](),
    "ledger_idx.follow_policy": set[str](),
    "ledger.claim_request": {"lambda_exec"},
    "ledger.claim_due_function": {"lambda_exec"},
    "ledger.function_observed": {"lambda_exec"},
    "ledger.begin_run": {"lambda_exec"},
    "ledger.end_run": {"lambda_exec"},
    "ledger.quota_used": {"lambda_exec"},
    "ledger.rebuild_pending": set[str](),
    "ledger.rebuild_schedule": set[str](),
    "ledger.use_token": {"lambda_exec"},
    "ledger.count_open_call": {"lambda_exec"},
    "ledger.recent_counts": {"lambda_exec"},
    "ledger.guard_insert": set[str](),
    "ledger.refuse_change": set[str](),
    "ledger_idx.instant": set[str](),
    "ledger_idx.attempts": set[str](),
    "ledger_idx.follow_request": set[str](),
    "ledger_idx.follow_function": set[str](),
}
OURS = "n.nspname IN ('ledger', 'ledger_idx', 'app')"


def test_each_function_may_be_called_by_whom_the_list_says(migrated: TestLedger) -> None:
    rows = ask(
        migrated,
        "readonly",
        f"""SELECT n.nspname || '.' || p.proname AS name, r.rolname AS role
              FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace AND {OURS}
              LEFT JOIN pg_roles r ON r.rolname IN ('lambda_exec', 'readonly')
                                  AND has_function_privilege(r.oid, p.oid, 'EXECUTE')""",
    )
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row["name"], set()).update({row["role"]} - {None})
    assert found == FUNCTIONS


def test_nothing_of_ours_is_open_to_public(migrated: TestLedger) -> None:
    # A role without any grant of its own has what PUBLIC has.
    rows = ask(
        migrated,
        "rdsadmin",
        f"""SELECT p.oid::regprocedure::text AS thing FROM pg_proc p
              JOIN pg_namespace n ON n.oid = p.pronamespace AND {OURS}
             CROSS JOIN aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0
            UNION ALL
            SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND {OURS}
             CROSS JOIN aclexplode(c.relacl) a WHERE a.grantee = 0
            UNION ALL
            SELECT n.nspname FROM pg_namespace n CROSS JOIN aclexplode(n.nspacl) a WHERE a.grantee = 0 AND {OURS}
            UNION ALL
            SELECT d.datname FROM pg_database d CROSS JOIN aclexplode(d.datacl) a
             WHERE a.grantee = 0 AND d.datname = current_database()""",
    )
    assert rows == []


def test_definer_functions_fix_their_search_path_and_belong_to_admin(migrated: TestLedger) -> None:
    rows = ask(
        migrated,
        "readonly",
        f"""SELECT p.proname, p.proowner::regrole::text AS owner, p.proconfig FROM pg_proc p
              JOIN pg_namespace n ON n.oid = p.pronamespace AND {OURS} WHERE p.prosecdef""",
    )
    assert {row["proname"] for row in rows} == {
        "current_era", "is_latest", "last_position", "search_memory", "spend_quota", "count_refusal", "guard_insert",
        "invitation_owner", "device_for_token",
        "take_policy", "find_policy", "policy_ran", "committed_after", "follow_policy",
        "follow_request", "follow_function", "claim_request", "claim_due_function", "function_observed",
        "begin_run", "end_run", "quota_used",
        "use_token", "count_open_call",
    }  # fmt: skip
    for row in rows:
        assert row["owner"] == "admin", row
        assert "search_path=pg_catalog, pg_temp" in row["proconfig"], row


def test_each_relation_grants_what_the_list_says(migrated: TestLedger) -> None:
    rows = ask(
        migrated,
        "readonly",
        f"""SELECT c.oid::regclass::text AS name, r.rolname AS role, string_agg(p.p, ' ' ORDER BY p.p) AS may
              FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND {OURS}
             CROSS JOIN unnest(ARRAY['SELECT','INSERT','UPDATE','DELETE','TRUNCATE','REFERENCES','TRIGGER']) p(p)
              JOIN pg_roles r ON r.rolname IN ('lambda_exec', 'readonly')
             WHERE c.relkind IN ('r', 'v') AND has_table_privilege(r.oid, c.oid, p.p) GROUP BY 1, 2""",
    )
    assert {(row["name"], row["role"]): row["may"] for row in rows} == {
        ("ledger.universal_registry", "lambda_exec"): "INSERT SELECT",
        ("ledger.universal_registry", "readonly"): "SELECT",
        ("ledger.visible_timeline", "lambda_exec"): "SELECT",
        ("ledger.visible_timeline", "readonly"): "SELECT",
        ("ledger.current_span", "lambda_exec"): "SELECT",
        ("ledger.current_span", "readonly"): "SELECT",
    }


def test_no_login_of_the_ledger_is_a_superuser_or_passes_by_its_policies(migrated: TestLedger) -> None:
    rows = ask(
        migrated,
        "readonly",
        "SELECT rolname FROM pg_roles WHERE rolname IN ('admin', 'postgres', 'lambda_exec', 'readonly')"
        " AND NOT rolsuper AND NOT rolbypassrls AND NOT rolreplication",
    )
    assert len(rows) == 4


def test_readonly_writes_nothing_even_where_it_would_be_allowed(migrated: TestLedger) -> None:
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), acting(migrated, "readonly", ALICE) as connection:
        connection.execute("SELECT lo_from_bytea(0, 'x')")
