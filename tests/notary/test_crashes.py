"""A notary that dies at any step, is killed at any moment, or is not alone: one root for each size, the log whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from db_migration.notary import chain as chain_module
from db_migration.notary import seal as seal_module
from db_migration.notary.published import publish
from ledger.append import append
from ledger.connection import Connection
from ledger.storage import Folder
from tests.notary.kit import Notary

STEPS = 200  # more than there are


class Died(Exception):
    """The process was gone at this step."""


class Steps:
    """Counts what is written, and dies before the step of a number, or after it."""

    def __init__(self, die_at: int, *, after: bool) -> None:
        self.die_at, self.after, self.done = die_at, after, 0

    def __call__(self, write: Any, *arguments: Any) -> Any:
        self.done += 1
        if self.done == self.die_at and not self.after:
            raise Died
        result = write(*arguments)
        if self.done == self.die_at:
            raise Died
        return result


@pytest.fixture
def stepped(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets every write of a file and every append of a checkpoint go through the steps."""
    add, replace = Folder.add, Folder.replace

    @contextmanager
    def install(steps: Steps) -> Any:
        def add_all(self: Folder, files: Iterable[tuple[str, bytes]]) -> None:
            for name, data in files:
                self.add(name, data)

        with monkeypatch.context() as patch:
            patch.setattr(Folder, "add", lambda self, name, data: steps(add, self, name, data))
            patch.setattr(Folder, "add_all", add_all)
            patch.setattr(Folder, "replace", lambda self, name, data: steps(replace, self, name, data))
            patch.setattr(chain_module, "append", lambda *arguments: steps(append, *arguments))
            yield

    return install


@pytest.mark.parametrize("after", [False, True])
def test_it_can_die_at_every_step(notary: Notary, stepped: Any, monkeypatch: pytest.MonkeyPatch, after: bool) -> None:
    monkeypatch.setattr(seal_module, "MAX_SPANS", 300)
    died = 0
    for step in range(1, STEPS):
        notary.write(310)  # so there is something to seal whatever the run before came to
        steps = Steps(step, after=after)
        with stepped(steps):
            said = notary.answer()
        if said["ok"]:
            assert steps.done < step
            break
        assert said["error"]["code"] == "internal", said
        died += 1
    assert died >= 8, "the writes of two checkpoints"
    notary.seal()
    notary.require_whole()
    assert notary.seal()["sealed"] == []


KILLED = """
import os, sys
from db_migration.handler import answer
from db_migration.notary import seal
seal.MAX_SPANS = 100
print("ready", flush=True)
sys.stdin.readline()
answer({"action": "checkpoint"}, os.environ)
"""


def test_it_can_be_killed_at_any_moment(notary: Notary) -> None:
    pick = random.Random(7)
    killed = 0
    for _ in range(4):
        notary.write(700)
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED], env={**os.environ, **notary.environment},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        process.stdin.write(b"\n")
        process.stdin.flush()
        time.sleep(pick.uniform(0.02, 0.4))
        process.send_signal(signal.SIGKILL)
        process.stdin.close()
        process.stdout.close()
        killed += process.wait() == -signal.SIGKILL
    assert killed >= 2
    _wait_for_the_lock(notary)
    notary.seal()
    notary.require_whole()


def _wait_for_the_lock(notary: Notary) -> None:
    """The server notices a moment later that the killed one is gone."""
    until = time.monotonic() + 20
    while notary.answer()["busy"]:
        assert time.monotonic() < until


def test_a_second_notary_is_told_that_one_is_at_work(notary: Notary) -> None:
    with notary.ledger.connect("lambda_exec") as connection:
        _lock(connection)
        said = notary.seal()
        assert (said["busy"], said["sealed"], said["newest"]) == (True, [], None)
        assert notary.seal(rebuild=True)["busy"]
    assert not notary.seal()["busy"]


def _lock(connection: Connection) -> None:
    connection.execute("SELECT pg_advisory_lock(%s)", [seal_module.LOCK_KEY])


@contextmanager
def _never_alone(_database: Any) -> Any:
    yield True


@pytest.mark.parametrize("locked", [True, False])
def test_several_at_once(notary: Notary, monkeypatch: pytest.MonkeyPatch, locked: bool) -> None:
    monkeypatch.setattr(seal_module, "MAX_SPANS", 100)
    if not locked:
        monkeypatch.setattr(seal_module, "alone", _never_alone)
    notary.write(900)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            said = list(pool.map(lambda _: notary.answer(), range(4)))
            assert all(one["ok"] for one in said), said
            notary.write(100)
    notary.seal()
    notary.require_whole()


def test_a_slow_notary_does_not_take_the_newest_checkpoint_back(
    notary: Notary, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It has appended its span, and sleeps; another one goes on and publishes; then it wakes up."""

    def slowly(storage: Any, chain: Any, newest: Any) -> None:
        monkeypatch.setattr(seal_module, "publish", publish)
        notary.write(1)
        notary.seal()
        publish(storage, chain, newest)

    monkeypatch.setattr(seal_module, "publish", slowly)
    monkeypatch.setattr(seal_module, "alone", _never_alone)
    first = notary.seal()["sealed"][0]["size"]
    assert notary.newest().size > first
    notary.require_whole()
