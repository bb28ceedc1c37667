"""The recovery drill (manual 9.4): restore a backup into a cluster of its own, prove it, use it, measure, remove it."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, LiteralString

from nacl.signing import SigningKey

from ledger.connection import Target, connect
from ledger.keys import Use
from ledger.proof import public_key_of
from ledger.storage import Storage
from loglineos.backend import InProcessBackend
from loglineos.caller import Caller, place_of
from loglineos.fsck import Plan, fsck
from loglineos.local.postgres import LocalPostgres
from loglineos.local.stack import LocalStack
from tlog.note import NoteKey

from .errors import BackupFailed
from .manifest import read_chain
from .restore import Restored, restore_backup
from .take import take_backup
from .verify import verify_backup

PROMPT_FETCH: Final = "00000000-0000-4000-8000-000000000006"
_WELCOME: Final = {"name": "welcome_message", "variables": {"user_name": "the drill"}}
_MANIFEST_KEY: Final[LiteralString] = """
SELECT public_key FROM ledger.universal_registry WHERE entity_type = 'manifest' AND visibility = 'public'
 ORDER BY era DESC, xid DESC, position DESC LIMIT 1
"""

Progress = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]


@dataclass(frozen=True)
class Log:
    """Where a log is, and whose checkpoints of it count."""

    storage: Storage
    keys: Sequence[NoteKey]


@dataclass
class Report:
    """What the drill came to. Times are seconds; `data_loss_s` is how old the backup was when the drill began (RPO),
    `recovery_s` what it took from a backup at hand to a boot (RTO)."""

    began: str
    ok: bool = False
    problem: str | None = None
    backup: str = ""
    sha256: str = ""
    postgresql: str = ""
    spans: int = 0
    signed: int = 0
    era: int = 0
    seeded: int = 0
    data_loss_s: float = 0.0
    recovery_s: float = 0.0
    spans_per_s: float = 0.0
    steps: dict[str, float] = field(default_factory=dict)

    def described(self) -> dict[str, Any]:
        """For scripts."""
        return asdict(self)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure a part of it."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.steps[name] = round(time.monotonic() - began, 2)


def run_drill(
    folder: Path | None, source: Target | None, place: Path, progress: Progress, report: Report, log: Log | None = None
) -> None:
    """Fill the report in. All that was made is removed, whatever happens.

    Args:
        folder: a backup; None takes one of `source` first.
        log: what has sealed the ledger; then fsck holds what was restored against it.
        place: a folder of the drill's own; what an earlier one left there is removed.

    Raises:
        LedgerError: what is wrong, in its own words; the report's figures are those up to there.
    """
    cluster = LocalPostgres(place / "postgres")
    try:
        _remove(cluster, place)
        place.mkdir(parents=True)
        if folder is None:
            folder = place / "backup"
            with report.step("backup"), progress("Backing up") as tell:
                take_backup(folder, _required(source), incremental=False, tell=tell)
        last = read_chain(folder)[-1].manifest
        report.data_loss_s = round((datetime.now(UTC) - last.taken_at).total_seconds(), 1)
        _recover(folder, cluster, place, progress, report, log)
    finally:
        _remove(cluster, place)


def _recover(
    folder: Path, cluster: LocalPostgres, place: Path, progress: Progress, report: Report, log: Log | None
) -> None:
    with report.step("start PostgreSQL"):
        server = cluster.start()
    report.postgresql, report.backup = server.version, str(folder)
    target = Target(role=None, url=server.url())
    with report.step("restore"), progress("Restoring") as tell:
        restored = restore_backup(folder, target, tell=tell)
    report.spans, report.signed, report.era, report.sha256 = (
        restored.spans, restored.signed, restored.era, restored.sha256,
    )  # fmt: skip
    with report.step("prove"):
        _prove(restored, target, place / "again", progress)
    if log is not None:
        with report.step("fsck"):
            _check_log(target, log, progress)
    backend = InProcessBackend(_stack(server.url(), place))
    with report.step("seed"):
        report.seeded = len(backend.migration({"action": "seed"})["inserted"])
    with report.step("boot"):
        _use(Caller(backend, "drill", "system"), restored)
    needed = ("start PostgreSQL", "restore", "seed", "boot")
    report.recovery_s = round(sum(report.steps[name] for name in needed), 2)
    report.spans_per_s = round(restored.spans / max(report.steps["restore"], 0.01), 1)


def _prove(restored: Restored, target: Target, folder: Path, progress: Progress) -> None:
    """Read everything back: each hash from the columns as they are stored now, and the same tree over all of them."""
    with progress("Reading back") as tell:
        again = take_backup(folder, target, incremental=False, tell=tell).manifest
    with progress("Proving") as tell:
        findings = verify_backup(folder, tell).findings
    if findings:
        raise BackupFailed(f"what was restored cannot be proved: {findings[0].reason}")
    if (again.total, again.peaks) != (restored.manifest.total, restored.manifest.peaks):
        raise BackupFailed("what was restored is not what the backup holds: the trees over their hashes differ")


def _check_log(target: Target, log: Log, progress: Progress) -> None:
    """By fsck, as `readonly`: every sealed span is there, in its place, and the rest can be proved too."""
    roots: dict[Use, frozenset[str]] = {"checkpoint": frozenset(key.public_key.hex() for key in log.keys)}
    with progress("Comparing with the log") as tell:
        found = fsck(Plan(Target(role="readonly", url=target.url), roots, log.storage, log.keys, progress=tell))
    if found.count:
        first = found.ordered()[0]
        raise BackupFailed(f"fsck has {found.count} findings, the first of them: {first.kind}: {first.message}")


def _use(caller: Caller, restored: Restored) -> None:
    """Boot a kernel: its spans come after all others, in the new era, also for a cursor from before the restore."""
    body = caller.ask("boot", boot_function_id=PROMPT_FETCH, input=_WELCOME)
    newest = restored.manifest.newest
    after = str(newest.place.cursor) if newest else "beginning"
    page = caller.ask("timeline", after=after, limit=100)
    eras = {span["era"] for span in page["spans"]}
    if body["execution_id"] not in {span["id"] for span in page["spans"]} or eras != {restored.era}:
        raise BackupFailed(f"a follower's cursor does not lead to what is appended now (it found eras {sorted(eras)})")
    if page["cursor"] != place_of(page["spans"][-1]):
        raise BackupFailed("a follower's cursor does not go on after the restore")


def _stack(url: str, place: Path) -> LocalStack:
    """The cluster as a ledger of its own, which trusts whom the operator does, or else who signed its manifest."""
    with connect(Target(role="readonly", url=url)) as connection:
        rows = connection.execute(_MANIFEST_KEY).fetchall()
    own = secrets.token_hex(32)  # signs what this release adds to a backup of an older one
    given = os.environ.get("TRUSTED_ROW_KEYS") or ",".join(row["public_key"] for row in rows if row["public_key"])
    return LocalStack(
        {
            "DATABASE_URL": url,
            "LOGLINEOS_DIRECTORY": str(place),
            "ROW_SIGNING_KEY_HEX": own,
            "SIGNING_KEY_HEX": secrets.token_hex(32),  # the ledger goes when the drill is over
            "TRUSTED_ROW_KEYS": f"{given},{public_key_of(SigningKey(bytes.fromhex(own)))}" if given else "",
        }
    )


def _required(source: Target | None) -> Target:
    if source is None:
        raise BackupFailed("a drill needs a backup, or a ledger to take one of")
    return source


def _remove(cluster: LocalPostgres, place: Path) -> None:
    cluster.remove()
    shutil.rmtree(place, ignore_errors=True)
