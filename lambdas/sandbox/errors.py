"""What can come of untrusted code, as errors whose text is short whatever the code did."""

from __future__ import annotations

from typing import Any, Literal

from ledger.errors import LedgerError

Code = Literal[
    "timeout",
    "memory",
    "recursion",
    "output_too_large",
    "unsupported",
    "runtime",
    "compile",
    "sandbox_unavailable",
]
LONGEST = 500  # characters of a message: an exception's text is the untrusted code's own


class SandboxError(LedgerError):
    """A call that gave no result. `code` says which kind; `details` hold what is known of:

    `line` and `column` (1-based, in the untrusted source), `type` (the exception's, for `runtime`), `printed`
    (what the code had printed), `duration_ms`.
    """

    def __init__(self, code: Code, message: str, **details: Any) -> None:
        super().__init__(capped(message), **{name: value for name, value in details.items() if value is not None})
        self.code: Code = code


def capped(text: str, longest: int = LONGEST) -> str:
    """The text in one line, cut where it is longer than `longest` characters."""
    line = " ".join(text[: 4 * longest].split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
