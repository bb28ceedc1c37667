"""All checks, in the order in which an operator reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from loglineos.health import functions, keeping, ledger, work
from loglineos.health.facts import Facts
from loglineos.health.finding import Finding

Check = Callable[[Facts], Iterator[Finding]]

CHECKS: Final[tuple[Check, ...]] = (
    *(functions.functions, functions.database, functions.migrations, functions.schema),
    *(ledger.manifest, ledger.kernels, ledger.signing, ledger.sandbox),
    *(work.spans, work.last_boot, work.schedules, work.queue, work.policies, work.alerts),
    *(keeping.checkpoint, keeping.archive, keeping.backup, keeping.storage, keeping.connections),
)


def run_checks(facts: Facts) -> list[Finding]:
    """Each check's findings. Where the ledger cannot be reached, only what can still be said."""
    checks = CHECKS[:2] if facts.unreachable else CHECKS
    return [finding for check in checks for finding in check(facts)]
