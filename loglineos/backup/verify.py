"""Check a backup without any database: its files, the chain of its manifests, each span, and checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .check import Checker
from .errors import BackupDamaged
from .files import read_lines
from .manifest import KnownCheckpoint, read_chain

MAX_FINDINGS = 100


@dataclass
class Verified:
    """What a check came to. Without findings the backup is whole."""

    manifests: int = 0
    spans: int = 0
    signed: int = 0
    sha256: str = ""
    checkpoint_size: int | None = None
    findings: list[BackupDamaged] = field(default_factory=list)


def verify_backup(folder: Path, tell: Callable[[int, int], None], outside: Sequence[KnownCheckpoint] = ()) -> Verified:
    """Check everything, and go on after a finding as far as that makes sense (100 findings at most).

    Args:
        folder: a backup.
        tell: is told how many spans have been read, of how many.
        outside: checkpoints that were kept elsewhere, signatures checked: the backup has to begin with their spans.

    Raises:
        BackupFailed: there is no backup.
    """
    result = Verified()
    try:
        chain = read_chain(folder)
    except BackupDamaged as error:
        result.findings.append(error)
        return result
    known = [one.manifest.checkpoint for one in chain if one.manifest.checkpoint]
    checker = Checker(result.findings.append, [*known, *outside])
    read = 0
    for backup in chain:
        try:
            for lines in checker.pass_on(backup.manifest, read_lines(folder, backup.manifest.file)):
                read += len(lines)
                tell(read, chain[-1].manifest.total)
                if len(result.findings) >= MAX_FINDINGS:
                    break
        except BackupDamaged as error:
            checker.whole = False
            result.findings.append(error)
    checker.finish()
    del result.findings[MAX_FINDINGS:]
    result.manifests, result.spans, result.signed = len(chain), checker.total, checker.signed
    result.sha256 = chain[-1].sha256
    result.checkpoint_size = max((one.size for one in [*known, *outside]), default=None)
    return result
