"""`loglineos routine` as a process: the checklist in a terminal, as JSON, as Markdown, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

from tests.health.kit import Ward
from tests.health.test_command import run
from tlog.note import NoteKey


def test_a_month_is_done_and_written_down(ward: Ward, tmp_path: Path) -> None:
    file = tmp_path / "month.md"
    done = run(ward, "routine", "monthly", "--json", "--out", str(file))
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    states = {task["manual"]: task["state"] for task in answer["tasks"]}
    assert states["Audit de acessos (IAM, DB users)"] == "done"
    assert states["Atualizar documentação"] == "person"
    page = file.read_text()
    assert page.startswith("# LogLineOS, monthly routine of ")
    assert "- [x] **Who may do what** (Audit de acessos (IAM, DB users)): " in page
    assert "- [ ] **Do the documents still say what is so?** (Atualizar documentação): " in page


def test_what_failed_is_code_1_with_its_remedy(ward: Ward) -> None:
    ward.break_("ALTER TABLE ledger.universal_registry DISABLE TRIGGER ur_append_only")
    try:
        done = run(ward, "routine", "daily")
    finally:
        ward.break_("ALTER TABLE ledger.universal_registry ENABLE ALWAYS TRIGGER ur_append_only")
    assert done.returncode == 1
    assert "[!] Health checks: FAILED: " in done.stdout
    assert "-> As the owner: ALTER TABLE ledger.universal_registry ENABLE ALWAYS TRIGGER ur_append_only." in done.stdout
    assert done.stdout.rstrip().endswith("3 done, 0 for a person, 1 failed.")


def test_an_unreachable_ledger_and_an_unknown_period(ward: Ward) -> None:
    gone = run(ward, "routine", "daily", DATABASE_URL="postgresql://postgres:hunter2@127.0.0.1:1/x")
    assert (gone.returncode, gone.stderr.startswith("Error: Ledger unavailable")) == (3, True)
    assert "hunter2" not in gone.stdout + gone.stderr
    assert run(ward, "routine", "yearly").returncode == 2


def test_a_quarter_asks_where_the_log_is(ward: Ward) -> None:
    """fsck was called, and did not guess."""
    key = str(NoteKey("a-log", b"k" * 32))
    done = run(ward, "routine", "quarterly", "--no-drill", "--json", LOGLINEOS_LOG_KEY=key)
    (audit,) = [task for task in json.loads(done.stdout)["tasks"] if task["title"] == "Security audit"]
    assert (audit["state"], "set LOGLINEOS_LOG to where the log is" in audit["said"]) == ("person", True), audit
