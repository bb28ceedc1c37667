"""The newest spans recomputed: a sample in a second or two. The whole is `loglineos fsck`."""

from __future__ import annotations

import time
from typing import Any, Final, LiteralString

from ledger.errors import VerificationFailed
from ledger.proof import verify
from ledger.read import END, cursor_of, span_of

from .reader import Reader, Section

PAGE: Final = 500
SHOWN: Final = 20
BUDGET_S: Final = 2.0

_PAGE: Final[LiteralString] = """
SELECT * FROM ledger.universal_registry
 WHERE position >= 0 AND (era, xid, position) < (%s, %s::text::xid8, %s)
 ORDER BY era DESC, xid DESC, position DESC LIMIT %s
"""


def integrity(reader: Reader, wanted: int, budget_s: float = BUDGET_S) -> Section:
    """Hash and signature of the newest `wanted` spans, recomputed from the stored columns, for at most `budget_s`.

    A signature is checked against the key that the span names; whether that key is trusted is fsck's to say.
    """
    deadline = time.monotonic() + budget_s
    checked, signed = 0, 0
    broken: list[dict[str, Any]] = []
    cursor = END
    while checked < wanted and time.monotonic() < deadline:
        place = (cursor.era, str(cursor.xid), cursor.position)
        rows = reader.stored(_PAGE, [*place, min(PAGE, wanted - checked)])
        for span in map(span_of, rows):
            checked += 1
            try:
                signed += verify(span, None)
            except VerificationFailed as error:
                broken.append({"id": str(span.id), "seq": span.seq, "reason": error.reason})
            cursor = cursor_of(span)
        if len(rows) < PAGE:
            break
    return {"checked": checked, "signed": signed, "broken": len(broken), "first_broken": broken[:SHOWN],
            "budget_s": budget_s}  # fmt: skip
