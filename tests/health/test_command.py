"""`loglineos health` as a process: what it prints, and its three exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.health.kit import Ward

CODE = "import sys; from loglineos.cli import main; sys.argv[0] = 'loglineos'; main()"
ROOT = Path(__file__).parents[2]


def run(ward: Ward, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, **ward.variables, **changes},
    )  # fmt: skip


def test_warnings_are_shown_with_their_remedies_and_are_no_failure(ward: Ward) -> None:
    done = run(ward, "health")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert any(line.startswith("ok       manifest ") and line.endswith("seq 4, signed") for line in lines)
    below = lines[next(n for n, line in enumerate(lines) if line.startswith("warning  last boot ")) + 1]
    assert below.strip() == "-> Boot one: `loglineos boot observer_bot_kernel`."
    assert lines[-1].endswith("to look at, 2 not known from here.")


def test_a_failure_is_code_1_and_named_in_json_beside_the_loaders_answer(ward: Ward) -> None:
    ward.break_("GRANT DELETE ON ledger_idx.era TO lambda_exec")
    try:
        done = run(ward, "health", "--json")
    finally:
        ward.break_("REVOKE DELETE ON ledger_idx.era FROM lambda_exec")
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert (answer["status"], answer["counts"]["failure"], answer["manifest"]["seq"]) == ("failure", 1, 4)
    (failure,) = [finding for finding in answer["findings"] if finding["level"] == "failure"]
    assert failure["said"] == "grant relation ledger_idx.era: lambda_exec: beyond the release (DELETE)"


def test_an_unreachable_ledger_is_code_3_and_says_what_to_do(ward: Ward) -> None:
    done = run(ward, "health", DATABASE_URL="postgresql://postgres:hunter2@127.0.0.1:1/x")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "-> Start it, or correct DATABASE_URL; `loglineos status` tells where it is expected." in done.stdout
    assert "hunter2" not in done.stdout + done.stderr


def test_the_manuals_script_is_this_command() -> None:
    assert '.venv/bin/loglineos" health "$@"' in (ROOT / "health_check.sh").read_text()
