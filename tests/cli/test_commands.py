"""The command line as a person or a script uses it: a real process, a real ledger."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from db_migration.rows import read_rows
from ledger.settings import asset_directory
from tests.conftest import TestLedger

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def _loglineos(*arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from loglineos.cli import main; sys.argv[0] = 'loglineos'; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        input=stdin, capture_output=True, text=True, timeout=60, env={**os.environ, **environment}, check=False,
    )  # fmt: skip


@pytest.fixture
def run(ledger: TestLedger, tmp_path: Path) -> Run:
    """`loglineos` against a ledger of its own, by DATABASE_URL."""
    public = ledger.environment["TRUSTED_ROW_KEYS"]
    private = ledger.environment["ROW_SIGNING_KEY_HEX"]

    def call(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return _loglineos(
            *arguments, stdin=stdin, DATABASE_URL=ledger.url("postgres"),
            TRUSTED_ROW_KEYS=public, ROW_SIGNING_KEY_HEX=private, LOGLINEOS_DIRECTORY=str(tmp_path / "local"),
        )  # fmt: skip

    return call


def test_a_memory_is_stored_and_found(run: Run) -> None:
    stored = run(
        "boot", "memory_store_kernel", "--input", '{"action":"store","content":"用户偏好深色模式 🌙","tags":["ui"]}'
    )
    assert stored.returncode == 0, stored.stderr
    found = run("boot", "memory_store_kernel", "--input", '{"action":"search","search_query":"深色模式"}', "--json")
    memory = json.loads(found.stdout)["output"]["memories"][0]
    assert memory["content"] == "用户偏好深色模式 🌙"
    assert memory["memory_id"] == json.loads(stored.stdout)["memory"]["memory_id"]


def test_input_comes_from_a_file_or_standard_input(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "input.json"
    file.write_text('{"name": "welcome_message", "variables": {"user_name": "Ana"}}')
    for given, stdin in ((f"@{file}", ""), ("-", file.read_text())):
        done = run("boot", "prompt_fetch_kernel", "--input", given, stdin=stdin)
        assert json.loads(done.stdout)["text"].startswith("Welcome, Ana!"), done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["boot", "memory_store_kernel", "--input", "{"], 2, "expected JSON, @file or -"),
        (["boot", "memory_store_kernel", "--input", '{"a":1,"a":2}'], 2, "the key 'a' stands twice"),
        (["boot", "memory_store_kernel", "--input", "@/nowhere"], 2, "cannot read /nowhere"),
        (["boot", "nope"], 2, "no kernel is called 'nope'; there are: run_code_kernel"),
        (["boot", "run_code_kernel"], 1, "Error: function_id: expected either function_id or span_id"),
        (["boot", "memory_store_kernel"], 1, "Error: action: is required"),
        (["append", '{"entity_type":"manifest","did":"x","this":"y"}'], 1, "manifest spans are written by the system"),
        (["query", "DELETE FROM ledger.universal_registry"], 1, "Error: "),
        (["query", "SELECT 1; SELECT 2"], 1, "cannot insert multiple commands"),
        (["prov", "x"], 2, "No such command 'prov'. Did you mean 'prove'?"),
        (["--url", "ftp://x", "status"], 2, "Invalid value for '--url'"),
    ],
)
def test_errors_are_one_line_and_a_documented_code(run: Run, arguments: list[str], code: int, sentence: str) -> None:
    done = run(*arguments)
    assert done.returncode == code, (done.stdout, done.stderr)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unreachable_ledger_is_code_3(tmp_path: Path) -> None:
    url = "postgresql://nobody:hunter2@127.0.0.1:1/none"
    done = _loglineos("migrate", DATABASE_URL=url, LOGLINEOS_DIRECTORY=str(tmp_path))
    assert done.returncode == 3, done.stderr
    assert done.stderr.startswith("Error: Ledger unavailable")
    assert "hunter2" not in done.stdout + done.stderr


def test_spans_are_appended_and_proved_on_this_side(run: Run, ledger: TestLedger) -> None:
    spans = [{"entity_type": "note", "did": "said", "this": f"note {n}"} for n in range(3)]
    appended = json.loads(run("append", "-", "--json", stdin=json.dumps(spans)).stdout)["spans"]
    assert [span["inserted"] for span in appended] == [True] * 3
    shown = json.loads(run("timeline", "--type", "note", "--json").stdout)["spans"]
    assert {span["proof"] for span in shown} == {"signed"}
    superuser = ledger.connect("rdsadmin")
    superuser.execute("ALTER TABLE ledger.universal_registry DISABLE TRIGGER ALL")
    superuser.execute("UPDATE ledger.universal_registry SET this = 'forged' WHERE id = %s", [appended[0]["id"]])
    forged = [
        s for s in json.loads(run("timeline", "--type", "note", "--json").stdout)["spans"] if s["this"] == "forged"
    ]
    assert forged[0]["proof"] == "BROKEN: its columns do not match its hash"


def test_follow_prints_what_is_committed_later(ledger: TestLedger, run: Run, tmp_path: Path) -> None:
    run("append", '{"entity_type":"note","did":"said","this":"before"}')
    code = "import sys; from loglineos.cli import main; sys.argv[0] = 'loglineos'; main()"
    follower = subprocess.Popen(
        [sys.executable, "-c", code, "timeline", "--follow", "--json", "--type", "note"],
        stdout=subprocess.PIPE, text=True,
        env={**os.environ, "DATABASE_URL": ledger.url("postgres"), "LOGLINEOS_DIRECTORY": str(tmp_path)},
    )  # fmt: skip
    try:
        run("append", '{"entity_type":"note","did":"said","this":"after"}')
        assert follower.stdout is not None
        while json.loads(follower.stdout.readline())["this"] != "after":
            pass
    finally:
        follower.kill()
        follower.wait()


def test_migrate_seed_query_and_health_speak_json(run: Run) -> None:
    assert json.loads(run("migrate", "--json").stdout)["applied"] == []
    rows_of_this_release = sum(map(len, read_rows(asset_directory("row")).values()))
    assert len(json.loads(run("seed", "--json").stdout)["unchanged"]) == rows_of_this_release
    rows = json.loads(run("query", "SELECT $1::int + 1 AS n", "--param", "41", "--json").stdout)["rows"]
    assert rows == [{"n": 42}]
    kernels = json.loads(run("health", "--json").stdout)["kernels"]
    assert {k["name"]: k["proof"] for k in kernels}["memory_store_kernel"] == "signed"


def test_the_queue_is_shown_and_built_again(run: Run, ledger: TestLedger) -> None:
    assert run("queue").stdout == "0 pending, 0 running, 0 dead; 0 functions on a schedule\n"
    span = {"entity_type": "request", "did": "asked", "this": "run_code", "status": "scheduled"}
    appended = run("append", json.dumps({**span, "parent_id": "0192f8a0-0000-7000-8000-000000000000"}), "--json")
    request = json.loads(appended.stdout)["spans"][0]["id"]
    shown = run("queue").stdout.splitlines()
    assert shown[0] == "1 pending, 0 running, 0 dead; 0 functions on a schedule"
    assert request in shown[-1]
    assert [item["request_id"] for item in json.loads(run("queue", "--json").stdout)["requests"]] == [request]
    assert "pending requests: 1 by the spans; the index agreed\n" in run("queue", "rebuild").stdout
    ledger.execute("rdsadmin", "DELETE FROM ledger_idx.pending")
    requests, functions, *_ = json.loads(run("queue", "rebuild", "--json").stdout)["rebuilt"]
    assert requests == {"index": "pending requests", "entries": 1, "missing": 1, "wrong": 0, "surplus": 0}
    assert functions["entries"] == 0
    assert run("queue").stdout.startswith("1 pending")


def test_the_readme_names_every_command_and_no_other(run: Run) -> None:
    listed = set(re.findall(r"^  (\w+)  ", run("--help").stdout.partition("Commands:")[2], re.MULTILINE))
    table = README.partition("## Commands")[2].partition("Every command")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    documented = {word for row in rows for word in re.findall(r"`(?:loglineos )?(\w+)", row)}
    assert documented == listed


def test_the_readmes_examples_run(run: Run) -> None:
    block = README.partition(". .venv/bin/activate\n")[2].partition("```")[0]
    for line in block.strip().splitlines():
        arguments = subprocess.run(
            ["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, text=True, check=True
        ).stdout.split("\0")[1:-1]
        done = run(*arguments)
        assert done.returncode == 0, (line, done.stderr)
