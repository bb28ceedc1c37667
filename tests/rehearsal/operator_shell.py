"""A runbook's page, and the shell of an operator who types what it says."""

from __future__ import annotations

import json
import re
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg

from loglineos.aws.deploy import ROOT
from tests.rehearsal import forked
from tests.rehearsal.kit import Rehearsal

RUNBOOKS = ROOT / "docs" / "runbooks"
_BLOCK = re.compile(r"(?P<before>[^\n]*)\n\n```(?P<language>bash|sql)\n(?P<text>.*?)\n```", re.DOTALL)
_PLACEHOLDER = re.compile(r"(?<![.$\w])(?:[A-Z]+_[A-Z_]+|PID|KEY)\b(?!=)")
_PATIENCE_S = 120


@dataclass(frozen=True)
class Block:
    """What a page gives to be typed. `elsewhere`: the page says that only AWS can do it."""

    language: str
    text: str
    elsewhere: bool


@dataclass(frozen=True)
class Page:
    name: str

    @cached_property
    def text(self) -> str:
        return (RUNBOOKS / f"{self.name}.md").read_text(encoding="utf-8")

    @property
    def blocks(self) -> list[Block]:
        found = [
            Block(match["language"], match["text"], match["before"].startswith("Only on AWS"))
            for match in _BLOCK.finditer(self.text)
        ]
        assert len(found) == self.text.count("```") // 2, f"{self.name}: a block that is neither bash nor sql"
        return found

    @property
    def alarms(self) -> set[str]:
        """As the page's second line names them."""
        (line,) = re.findall(r"^Alarms: (.*)$", self.text, re.MULTILINE) or [""]
        return set(re.findall(r"`([^`]+)`", line))


def pages() -> list[str]:
    return sorted(path.stem for path in RUNBOOKS.glob("*.md"))


class Operator:
    """One bash in a clone, with `.local/env` sourced, from a page's first block to its last."""

    def __init__(self, rehearsal: Rehearsal, programs: Path) -> None:
        self.rehearsal, self.printed = rehearsal, list[str]()
        self.filled: dict[str, str] = {}
        self.open_sessions: list[psycopg.Connection[tuple[Any, ...]]] = []
        self._folder = rehearsal.home / "typed"
        self._folder.mkdir(exist_ok=True)
        self._shell = subprocess.Popen(["bash", "--norc"], cwd=rehearsal.repository, text=True,
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
        self._type(
            f". {rehearsal.home}/env; PATH={programs}:$PATH\n"
            f"export LOGLINEOS_DIRECTORY={rehearsal.home} LOGLINEOS_CLOCK=off; set -o pipefail"
        )

    def bash(self, text: str, *codes: int) -> str:
        """What a block printed. Each of its commands has to work; or the last one has to end with one of `codes`."""
        code = self._type(text if codes else f"set -e\n{text}\nset +e")
        said = (self._folder / "out").read_text(encoding="utf-8", errors="replace")
        assert code in (codes or (0,)), f"{text}\nexited {code}:\n{said}"
        return said

    def _type(self, text: str) -> int | None:
        """The exit code; None if the shell itself ended."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        (self._folder / "block").write_text(text, encoding="utf-8")
        self._shell.stdin.write(f". {self._folder}/block < /dev/null > {self._folder}/out 2>&1; echo $?\n")
        self._shell.stdin.flush()
        ready, _, _ = select.select([self._shell.stdout], [], [], _PATIENCE_S)
        assert ready, f"{text}\nis not over after {_PATIENCE_S} s"
        line = self._shell.stdout.readline()
        return int(line) if line else None

    def sql(self, text: str) -> str:
        """The rows of a block, as the login that migrates."""
        with self.connect("loglineos-database-master") as connection:
            rows = connection.execute(text.encode()).fetchall()
        return "\n".join(" | ".join(map(str, row)) for row in rows)

    def connect(self, secret: str) -> psycopg.Connection[tuple[Any, ...]]:
        """A session as the login of a secret."""
        login, server = self.login(secret), self.rehearsal.postgres.running()
        assert server is not None
        return psycopg.connect(
            host=server.host, port=server.port, dbname="loglineos", autocommit=True,
            user=login["username"], password=login["password"],
        )  # fmt: skip

    def login(self, secret: str) -> dict[str, str]:
        """`username` and `password` of a secret."""
        found = self.rehearsal.client("secretsmanager").get_secret_value(SecretId=secret)
        login: dict[str, str] = json.loads(found["SecretString"])
        return login

    def fill(self, text: str) -> str:
        """Put what is known into a block's placeholders."""
        missing = set(_PLACEHOLDER.findall(text)) - self.filled.keys()
        assert not missing, f"nothing to fill in for {missing}:\n{text}"
        return _PLACEHOLDER.sub(lambda match: self.filled[match[0]], text)

    def close(self) -> None:
        for session in self.open_sessions:
            session.close()
        assert self._shell.stdin is not None
        self._shell.stdin.close()
        self._shell.kill()
        self._shell.wait(timeout=10)


@contextmanager
def programs_of(rehearsal: Rehearsal) -> Iterator[Path]:
    """A folder for the PATH, and what health_check.sh looks for in a clone."""
    folder, repository = rehearsal.home / "programs", rehearsal.repository
    server = forked.start(folder, f"{repository}:{repository / 'lambdas'}")
    installed = repository / ".venv" / "bin"
    installed.mkdir(parents=True, exist_ok=True)
    (installed / "loglineos").symlink_to(folder / "loglineos")
    try:
        yield folder
    finally:
        server.kill()
        server.wait(timeout=10)
