"""What went wrong on the other side of a command."""

from __future__ import annotations

from ledger.errors import LedgerError


class CommandFailed(LedgerError):
    """A Lambda, or the HTTP API, answered with an error; it is its own sentence."""

    code = "failed"
