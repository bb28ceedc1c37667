"""Everything that can go wrong with the ledger, as errors that explain themselves.

Each has a `code` for programs, a sentence for people and `details` that are safe to show to the caller.
"""

from __future__ import annotations

from typing import Any


class LedgerError(Exception):
    """Something about the ledger failed. Subclasses say what."""

    code: str = "ledger_error"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class InvalidInput(LedgerError):
    """A field does not hold what was expected. `field` is its path, `expected` what belongs there."""

    code = "invalid_input"

    def __init__(self, field: str, expected: str, **details: Any) -> None:
        super().__init__(f"{field}: {expected}", field=field, expected=expected, **details)


class NotPermitted(LedgerError):
    """The caller may not append this span: not their id, type, tenant or visibility."""

    code = "not_permitted"


class VersionConflict(LedgerError):
    """The span does not follow the latest version, or its (id, seq) is taken by another hash."""

    code = "version_conflict"


class QuotaExceeded(LedgerError):
    """A daily limit is used up. `limit`, `used` and `resets_at` (RFC 3339, UTC) say when to come back."""

    code = "quota_exceeded"


class VerificationFailed(LedgerError):
    """A span's stored columns do not match its hash, or its signature is not one that is trusted."""

    code = "verification_failed"

    def __init__(self, span_id: object, reason: str) -> None:
        super().__init__("Span verification failed", span_id=str(span_id), reason=reason)
        self.reason = reason


class QueryFailed(LedgerError):
    """PostgreSQL refused a statement; the message is its own."""

    code = "query_failed"


class LedgerUnavailable(LedgerError):
    """The database cannot be reached. Nothing was lost: try again.

    `reason` is for the log, it may name hosts. `passing` False: the sign-in was refused, which waiting won't mend.
    """

    code = "ledger_unavailable"

    def __init__(self, reason: str = "", *, passing: bool = True) -> None:
        super().__init__("Ledger unavailable")
        self.reason = reason
        self.passing = passing


class Misconfigured(LedgerError):
    """A setting of this program is missing or wrong; the message names it."""

    code = "misconfigured"


class Internal(LedgerError):
    """Something that the caller is told nothing of; the log has it."""

    code = "internal"

    def __init__(self) -> None:
        super().__init__("Internal error; see the log")
