"""`loglineos checkpoint` as a person and a script use it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ledger.storage import Folder
from tests.cli.conftest import Shell
from tests.conftest import TestLedger
from tests.notary.kit import Notary
from tlog.checkpoint import open_checkpoint, parse_checkpoint
from tlog.note import NoteKey
from tlog.proofs import ConsistencyProof


@pytest.fixture
def shell(ledger: TestLedger, tmp_path: Path) -> Shell:
    return Shell(ledger, tmp_path)


@pytest.fixture
def writer(ledger: TestLedger, tmp_path: Path) -> Notary:
    return Notary(ledger, tmp_path / "unused")


def _json(shell: Shell, *arguments: str) -> dict[str, object]:
    ran = shell.run(*arguments, "--json")
    assert ran.returncode == 0, ran.stderr
    answer: dict[str, object] = json.loads(ran.stdout)
    return answer


def test_sealing_and_what_it_prints(shell: Shell, writer: Notary) -> None:
    none = shell.run("checkpoint", "show")
    assert none.returncode == 1
    assert "seal the first one with `loglineos checkpoint`" in none.stderr
    first = shell.run("checkpoint")
    assert first.returncode == 0, first.stderr
    assert "sealed" in first.stdout
    key = first.stdout.split("key  ")[1].strip()
    assert NoteKey.parse(key).name == "loglineos-local"
    writer.write(5)
    show = shell.run("checkpoint", "show")
    assert f"key     {key}" in show.stdout
    assert "behind  6 spans are not sealed yet" in show.stdout, "five notes and the checkpoint itself"
    assert _json(shell, "checkpoint")["busy"] is False
    again = shell.run("checkpoint")
    assert "Nothing new to seal" in again.stdout

    shown = _json(shell, "checkpoint", "show")
    assert open_checkpoint(str(shown["note"]), [NoteKey.parse(key)]).size == shown["size"]
    ledger = shown["ledger"]
    assert isinstance(ledger, dict)
    assert (ledger["key"], ledger["signed_by_key"], ledger["behind"]) == (key, True, 1)
    apart = _json(shell, "checkpoint", "show", "--log", str(shell.folder / "local/archive/log"))
    assert (apart["root"], apart["ledger"]) == (shown["root"], None)

    listed = _json(shell, "checkpoint", "list")["checkpoints"]
    assert isinstance(listed, list)
    sizes = [one["size"] for one in listed]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == shown["size"]
    assert shell.run("checkpoint", "list", "--limit", "1").stdout.splitlines() == [
        "size\troot", f"{shown['size']}\t{shown['root']}"
    ]  # fmt: skip
    _consistency(shell, sizes[1], sizes[0], key)
    _rebuild(shell)


def _consistency(shell: Shell, old: int, new: int, key: str) -> None:
    file = shell.folder / "proof"
    assert shell.run("checkpoint", "consistency", str(old), str(new), "-o", str(file)).returncode == 0
    assert shell.run("checkpoint", "consistency", str(old), str(new)).stdout == file.read_text()
    log = Folder(shell.folder / "local/archive/log")
    older = (log.read(f"checkpoints/{old:020}") or b"").decode()
    proof = ConsistencyProof.parse(file.read_text())
    assert proof.verify(parse_checkpoint(older.rpartition("\n\n")[0] + "\n"), [NoteKey.parse(key)]).size == new
    unknown = shell.run("checkpoint", "consistency", str(old + 1), str(new))
    assert (unknown.returncode, "checkpoint list" in unknown.stderr) == (1, True)
    assert shell.run("checkpoint", "consistency", str(new), str(old)).returncode == 2


def _rebuild(shell: Shell) -> None:
    shutil.rmtree(shell.folder / "local/archive")
    refused = shell.run("checkpoint")
    assert refused.returncode == 1
    assert "loglineos checkpoint rebuild" in refused.stderr
    rebuilt = shell.run("checkpoint", "rebuild")
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert "2 checkpoints of" in rebuilt.stdout
    assert _json(shell, "checkpoint", "rebuild")["written"] == 0
