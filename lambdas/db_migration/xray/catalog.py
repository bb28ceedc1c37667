"""What PostgreSQL's catalog says of the ledger's schemas and roles, and how that differs from what the migrations make.

`migrations/catalog.json` is the catalog of a fresh database of this release. `python -m loglineos.xray.expected`
writes it again after a migration was added; a test compares.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any, Final, LiteralString

from ledger.settings import asset_directory

from .reader import Reader, Section

EXPECTED: Final = "catalog.json"
LOGIN: Final = "<login>"  # who migrates: `postgres` on RDS, whatever its name elsewhere
Catalog = dict[str, dict[str, Any]]

# Ours, by name; `pg_temp` and PostgreSQL's own are not.
_TABLES: Final[LiteralString] = """
SELECT c.oid::regclass::text AS name, c.relkind::text AS kind, c.relrowsecurity AS row_security,
       c.relforcerowsecurity AS forced, pg_get_userbyid(c.relowner) AS owner,
       coalesce((SELECT array_agg(o ORDER BY o) FROM unnest(c.reloptions) o), '{}') AS options,
       (SELECT array_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
                         || CASE WHEN a.attnotnull AND c.relkind = 'r' THEN ' not null' ELSE '' END
                         || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '') ORDER BY a.attnum)
          FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname IN ('ledger', 'ledger_idx', 'app') AND c.relkind IN ('r', 'v', 'm', 'p', 'f', 'S')
"""
_INDEXES: Final[LiteralString] = """
SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS definition, i.indisvalid AS valid
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname IN ('ledger', 'ledger_idx', 'app')
"""
# Version 18 keeps NOT NULL here as well ('n'); the columns say it in every version.
_CONSTRAINTS: Final[LiteralString] = """
SELECT k.conrelid::regclass::text || ' ' || k.conname AS name, pg_get_constraintdef(k.oid) AS definition,
       k.convalidated AS valid
  FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
 WHERE n.nspname IN ('ledger', 'ledger_idx', 'app') AND k.contype <> 'n'
"""
_TRIGGERS: Final[LiteralString] = """
SELECT t.tgrelid::regclass::text || ' ' || t.tgname AS name, pg_get_triggerdef(t.oid) AS definition,
       CASE t.tgenabled WHEN 'A' THEN 'always' WHEN 'O' THEN 'on' WHEN 'D' THEN 'disabled' ELSE 'replica' END AS enabled
  FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname IN ('ledger', 'ledger_idx', 'app') AND NOT t.tgisinternal
"""
_FUNCTIONS: Final[LiteralString] = """
SELECT p.oid::regprocedure::text AS name, pg_get_userbyid(p.proowner) AS owner, p.prosecdef AS definer,
       coalesce((SELECT array_agg(c ORDER BY c) FROM unnest(p.proconfig) c), '{}') AS settings,
       p.provolatile::text AS volatile, l.lanname AS language, p.prosrc AS source
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
 WHERE n.nspname IN ('ledger', 'ledger_idx', 'app')
"""
_POLICIES: Final[LiteralString] = """
SELECT p.polrelid::regclass::text || ' ' || p.polname AS name, p.polcmd::text AS command, p.polpermissive AS permissive,
       (SELECT array_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(r) END ORDER BY 1)
          FROM unnest(p.polroles) r) AS roles,
       pg_get_expr(p.polqual, p.polrelid) AS reads, pg_get_expr(p.polwithcheck, p.polrelid) AS writes
  FROM pg_policy p
"""
_GRANTS: Final[LiteralString] = """
WITH objects AS (
  SELECT 'relation ' || c.oid::regclass::text AS name,
         coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner)) AS acl,
         c.relowner AS owner
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE n.nspname IN ('ledger', 'ledger_idx', 'app') AND c.relkind IN ('r', 'v', 'm', 'p', 'f', 'S')
  UNION ALL
  SELECT 'column ' || a.attrelid::regclass::text || '.' || a.attname, a.attacl, c.relowner
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE n.nspname IN ('ledger', 'ledger_idx', 'app') AND a.attacl IS NOT NULL
  UNION ALL
  SELECT 'function ' || p.oid::regprocedure::text, coalesce(p.proacl, acldefault('f', p.proowner)), p.proowner
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname IN ('ledger', 'ledger_idx', 'app')
  UNION ALL
  SELECT 'schema ' || n.nspname, coalesce(n.nspacl, acldefault('n', n.nspowner)), n.nspowner
    FROM pg_namespace n WHERE n.nspname IN ('ledger', 'ledger_idx', 'app')
  UNION ALL
  SELECT 'schema public', array_agg(a.acl), n.nspowner FROM pg_namespace n, unnest(n.nspacl) a(acl)
   WHERE n.nspname = 'public' AND a.acl::text ~ '^(admin|lambda_exec|readonly)=' GROUP BY n.nspowner
  UNION ALL
  SELECT 'database', coalesce(d.datacl, acldefault('d', d.datdba)), d.datdba
    FROM pg_database d WHERE d.datname = current_database()
)
SELECT o.name || ': ' || CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END AS name,
       string_agg(a.privilege_type || CASE WHEN a.is_grantable THEN '*' ELSE '' END, ' '
                  ORDER BY a.privilege_type) AS privileges
  FROM objects o CROSS JOIN LATERAL aclexplode(o.acl) a
 WHERE a.grantee <> o.owner GROUP BY 1
