"""The real `handler` in a process of its own, as Lambda runs it: environment variables, logs on standard output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any
from uuid import uuid4

import pytest

from tests.stage0_loader.stage import MEMORY_KERNEL, Stage

HEALTH = {"action": "health"}
SCRIPT = """
import json, os, sys
from stage0_loader import handler
before = dict(os.environ)
for change, event in json.load(sys.stdin):
    os.environ.clear()
    os.environ.update(before | change)
    handler._loader = None  # as in a cold process
    print(json.dumps(handler.handler(event)), file=sys.stderr)
    print("end of one", flush=True)
"""


def run_handler(environment: dict[str, str], cases: list[tuple[dict[str, str], Any]]) -> list[tuple[Any, str]]:
    """For each change of the environment and event: the answer, and what was written."""
    clean = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "PYTHONPATH")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps(cases),
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    return list(zip(answers, done.stdout.split("end of one\n"), strict=False))


def test_the_handler_with_log_level_debug_writes_json_lines_without_contents_or_secrets(stage: Stage) -> None:
    text = f"needle{uuid4().hex}"
    boot = {"action": "boot", "boot_function_id": str(MEMORY_KERNEL)}
    given = {"action": "store", "content": text, "sensitivity": "secret"}
    done = run_handler({**stage.environment, "LOG_LEVEL": "DEBUG"}, [({}, {**boot, "input": given}), ({}, HEALTH)])
    assert [answer["statusCode"] for answer, _ in done] == [200, 200]
    written = "".join(log for _, log in done)
    lines = [json.loads(line) for line in written.splitlines()]
    assert {"kernel input", "kernel output", "boot", "health"} <= {line["message"] for line in lines}
    assert {line["service"] for line in lines} == {"loglineos-stage0-loader"}
    assert all(secret not in written for secret in [text, *stage.secrets()])


CHANGES: dict[str, dict[str, str]] = {
    "no URL": {"DATABASE_URL": ""},
    "no URL but words": {"DATABASE_URL": "not a url but secret"},
    "no key": {"SIGNING_KEY_HEX": "not hex but secret"},
    "no public key": {"TRUSTED_ROW_KEYS": "zz"},
    "no object": {"MINIMUM_SEQS": "[4]"},
    "no port": {"DATABASE_URL": "", "DATABASE_HOST": "127.0.0.1", "DATABASE_PORT": "many"},
    "no such way in": {"DATABASE_URL": "", "DATABASE_HOST": "127.0.0.1", "DATABASE_AUTH": "trust"},
    "no file": {"SIGNING_KEY_HEX": "", "SIGNING_KEY_FILE": "/nowhere/at/all"},
}


@pytest.fixture(scope="module")
def misconfigured(stage: Stage) -> dict[str, tuple[Any, str]]:
    """What the loader answers and writes under each wrong configuration."""
    done = run_handler(stage.environment, [(change, HEALTH) for change in CHANGES.values()])
    return dict(zip(CHANGES, done, strict=True))


@pytest.mark.parametrize("case", CHANGES)
def test_a_misconfigured_loader_answers_500_and_logs_which_setting(
    misconfigured: dict[str, tuple[Any, str]], case: str
) -> None:
    answer, written = misconfigured[case]
    body = json.loads(answer["body"])
    assert answer["statusCode"] == 500
    assert body["error"] == {"code": "internal", "message": "Internal error; see the log"}
    (line,) = [json.loads(line) for line in written.splitlines() if '"level":"ERROR"' in line]
    assert any(name.removesuffix("_HEX") in line["error"] for name in CHANGES[case])
    assert "but secret" not in written
    assert line["trace_id"] == body["trace_id"]
