"""The local stack's life by the command line: a whole deploy, an update, status, down, and what each says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from loglineos.local.stack import LocalStack

CODE = "import sys; from loglineos.cli import main; sys.argv[0] = 'loglineos'; main()"
LIST = ["boot", "memory_store_kernel", "--input", '{"action":"list"}', "--json"]
# What psql does with the sourced variables, by the same library, so that the test needs no psql.
PSQL = "import psycopg; print(psycopg.connect().execute('SELECT current_user').fetchone()[0])"
LOADER = "loglineos-stage0-loader"
KEY = "loglineos-checkpoint-key"
BUCKET = "loglineos-archive-123456789012-us-east-2"


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="loglineos-cli-"))
    directory.chmod(0o755)
    yield directory
    stack = LocalStack({"LOGLINEOS_DIRECTORY": str(directory)})
    stack.emulator.stop()
    stack.postgres.remove()
    shutil.rmtree(directory)


def _loglineos(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    return subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        env={**environment, "LOGLINEOS_DIRECTORY": str(directory), "LOGLINEOS_CLOCK": "off"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def _sourced(directory: Path, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f'. "{directory}/env" && {script}'], capture_output=True, text=True, timeout=60, check=False,
        cwd=directory,
    )  # fmt: skip


def test_before_up_every_command_says_what_to_do(directory: Path) -> None:
    for arguments in (["status"], ["health"], LIST):
        done = _loglineos(directory, *arguments)
        assert (done.returncode, "start it with `loglineos up`" in done.stderr) == (3, True)


def test_up_deploys_and_boots_a_kernel_and_a_second_time_is_an_update(directory: Path) -> None:
    first = _loglineos(directory, "up", "--demo")
    assert first.returncode == 0, first.stderr
    assert "Searching for 'signed spans' found: ['LogLineOS keeps everything" in first.stdout
    assert "BROKEN" not in first.stdout
    again = _loglineos(directory, "up", "--demo")
    assert again.returncode == 0, again.stderr
    assert "the same request_id answers the stored result" in again.stdout
    assert len(json.loads(_loglineos(directory, *LIST).stdout)["output"]["memories"]) == 1

    status = json.loads(_loglineos(directory, "status", "--json").stdout)
    assert status["pending_migrations"] == []
    assert status["spans"] > 9


def test_the_sourced_file_leads_aws_psql_and_loglineos_to_it(directory: Path) -> None:
    for name in ("env", "pgpass", "postgres/passwords.json"):
        assert (directory / name).stat().st_mode & 0o077 == 0, name
    assert _sourced(directory, f'"{sys.executable}" -c "{PSQL}"').stdout.strip() == "readonly"
    payload = '{"action":"health"}'
    invoked = _sourced(
        directory, f"aws lambda invoke --function-name {LOADER} --payload '{payload}' out.json && cat out.json"
    )
    assert invoked.returncode == 0, invoked.stderr
    body = json.loads(json.loads((directory / "out.json").read_text())["body"])
    assert body["manifest"]["seq"] == 4
    # The local environment carries prod's names, so an operator's own command reaches it too.
    remote = _sourced(directory, f'"{sys.executable}" -c "{CODE}" --env prod health --json')
    assert json.loads(remote.stdout)["manifest"]["seq"] == 4, remote.stderr


def test_a_refusal_of_the_deployed_function_is_one_line(directory: Path) -> None:
    refused = _loglineos(directory, "boot", "00000000-0000-4000-8000-000000000099")
    assert (refused.returncode, refused.stderr) == (1, "Error: Boot function not allowed by manifest\n")


def _kept(directory: Path) -> dict[str, str]:
    """What only AWS holds: a key, a provider's key put by hand, and a file of the archive's bucket."""
    found = {}
    for name in (KEY, "loglineos-openai"):
        command = f"aws secretsmanager get-secret-value --secret-id {name} --query SecretString --output text"
        found[name] = _sourced(directory, command).stdout
    found["file"] = _sourced(directory, f"aws s3 cp s3://{BUCKET}/a-file -").stdout
    return found


def test_after_down_and_up_memories_keys_and_files_are_there(directory: Path) -> None:
    secret = {"action": "store", "content": "the safe's combination is 7-14-21", "sensitivity": "secret"}
    stored = _loglineos(directory, "boot", "memory_store_kernel", "--input", json.dumps(secret), "--json")
    get = {"action": "get", "memory_id": json.loads(stored.stdout)["output"]["memory"]["memory_id"]}
    _sourced(directory, "aws secretsmanager create-secret --name loglineos-openai --secret-string sk-a-key")
    _sourced(directory, f"echo of the archive | aws s3 cp - s3://{BUCKET}/a-file")
    before = _kept(directory)
    assert (before["loglineos-openai"], before["file"]) == ("sk-a-key\n", "of the archive\n")

    assert _loglineos(directory, "down").stdout.endswith("Stopped; data, log, archive and keys stay in .local.\n")
    assert _loglineos(directory, "down").stdout.endswith("It was not running.\n")
    up = _loglineos(directory, "up")
    assert up.returncode == 0, up.stderr
    assert len(json.loads(_loglineos(directory, *LIST).stdout)["output"]["memories"]) == 2
    read = _loglineos(directory, "boot", "memory_store_kernel", "--input", json.dumps(get), "--json")
    assert json.loads(read.stdout)["output"]["memory"]["content"] == secret["content"], read.stderr
    assert _kept(directory) == before


def test_an_environment_that_is_not_deployed_is_named(directory: Path) -> None:
    done = _sourced(directory, f'"{sys.executable}" -c "{CODE}" --env staging health')
    assert done.returncode == 1
    assert done.stderr.startswith("Error: the stack loglineos-functions-staging cannot be read")
