"""`loglineos --url`: a machine that was enrolled works over HTTPS as on the local stack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.edge.kit import invitation
from tests.stage0_loader.stage import Stage

CODE = "import sys; from loglineos.cli import main; sys.argv[0] = 'loglineos'; main()"
HALF = "def main(input):\n    print('halving', input)\n    return input / 2\n"


def test_functions_are_written_and_run_over_https(stage: Stage, tenant: str, url: str, tmp_path: Path) -> None:
    def run(*arguments: str, stdin: str = "") -> str:
        hidden = ("DATABASE_URL", "LOGLINEOS_URL")
        environment = {
            **{name: value for name, value in os.environ.items() if name not in hidden},
            "XDG_CONFIG_HOME": str(tmp_path),
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        }
        done = subprocess.run(
            [sys.executable, "-c", CODE, "--url", url, *arguments], cwd=tmp_path, env=environment,
            input=stdin, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    run("login", stdin=invitation(stage, tenant) + "\n")
    (tmp_path / "half.py").write_text(HALF)
    run("function", "append", "half.py")
    assert json.loads(run("function", "run", "half", "--input", "9", "--json"))["output"]["output"] == 4.5
    (listed,) = json.loads(run("function", "list", "--json"))["functions"]
    assert (listed["name"], listed["seq"]) == ("half", 0)
    (logged,) = json.loads(run("function", "logs", "half", "--json"))["executions"]
    assert (logged["output"], logged["proof"]) == (4.5, "signed")
    function = stage.one(entity_type="function", tenant_id=tenant)
    assert function.owner_id.startswith("user:")
    assert "run_code_kernel" in run("health")
