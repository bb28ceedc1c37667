"""A fresh run and an upgrade from any earlier state end in the same schema."""

from __future__ import annotations

import pytest

from db_migration.migrations import migrate, read_migrations
from ledger.settings import asset_directory
from loglineos.local.postgres import Server
from tests.conftest import TestLedger
from tests.ledger.kit import copied_database

OURS = read_migrations(asset_directory("migrations"))
NAMESPACES = "(SELECT oid FROM pg_namespace WHERE nspname IN ('ledger', 'ledger_idx', 'app', 'public'))"
# Everything that the schema consists of, as text, without what differs by chance (oids, times).
CATALOGUE = {
    "schemas": f"SELECT nspname, nspowner::regrole, nspacl::text FROM pg_namespace WHERE oid IN {NAMESPACES}",
    "relations": f"""
        SELECT oid::regclass, relkind, relowner::regrole, relacl::text, relrowsecurity, relforcerowsecurity,
               reloptions, relpersistence, obj_description(oid, 'pg_class')
          FROM pg_class WHERE relnamespace IN {NAMESPACES}""",
    "columns": f"""
        SELECT attrelid::regclass, attnum, attname, format_type(atttypid, atttypmod), attnotnull, attacl::text,
               pg_get_expr(d.adbin, d.adrelid), attidentity, attgenerated, attcollation::regcollation
          FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid AND relnamespace IN {NAMESPACES}
          LEFT JOIN pg_attrdef d ON d.adrelid = attrelid AND d.adnum = attnum WHERE attnum > 0""",
    "constraints": f"""
        SELECT conrelid::regclass, conname, pg_get_constraintdef(oid), convalidated
          FROM pg_constraint WHERE connamespace IN {NAMESPACES}""",
    "indexes": f"""
        SELECT pg_get_indexdef(indexrelid), indisvalid, indisunique, indisprimary FROM pg_index
          JOIN pg_class c ON c.oid = indrelid AND relnamespace IN {NAMESPACES}""",
    "functions": f"""
        SELECT pg_get_functiondef(oid), proowner::regrole, proacl::text FROM pg_proc
         WHERE pronamespace IN {NAMESPACES} AND prolang <> (SELECT oid FROM pg_language WHERE lanname = 'c')
           AND prokind = 'f'""",
    "triggers": """
        SELECT pg_get_triggerdef(oid), tgenabled FROM pg_trigger WHERE NOT tgisinternal""",
    "policies": """
        SELECT polrelid::regclass, polname, polcmd, polpermissive, pg_get_expr(polqual, polrelid),
               pg_get_expr(polwithcheck, polrelid), polroles::regrole[]::text FROM pg_policy""",
    "views": f"""
        SELECT oid::regclass, pg_get_viewdef(oid) FROM pg_class
         WHERE relkind = 'v' AND relnamespace IN {NAMESPACES}""",
    "extensions": "SELECT extname, extnamespace::regnamespace FROM pg_extension",
    "database": "SELECT datacl::text, datdba::regrole FROM pg_database WHERE datname = current_database()",
    "roles": """
        SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolbypassrls, rolconfig
          FROM pg_roles WHERE rolname IN ('admin', 'lambda_exec', 'readonly', 'postgres')""",
    "memberships": "SELECT roleid::regrole, member::regrole, inherit_option, set_option FROM pg_auth_members",
    "eras": "SELECT era, reason FROM ledger_idx.era",
}  # fmt: skip


def schema(ledger: TestLedger) -> dict[str, list[str]]:
    with ledger.connect("rdsadmin") as connection:
        connection.execute("SET search_path = pg_catalog")
        return {
            name: sorted(
                str(row["line"]) for row in connection.execute(f"SELECT t::text AS line FROM ({sql}) t".encode())
            )
            for name, sql in CATALOGUE.items()
        }


@pytest.fixture(scope="module")
def fresh(cluster: Server) -> dict[str, list[str]]:
    with copied_database(cluster, "template1") as ledger:
        with ledger.connect("postgres") as connection:
            migrate(connection, OURS)
        return schema(ledger)


def test_the_catalogue_sees_what_a_migration_makes(fresh: dict[str, list[str]]) -> None:
    for name, lines in fresh.items():
        assert lines, name
    assert len(fresh["policies"]) >= 5
    assert len(fresh["functions"]) >= 9


@pytest.mark.parametrize("count", range(1, len(OURS)))
def test_an_upgrade_from_an_earlier_state_ends_in_the_same_schema(
    fresh: dict[str, list[str]], empty: TestLedger, count: int
) -> None:
    for files in (OURS[:count], OURS):
        with empty.connect("postgres") as connection:
            migrate(connection, files)
    assert schema(empty) == fresh
