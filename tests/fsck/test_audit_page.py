"""docs/audit.md, typed as it stands: the operator's lines against a ledger, `verify` where there is none."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from loglineos.local.stack import ROOT
from tests.cli.conftest import CODE
from tests.conftest import LOADER_KEY, TestLedger
from tests.fsck.kit import CHECKPOINT_KEY, ORIGIN

PAGE = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
BY_HAND = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """With `loglineos` on the PATH, and a second one that knows neither database nor cloud."""
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "loglineos"
    # What an auditor has is the program and a key: `verify` gets nothing else.
    nowhere = (
        "unset DATABASE_URL ARCHIVE_LOCATION LOG_ORIGIN CHECKPOINT_KEY_HEX; export LOGLINEOS_DIRECTORY=/nonexistent"
    )
    command.write_text(
        f'#!/bin/sh\nif [ "$1" = verify ]; then {nowhere}; fi\nexec "{sys.executable}" -c "{CODE}" "$@"\n'
    )
    command.chmod(0o755)
    return tmp_path


def shell(home: Path, ledger: TestLedger, lines: str) -> str:
    environment = {
        **os.environ,
        "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
        "DATABASE_URL": ledger.url("postgres"),
        "TRUSTED_ROW_KEYS": ledger.environment["TRUSTED_ROW_KEYS"],
        "ROW_SIGNING_KEY_HEX": ledger.environment["ROW_SIGNING_KEY_HEX"],
        "SIGNING_KEY_HEX": bytes(LOADER_KEY).hex(),
        "CHECKPOINT_KEY_HEX": bytes(CHECKPOINT_KEY).hex(),
        "LOG_ORIGIN": ORIGIN,
        "ARCHIVE_LOCATION": str(home / "archive"),
        "LOGLINEOS_DIRECTORY": str(home / "local"),
    }
    done = subprocess.run(
        ["bash", "-euc", lines], cwd=home, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_walk_through_works_as_it_is_written(home: Path, ledger: TestLedger) -> None:
    once, span, between, everything = BLOCKS
    assert "the checkpoint is signed by the key" in shell(home, ledger, once)
    said = shell(home, ledger, span)
    assert "the log has this span" in said
    assert '"day": "2026-12-24"' in said
    assert "begins with the one of" in shell(home, ledger, between)
    assert "Nothing is wrong." in shell(home, ledger, everything)

    (by_hand,) = BY_HAND
    (home / "by_hand.py").write_text(by_hand)
    run = [sys.executable, "by_hand.py", "promise.tlog-proof", "log.key"]
    told = subprocess.run(run, cwd=home, capture_output=True, text=True, timeout=60, check=True).stdout
    span_id = json.loads((home / "span.json").read_text())["spans"][0]["id"]
    assert told.startswith(f"{ORIGIN} had span {span_id} seq 0 as number ")

    # Nor does a time of a whole second, as all released rows have, lead it astray.
    kernel = "00000000-0000-4000-8000-000000000001"
    shell(home, ledger, f"loglineos prove {kernel} --out kernel.tlog-proof")
    told = subprocess.run(
        [*run[:2], "kernel.tlog-proof", "log.key"], cwd=home, capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert f" had span {kernel} seq " in told

    # Whoever edits the file proves nothing, to this verifier either.
    proof = home / "promise.tlog-proof"
    proof.write_text(re.sub(r"^index (\d+)$", "index 0", proof.read_text(), flags=re.MULTILINE))
    assert subprocess.run(run, cwd=home, capture_output=True, text=True, timeout=60, check=False).returncode != 0
