"""The other commands and tools that a routine runs, each as a process of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from loglineos.local.stack import ROOT

_CODE: Final = "import sys; from loglineos.cli import main; sys.argv[0] = 'loglineos'; main()"
USAGE, TIMED_OUT = 2, 124


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code, and what it printed on the two streams."""

    code: int
    output: str
    error: str

    @property
    def last(self) -> str:
        """Its last line, of standard error first."""
        return next((line for text in (self.error, self.output) for line in reversed(text.splitlines()) if line), "")


@dataclass(frozen=True)
class Others:
    """`known`: the commands of this release. `environment`: `--env` as it was given."""

    known: frozenset[str]
    environment: str | None = None
    tools: Mapping[str, Path] = field(default_factory=dict)

    def command(self, *arguments: str, timeout_s: float) -> Ended:
        """`loglineos …` of this release, against the same environment."""
        given = ["--env", self.environment] if self.environment else []
        # Where this one was typed: paths in arguments and variables mean what they mean here.
        return run([sys.executable, "-P", "-c", _CODE, *given, *arguments], timeout_s, Path.cwd())

    def tool(self, name: str) -> Path | None:
        """A program beside this Python, else on the PATH; or where the tests put it."""
        beside = Path(sys.executable).parent / name
        path = self.tools.get(name) or (beside if beside.exists() else shutil.which(name))
        return Path(path) if path and Path(path).exists() else None


def run(arguments: Sequence[str], timeout_s: float, folder: Path = ROOT) -> Ended:
    """Run it, in the release's folder or another one; code 124 where it took too long, 127 where it cannot be run."""
    try:
        done = subprocess.run(  # noqa: S603 - this program, or a tool beside it
            list(arguments), cwd=folder, capture_output=True, text=True, timeout=timeout_s, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Ended(TIMED_OUT, "", f"it took longer than {timeout_s:.0f} s")
    except OSError as error:
        return Ended(127, "", str(error))
    return Ended(done.returncode, done.stdout, done.stderr)
