"""A ledger that was migrated itself, with a loader on it; and what health finds there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from db_migration.handler import answer
from loglineos.backend import InProcessBackend
from loglineos.health.checks import run_checks
from loglineos.health.facts import Facts, gather
from loglineos.health.finding import Finding
from loglineos.local.postgres import Server
from loglineos.local.stack import LocalStack
from tests.conftest import LOADER_KEY, TestLedger
from tests.ledger.kit import copied_database

ORIGIN = "loglineos-local"


@dataclass(frozen=True)
class Ward:
    """The ledger, and the folder that stands for `.local`."""

    ledger: TestLedger
    folder: Path

    @property
    def variables(self) -> dict[str, str]:
        """Of whoever types the commands."""
        return {
            "DATABASE_URL": self.ledger.url("postgres"),
            "TRUSTED_ROW_KEYS": self.ledger.environment["TRUSTED_ROW_KEYS"],
            "ROW_SIGNING_KEY_HEX": self.ledger.environment["ROW_SIGNING_KEY_HEX"],
            "SIGNING_KEY_HEX": bytes(LOADER_KEY).hex(),
            "LOGLINEOS_DIRECTORY": str(self.folder),
        }

    def backend(self, **changes: str) -> InProcessBackend:
        """Both functions in this process; without changes always the same, with its warm sandbox."""
        return InProcessBackend(LocalStack({**self.variables, **changes})) if changes else self._usual

    @cached_property
    def _usual(self) -> InProcessBackend:
        return InProcessBackend(LocalStack(self.variables))

    def facts(self, **changes: str) -> Facts:
        """What health learns."""
        return gather(self.backend(**changes))

    def findings(self, **changes: str) -> list[Finding]:
        """What it makes of it."""
        return run_checks(self.facts(**changes))

    def find(self, check: str, **changes: str) -> Finding:
        """The gravest finding of a check."""
        found = [finding for finding in self.findings(**changes) if finding.check == check]
        assert found, check
        return max(found, key=lambda finding: ("ok", "unknown", "warning", "failure").index(finding.level))

    def break_(self, statement: str, parameters: Any = None) -> None:
        """What only a superuser can do."""
        self.ledger.execute("rdsadmin", statement, parameters)


@contextmanager
def ward_on(server: Server, folder: Path) -> Iterator[Ward]:
    """Migrated and seeded itself: a copy of a database has not the grants on the database."""
    with copied_database(server, "template1") as ledger:
        for action in ("migrate", "seed"):
            result = answer({"action": action}, ledger.environment)
            assert result["ok"], result
        # The tests' cluster lets admin sign in, which no deployment does.
        ledger.execute("rdsadmin", "ALTER ROLE admin NOLOGIN")
        try:
            yield Ward(ledger, folder)
        finally:
            ledger.execute("rdsadmin", "ALTER ROLE admin LOGIN")


def boot(ward: Ward, kernel: str, **input: Any) -> dict[str, Any]:
    """As the schedules do."""
    event = {
        "action": "boot",
        "boot_function_id": kernel,
        "input": input,
        "user_id": "edge:stage0",
        "tenant_id": "system",
    }
    return ward.backend().load(event)
