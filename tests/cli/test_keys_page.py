"""What docs/keys.md tells people to type is typed here, in a clone of its own: from the first signature to a theft."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from db_migration.rows import read_rows
from ledger.ids import MANIFEST_ID
from ledger.proof import parse_signing_key, public_key_of
from tests.conftest import TestLedger

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "keys.md").read_text(encoding="utf-8")
RELEASED = read_rows(ROOT / "row")
ROWS, SEQ = sum(map(len, RELEASED.values())), RELEASED[MANIFEST_ID][-1].seq
BLOCKS = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)


# The command line is imported once, and each command runs in a fork of it: the page has many.
FORKS = """
import json, os, sys
from loglineos.cli import main
for line in sys.stdin:
    given = json.loads(line)
    child = os.fork()
    if child == 0:
        os.environ.clear()
        os.environ.update(given["environment"])
        for name, number in (("said.out", 1), ("said.err", 2)):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        sys.argv = ["loglineos", *given["words"]]
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        sys.stdout.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Clone:
    """A checkout whose rows can be changed, and a shell in it."""

    def __init__(self, ledger: TestLedger, folder: Path) -> None:
        self.folder, self.ledger = folder, ledger
        for name in ("lambdas", "loglineos", "stacks", "migrations", "row"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.endswith(("_KEYS", "_KEY_HEX"))},
            "PYTHONPATH": f"{folder}:{folder / 'lambdas'}",
            "DATABASE_URL": ledger.url("postgres"),
            "LOGLINEOS_DIRECTORY": str(folder / "local"),
        }
        self.said: dict[str, str] = {}
        self._forks = subprocess.Popen(
            [sys.executable, "-P", "-c", FORKS], cwd=folder, env=self.environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def run(self, script: str, expect: int = 0) -> str:
        """Standard output of commands of the page, or the errors of one that has to fail."""
        for name, value in self.said.items():
            script = script.replace(name, value)
        printed = ""
        # Where DATABASE_URL is set, no code is deployed: the rows of the clone are seeded.
        script = script.replace("bash deploy.sh", "loglineos seed")
        for words in map(shlex.split, filter(None, script.splitlines())):
            if words[0] != "loglineos":
                subprocess.run(words, cwd=self.folder, check=True)
                continue
            code, out, error = self._command(words[1:])
            assert code == expect, out + error
            printed += out if expect == 0 else error
        return printed

    def _command(self, words: list[str]) -> tuple[int, str, str]:
        """The end of `loglineos` with these arguments."""
        assert self._forks.stdin is not None
        assert self._forks.stdout is not None
        self._forks.stdin.write(json.dumps({"words": words, "environment": self.environment}) + "\n")
        self._forks.stdin.flush()
        code = int(self._forks.stdout.readline())
        return code, *((self.folder / name).read_text() for name in ("said.out", "said.err"))  # type: ignore[return-value]

    def close(self) -> None:
        self._forks.communicate(timeout=30)

    def keys(self) -> dict[str, dict[str, Any]]:
        """`keys list` by public key."""
        return {key["public_key"]: key for key in json.loads(self.run("loglineos keys list --json"))["keys"]}

    def public(self, name: str) -> str:
        """Of a key file."""
        file = self.folder / name
        assert file.stat().st_mode & 0o777 == 0o600
        return public_key_of(parse_signing_key(file.read_text(), name))

    def in_force(self, use: str) -> str:
        """The key that the functions sign with."""
        (key,) = [k["public_key"] for k in self.keys().values() if (k["use"], k["state"]) == (use, "in force")]
        return str(key)

    def sealed_size(self) -> int:
        """Of the newest checkpoint."""
        return int(json.loads(self.run("loglineos checkpoint show --json"))["size"])


@pytest.fixture
def clone(empty: TestLedger, tmp_path: Path) -> Iterator[Clone]:
    made = Clone(empty, tmp_path)
    yield made
    made.close()


def boot(clone: Clone) -> None:
    """Manifest and kernel are signed by keys that count."""
    given = json.dumps({"name": "welcome_message", "variables": {"user_name": "Ana"}})
    booted = json.loads(clone.run(f"loglineos boot prompt_fetch_kernel --json --input '{given}'"))
    assert booted["proof"] == "signed"


def test_keys_from_the_first_signature_to_a_theft(clone: Clone) -> None:
    offline, rotate_row, seed, rotate_loader, rotate_checkpoint, retire, theft = BLOCKS
    sign_offline(clone, offline)
    assert f"manifest seq {SEQ + 1} (signed)" in clone.run(rotate_row)
    assert "already" in clone.run(rotate_row.splitlines()[1]), "a second time it changes nothing"
    clone.run(seed)
    clone.said["NEXT_PUBLIC"] = clone.public("next.key")
    assert clone.keys()[clone.said["NEXT_PUBLIC"]]["trusted_by"] == f"manifest seq {SEQ + 1}"
    change_loader_key(clone, rotate_loader)
    clone.run("loglineos checkpoint")
    old_checkpoint = clone.in_force("checkpoint")
    clone.run(rotate_checkpoint)
    assert clone.keys()[old_checkpoint]["trusted_by"] == f"manifest seq {SEQ + 3}"
    assert clone.in_force("checkpoint") != old_checkpoint
    what_is_not_retired(clone, old_checkpoint)
    size = retire_loader_key(clone, retire)
    assert clone.keys()[old_checkpoint]["spans"] == clone.keys()[clone.in_force("checkpoint")]["spans"] == 1
    clone.said["SIZE"] = str(size)
    after_a_theft(clone, theft)


def sign_offline(clone: Clone, block: str) -> None:
    """And deploy what was signed to a new ledger."""
    new, sign, check = block.splitlines()
    clone.run(f"{new}\n{sign}")
    release = clone.said["RELEASE_PUBLIC"] = clone.public("release.key")
    assert f"All {ROWS} rows are signed" in clone.run(check)
    clone.environment["TRUSTED_ROW_KEYS"] = release
    clone.run("loglineos migrate\nloglineos seed")
    first = clone.keys()
    assert (first[release]["trusted_by"], first[release]["spans"]) == ("configuration", ROWS)


def change_loader_key(clone: Clone, block: str) -> None:
    """By the page's two steps; what came before it stays valid."""
    boot(clone)
    old = clone.said["OLD_LOADER_PUBLIC"] = clone.in_force("loader")
    new, announce, deploy, force, remove, show = block.splitlines()
    clone.run(new)
    loader = clone.public("loader.key")
    assert f"manifest seq {SEQ + 2} (signed)" in clone.run(announce)
    assert f"the ledger's is seq {SEQ + 1}" in clone.run(force, expect=1), "not before the ledger knows both"
    clone.run(deploy)
    assert "within five minutes" in clone.run(force)
    assert "already" in clone.run(force)
    clone.run(f"{remove}\n{show}")
    boot(clone)
    both = clone.keys()
    assert (both[old]["spans"], both[loader]["spans"], both[loader]["state"]) == (2, 2, "in force")
    proofs = json.loads(clone.run("loglineos timeline --type execution --json"))["spans"]
    assert {(span["public_key"], span["proof"]) for span in proofs} == {(old, "signed"), (loader, "signed")}


def what_is_not_retired(clone: Clone, checkpoint: str) -> None:
    """Each is refused with its reason, and nothing is written."""
    manifest = clone.folder / "row" / "manifest" / "03-manifest.ndjson"
    before = manifest.read_text()
    old, release = clone.said["OLD_LOADER_PUBLIC"], clone.said["RELEASE_PUBLIC"]
    clone.run("loglineos keys new --out stranger.key")
    for words, code, said in (
        (f"{clone.in_force('loader')} --from-size now --key next.key", 1, "is in force"),
        (f"{old} --from-size 0 --key next.key", 1, "2 spans after checkpoint size 0 are signed by this key"),
        (f"{old} --from-size 99999 --key next.key", 1, "expected the size of a checkpoint"),
        (f"{old} --from-size soon --key next.key", 2, "or now"),
        (f"{old} --from-size now", 2, "rows have to be signed here"),
        (f"{old} --from-size now --key stranger.key", 2, "is no row key that counts"),
        (f"{'0' * 64} --from-size now --key next.key", 1, "a public key that the manifest or the configuration names"),
        (f"{release} --from-size now --key release.key --compromised", 2, "a key cannot retire itself"),
        (f"{checkpoint} --from-size now --key next.key --compromised", 1, "1 checkpoint and archive spans behind"),
    ):
        assert said in " ".join(clone.run(f"loglineos keys retire {words}", expect=code).split())
    assert manifest.read_text() == before


def retire_loader_key(clone: Clone, block: str) -> int:
    """From which checkpoint size on."""
    old = clone.said["OLD_LOADER_PUBLIC"]
    clone.run(block)
    size = clone.sealed_size()
    assert clone.keys()[old]["state"] == f"retired from size {size} on"
    assert "is retired" in clone.run(f"loglineos keys retire {old} --from-size {size} --key next.key")
    return size


def after_a_theft(clone: Clone, block: str) -> None:
    """The deployment names the new key alone, and what the old one signed in its time runs on."""
    release = clone.said["RELEASE_PUBLIC"]
    clone.run(block)
    clone.environment["TRUSTED_ROW_KEYS"] = clone.said["NEXT_PUBLIC"]
    clone.run("loglineos seed")
    assert clone.keys()[release]["state"] == f"retired from size {clone.said['SIZE']} on"
    boot(clone)
    clone.run(f"loglineos keys sign row --check --public {release}", expect=1)
    last = f"loglineos keys retire {clone.said['NEXT_PUBLIC']} --from-size now --key next.key --compromised"
    assert "it is the last row key" in clone.run(last, expect=1)


def test_every_command_of_the_group_is_on_the_page() -> None:
    for command in ("new", "list", "sign", "rotate", "retire"):
        assert f"loglineos keys {command}" in PAGE
