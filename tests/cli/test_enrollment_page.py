"""What docs/enrollment.md tells an administrator and a client to type is typed here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.settings import asset_directory
from tests.conftest import TestLedger

PAGE = (asset_directory("row").parent / "docs" / "enrollment.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
LOADER = "import sys; from loglineos.cli import main; sys.argv[0] = 'loglineos'; main()"


class Shell:
    """A folder, and a shell in which `loglineos` and `python` are this checkout's."""

    def __init__(self, ledger: TestLedger, folder: Path) -> None:
        self.folder = folder
        self._environment = {
            **os.environ,
            "DATABASE_URL": ledger.url("postgres"),
            "TRUSTED_ROW_KEYS": ledger.environment["TRUSTED_ROW_KEYS"],
            "ROW_SIGNING_KEY_HEX": ledger.environment["ROW_SIGNING_KEY_HEX"],
            "LOGLINEOS_DIRECTORY": str(folder / "local"),
        }

    def run(self, script: str) -> str:
        """Standard output of a script that must succeed."""
        functions = f'loglineos() {{ {sys.executable} -c "{LOADER}" "$@"; }}\npython() {{ {sys.executable} "$@"; }}\n'
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", functions + script], cwd=self.folder, env=self._environment,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def read(self, name: str) -> dict[str, str]:
        """A JSON file that a command left."""
        read: dict[str, str] = json.loads((self.folder / name).read_text(encoding="utf-8"))
        return read

    def boot(self, given: dict[str, object], tenant: str = "acme") -> dict[str, str]:
        """What the kernel answers."""
        (self.folder / "input.json").write_text(json.dumps(given), encoding="utf-8")
        answer: dict[str, str] = json.loads(
            self.run(f"loglineos boot app_enrollment_kernel --tenant {tenant} --user admin --input @input.json")
        )
        return answer


@pytest.fixture
def shell(ledger: TestLedger, tmp_path: Path) -> Shell:
    """On a ledger of its own."""
    (python,) = [text for language, text in BLOCKS if language == "python"]
    (tmp_path / "enroll.py").write_text(python, encoding="utf-8")
    return Shell(ledger, tmp_path)


def blocks(word: str) -> list[str]:
    """The page's commands that use a program, in order."""
    return [text for language, text in BLOCKS if language == "bash" and word in text]


def test_the_walk_through_invites_enrolls_lists_and_revokes(shell: Shell) -> None:
    invite, enroll, rest = blocks("loglineos boot")
    shell.run(invite)
    assert (shell.folder / "invitation.json").stat().st_mode & 0o777 == 0o600
    shell.run(enroll)
    registration = shell.read("registration.json")
    assert (registration["status"], registration["tenant_id"]) == ("active", "acme")
    assert (shell.folder / "device.key").stat().st_mode & 0o777 == 0o600
    shell.run(enroll)
    assert shell.read("registration.json") == registration
    listed, _, revoked = shell.run(rest).rpartition("\n{\n")
    assert json.loads(listed)["apps"][0]["app_id"] == registration["app_id"]
    assert '"revoked"' in revoked


def test_a_key_and_signature_of_openssl_are_taken(shell: Shell) -> None:
    code = shell.boot({"action": "invite"})["code"]
    (shell.folder / "code.txt").write_text(code, encoding="utf-8")
    shell.run(*blocks("openssl"))
    proof = {name: (shell.folder / f"{name}.txt").read_text() for name in ("pubkey", "signature")}
    given = {"app_name": "editor", "app_version": "1.0", "device_fingerprint": "laptop"}
    assert shell.boot({"action": "enroll", "code": code, **given, **proof})["status"] == "active"


def test_the_payload_for_the_aws_cli_is_an_invitation(shell: Shell) -> None:
    (command,) = blocks("aws lambda invoke")
    event = json.loads(command.partition("--payload '")[2].partition("'")[0])
    assert set(event) == {"action", "boot_function_id", "tenant_id", "user_id", "input"}
    assert event["boot_function_id"] == "00000000-0000-4000-8000-000000000008"
    assert len(shell.boot(event["input"], event["tenant_id"])["code"]) == 43


def test_the_table_names_what_each_action_takes(shell: Shell) -> None:
    kernel = (asset_directory("row") / "kernels" / "app_enrollment_kernel_1.py").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", PAGE.partition("## All actions")[2], re.MULTILINE))
    assert set(rows) == set(re.findall(r'^    "(\w+)": \(\w+, \w+\),$', kernel, re.MULTILINE))
    for action, model in (("invite", "Invite"), ("enroll", "Enroll"), ("register_device", "RegisterDevice"),
                          ("get_manifest", "GetManifest"), ("list", "List"), ("revoke", "Revoke")):  # fmt: skip
        body = kernel.partition(f"class {model}(Input):")[2].partition("\n\n\n")[0]
        fields = set(re.findall(r"^    (\w+): ", body, re.MULTILINE))
        assert fields == set(re.findall(r"`(\w+)`", rows[action])), action
