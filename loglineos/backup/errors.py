"""What goes wrong with backups, in words an operator can act on."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from ledger.errors import LedgerError


class BackupFailed(LedgerError):
    """The backup, or the restore, cannot be made; nothing that was there before has changed."""

    code = "backup_failed"


class BackupDamaged(LedgerError):
    """A backup is not what it was when it was made, or its ledger was not what it should have been then.

    `file` names the file, `reason` says what is wrong with it; `span` is id and seq where it is one span.
    """

    code = "backup_damaged"

    def __init__(self, file: str, reason: str, span: tuple[UUID, int] | None = None) -> None:
        super().__init__(f"{file}: {reason}", file=file, reason=reason)
        self.file, self.reason, self.span = file, reason, span

    def described(self) -> dict[str, Any]:
        """For scripts."""
        span = {"id": str(self.span[0]), "seq": self.span[1]} if self.span else {}
        return {"file": self.file, "reason": self.reason, **span}


class NotEmpty(BackupFailed):
    """The database to restore into has something in it already; the message names it."""

    code = "not_empty"