"""
_ROLES: Final[LiteralString] = """
SELECT r.rolname AS name, r.rolsuper AS superuser, r.rolbypassrls AS bypasses_policies,
       r.rolcreaterole AS creates_roles, r.rolcreatedb AS creates_databases, r.rolreplication AS replicates,
       r.rolcanlogin AS signs_in,
       coalesce((SELECT array_agg(g.rolname ORDER BY 1) FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
                  WHERE m.member = r.oid AND g.rolname <> 'rds_iam'), '{}') AS member_of,
       coalesce((SELECT array_agg(DISTINCT g.rolname ORDER BY g.rolname) FROM pg_auth_members m
                   JOIN pg_roles g ON g.oid = m.member WHERE m.roleid = r.oid), '{}') AS members,
       coalesce((SELECT array_agg(s ORDER BY 1) FROM pg_db_role_setting d, unnest(d.setconfig) s
                  WHERE d.setrole = r.oid), '{}') AS settings
  FROM pg_roles r WHERE r.rolname IN ('admin', 'lambda_exec', 'readonly')
"""
_KINDS: Final[dict[str, LiteralString]] = {
    "table": _TABLES, "index": _INDEXES, "constraint": _CONSTRAINTS, "trigger": _TRIGGERS,
    "function": _FUNCTIONS, "row-level policy": _POLICIES, "grant": _GRANTS, "role": _ROLES,
}  # fmt: skip


def read_catalog(reader: Reader, login: str) -> Catalog:
    """By kind and name. `login` is who migrates: its name is no difference. Readable by every role."""
    return {kind: _named(reader.rows(sql), login) for kind, sql in _KINDS.items()}


def _named(rows: list[dict[str, Any]], login: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for row in rows:
        if "source" in row:
            row["source"] = hashlib.sha256(row["source"].encode()).hexdigest()
        name = row.pop("name")
        if name.endswith(f": {login}"):
            name = f"{name.removesuffix(login)}{LOGIN}"
        found[name] = {key: _anonymous(value, login) for key, value in row.items()}
    return found


def _anonymous(value: Any, login: str) -> Any:
    if isinstance(value, list):
        return [_anonymous(item, login) for item in value]
    return LOGIN if value == login else value


def expected_catalog() -> Catalog:
    """Of this release's migrations."""
    catalog: Catalog = json.loads((asset_directory("migrations") / EXPECTED).read_text(encoding="utf-8"))
    return catalog


def differences(found: Catalog, expected: Catalog) -> list[dict[str, Any]]:
    """`kind`, `name`, `what` (missing, beyond the release, or the field that differs), `expected` and `found`."""
    return [one for kind in _KINDS for one in _compared(kind, found.get(kind, {}), expected.get(kind, {}))]


def _compared(kind: str, found: dict[str, Any], expected: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in sorted(found.keys() | expected.keys()):
        if name not in found:
            yield {"kind": kind, "name": name, "what": "missing", "expected": expected[name], "found": None}
        elif name not in expected:
            yield {"kind": kind, "name": name, "what": "beyond the release", "expected": None, "found": found[name]}
        else:
            for field, value in expected[name].items():
                if found[name].get(field) != value:
                    yield {"kind": kind, "name": name, "what": field, "expected": value,
                           "found": found[name].get(field)}  # fmt: skip


def structure(reader: Reader, login: str) -> Section:
    """The catalog, and its `differences` from this release's."""
    found = read_catalog(reader, login)
    return {"catalog": found, "differences": differences(found, expected_catalog())}
