"""What goes wrong with backups, in words an operator can act on."""

from __future__ import annotations

from ledger.errors import LedgerError


class BackupFailed(LedgerError):
    """The backup, or the restore, cannot be made; nothing that was there before has changed."""

    code = "backup_failed"


class BackupDamaged(LedgerError):
    """A backup is not what it was when it was made. `file` names the file, the message what is wrong with it."""

    code = "backup_damaged"

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file}: {reason}", file=file, reason=reason)
        self.file, self.reason = file, reason


class NotEmpty(BackupFailed):
    """The database to restore into has something in it already; the message names it."""

    code = "not_empty"
