"""`loglineos` as a process, against a ledger of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import TestLedger
from tests.stage0_loader.conftest import shared

__all__ = ["CODE", "Shell", "shared", "shell", "visitor"]

CODE = "import sys; from loglineos.cli import main; sys.argv[0] = 'loglineos'; main()"


class Shell:
    """Somebody in a folder, as a user of a tenant, with `loglineos` at hand."""

    def __init__(self, ledger: TestLedger, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "DATABASE_URL": ledger.url("postgres"),
            "TRUSTED_ROW_KEYS": ledger.environment["TRUSTED_ROW_KEYS"],
            "ROW_SIGNING_KEY_HEX": ledger.environment["ROW_SIGNING_KEY_HEX"],
            "LOGLINEOS_DIRECTORY": str(folder / "local"),
            "LOGLINEOS_USER": "ana",
            "LOGLINEOS_TENANT": "acme",
        }

    def run(self, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """The command's end."""
        return subprocess.run(
            [sys.executable, "-c", CODE, *arguments], cwd=self.folder, env={**self.environment, **environment},
            input=stdin, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that goes on; whoever starts it ends it."""
        return subprocess.Popen(
            [sys.executable, "-c", CODE, *arguments], cwd=self.folder, env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip


@pytest.fixture
def visitor(shared: TestLedger, tmp_path: Path) -> Shell:
    """Who appends nothing, on a ledger that the tests of one file share."""
    return Shell(shared, tmp_path)


@pytest.fixture
def shell(ledger: TestLedger, tmp_path: Path) -> Shell:
    return Shell(ledger, tmp_path)
