"""Restore a backup into an empty database: all of it, proved while it is loaded, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql

from db_migration.migrations import Migration, migrate, read_migrations
from db_migration.queue import rebuild_queue
from ledger.connection import Connection, Target, connect
from ledger.settings import asset_directory

from .check import Checker, Findings
from .errors import BackupDamaged, BackupFailed
from .files import read_lines
from .guard import lifted
from .manifest import Backup, Manifest, read_chain
from .target import raise_clear, require_empty

_LOCK: Final[LiteralString] = "LOCK TABLE ledger.universal_registry IN ACCESS EXCLUSIVE MODE"
_COUNT: Final[LiteralString] = "SELECT count(*) AS count FROM ledger.universal_registry"
_FORGET_ERAS: Final[LiteralString] = "DELETE FROM ledger_idx.era"
_ADD_ERA: Final[LiteralString] = "INSERT INTO ledger_idx.era (era, started_at, reason) VALUES (%s, %s, %s)"
_BEGIN_ERA: Final[LiteralString] = """
INSERT INTO ledger_idx.era (era, reason) SELECT max(e.era) + 1, %s FROM ledger_idx.era e RETURNING era
"""
_SET_POSITION: Final[LiteralString] = """
SELECT setval('ledger.position', coalesce(max(r.position), 1), max(r.position) IS NOT NULL)
  FROM ledger.universal_registry r
"""


@dataclass(frozen=True)
class Restored:
    """What a restore came to. `era` is the one that begins after it, `rebuilt` says how far the indexes were off,
    `findings` what is wrong with the spans that were loaded nevertheless."""

    manifest: Manifest
    sha256: str
    spans: int
    signed: int
    era: int
    migrations: list[str]
    rebuilt: list[dict[str, Any]]
    findings: Findings


def restore_backup(
    folder: Path, target: Target, *, tell: Callable[[int, int], None], with_findings: bool = False
) -> Restored:
    """Migrate an empty database and load all backups of a folder into it.

    Args:
        folder: a full backup, and the incremental ones after it.
        target: a login that owns the database and may create roles, as for `migrate`. No superuser is needed.
        tell: is told how many spans are loaded, of how many.
        with_findings: load spans that are not what they were, too, and name them. Files that were changed are refused
            all the same.

    Raises:
        NotEmpty: names what is in the database.
        BackupDamaged: what is wrong with the backup; the database has the schema now, and nothing in it.
        BackupFailed: a newer release made the backup.
        MigrationFailed, LedgerUnavailable, QueryFailed
    """
    chain = read_chain(folder)
    last = chain[-1].manifest
    migrations = read_migrations(asset_directory("migrations"))
    _require_known(last, migrations)
    findings = Findings() if with_findings else None
    connection = connect(target)
    try:
        require_empty(connection)
        migrate(connection, migrations)
        with connection.transaction():
            restored = _load(connection, folder, chain, tell, findings)
        with connection.transaction():
            connection.execute("SET LOCAL ROLE admin")
            connection.execute("ANALYZE ledger.universal_registry")
        return restored
    except psycopg.Error as error:
        raise_clear(error)
    finally:
        connection.close()


def _load(
    connection: Connection,
    folder: Path,
    chain: Sequence[Backup],
    tell: Callable[[int, int], None],
    findings: Findings | None,
) -> Restored:
    connection.execute("SET LOCAL ROLE admin")
    connection.execute(_LOCK)
    require_empty(connection)  # nobody has been quicker
    last = chain[-1].manifest
    report = _raise_finding if findings is None else findings.add
    checker = Checker(report, [one.manifest.checkpoint for one in chain if one.manifest.checkpoint])
    with lifted(connection):
        for backup in chain:
            _copy(connection, folder, backup.manifest, checker, lambda done: tell(done, last.total))
    checker.finish()
    counted = connection.execute(_COUNT).fetchall()[0]["count"]
    if counted != last.total:
        raise BackupFailed(f"the database took {counted} of {last.total} spans: nothing was restored")
    connection.execute(_SET_POSITION)
    return Restored(
        manifest=last,
        sha256=chain[-1].sha256,
        spans=counted,
        signed=checker.signed,
        era=_next_era(connection, chain[-1]),
        migrations=[row.name for row in last.migrations],
        rebuilt=rebuild_queue(connection)["rebuilt"],
        findings=findings or Findings(),
    )


def _copy(
    connection: Connection, folder: Path, manifest: Manifest, checker: Checker, tell: Callable[[int], None]
) -> None:
    """A COPY for each chunk, so that the triggers which keep the indexes have little to remember."""
    statement = sql.SQL("COPY ledger.universal_registry ({}) FROM STDIN").format(
        sql.SQL(", ").join(map(sql.Identifier, manifest.columns))
    )
    cursor = connection.cursor()
    for lines in checker.pass_on(manifest, read_lines(folder, manifest.file)):
        if lines:
            with cursor.copy(statement) as copy:
                copy.write(b"\n".join([*lines, b""]))
            tell(checker.total)


def _next_era(connection: Connection, backup: Backup) -> int:
    """Transaction ids of the old cluster mean nothing in this one: what is appended from now on comes after all."""
    connection.execute(_FORGET_ERAS)
    for row in backup.manifest.eras:
        connection.execute(_ADD_ERA, [row.era, row.started_at, row.reason])
    reason = f"restored from the backup of {backup.manifest.taken_at:%Y-%m-%dT%H:%M:%SZ}, SHA-256 {backup.sha256}"
    return int(connection.execute(_BEGIN_ERA, [reason]).fetchall()[0]["era"])


def _require_known(manifest: Manifest, migrations: Sequence[Migration]) -> None:
    known = {migration.name: migration.sha256 for migration in migrations}
    for row in manifest.migrations:
        if known.get(row.name) != row.sha256:
            state = "has another" if row.name in known else "does not have the"
            raise BackupFailed(
                f"this release {state} migration {row.name} of the backup, which release {manifest.release} made:"
                " restore with that release or a newer one"
            )


def _raise_finding(finding: BackupDamaged) -> None:
    raise BackupDamaged(
        finding.file,
        f"{finding.reason}. Nothing was restored: take a backup that `backup verify` finds whole, or `restore"
        " --with-findings`, which loads this one as it is and lists what is wrong",
        finding.span,
    )
