"""Writes `migrations/catalog.json`: the catalog of a database that this release's migrations have just made.

    python -m loglineos.xray.expected

Run it after adding a migration, and read the difference: it is what `loglineos xray` will expect everywhere.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from db_migration.handler import answer
from db_migration.xray.catalog import EXPECTED, Catalog, read_catalog
from db_migration.xray.reader import Reader
from ledger.connection import Target
from loglineos.local.postgres import LocalPostgres
from loglineos.local.stack import ROOT


def catalog_of(url: str) -> Catalog:
    """Of the database that the URL's login has migrated."""
    target = Target(role=None, url=url)
    reader = Reader(target)
    try:
        login = reader.row("SELECT session_user::text AS login")["login"]
        return read_catalog(reader, login)
    finally:
        reader.close()


def as_text(catalog: Catalog) -> str:
    """One item a line, so that a difference can be read."""
    kinds = []
    for kind, items in catalog.items():
        lines = [f"    {json.dumps(name)}: {json.dumps(items[name], sort_keys=True)}" for name in sorted(items)]
        kinds.append(f"  {json.dumps(kind)}: {{\n" + ",\n".join(lines) + "\n  }")
    return "{\n" + ",\n".join(kinds) + "\n}\n"


def write(path: Path = ROOT / "migrations" / EXPECTED) -> None:
    """Make a database, migrate it, and write what is there then."""
    directory = Path(tempfile.mkdtemp(prefix="loglineos-catalog-"))
    directory.chmod(0o755)
    postgres = LocalPostgres(directory, durable=False)
    try:
        url = postgres.start().url()
        migrated = answer({"action": "migrate"}, {"DATABASE_URL": url})
        if not migrated["ok"]:
            raise SystemExit(migrated["error"]["message"])
        path.write_text(as_text(catalog_of(url)), encoding="utf-8")
    finally:
        postgres.remove()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    write()
