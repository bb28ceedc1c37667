"""The server's process: found for certain, started detached, stopped cleanly."""

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from loglineos.local.account import Account, command_line
from loglineos.local.binaries import Binaries
from loglineos.local.errors import LocalPostgresError
from loglineos.local.passwords import write_private
from loglineos.local.roles import HOST

PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Process:
    """A running server, which is `ready` once it accepts connections."""

    pid: int
    port: int
    ready: bool


class Postmaster:
    """The one process that may serve the data of a directory."""

    def __init__(self, directory: Path, settings: dict[str, str]) -> None:
        self._directory = directory
        self._data = directory / "data"
        self._log = directory / "postgres.log"
        self._settings = settings

    def find(self) -> Process | None:
        """The process that postmaster.pid names, if it serves these data: after a crash it may be any."""
        lines = self._pid_file()
        if not lines or f"postgres -D {self._data.resolve()} -c " not in command_line(int(lines[0])):
            return None
        port = int(lines[3]) if len(lines) > 3 else 0
        return Process(int(lines[0]), port, ready=len(lines) > 7 and lines[7].strip() == "ready")

    def launch(self, account: Account, programs: Binaries) -> None:
        """Start it; again if only a taken port, or what is left of a killed server, was in its way."""
        if self._log.exists():
            self._log.replace(self._log.with_name("postgres.log.1"))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._attempt(account, programs):
            said = self._last_words()
            passing = "could not bind" in said or "pre-existing shared memory block" in said
            if not passing or time.monotonic() > deadline:
                raise self.trouble("PostgreSQL ended while it was starting.")
            time.sleep(0.2)

    def await_ready(self, pid: int, alive: Callable[[], bool]) -> bool:
        """Wait until it accepts connections; False if it ends instead."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            lives = alive()  # asked first: what is found thereafter is not older than the answer
            found = self.find()
            if found and found.pid == pid and found.ready:
                return True
            if not lives:
                return False
            time.sleep(0.02)
        raise self.trouble(f"PostgreSQL (pid {pid}) is still starting after {PATIENCE_SECONDS:.0f} s.")

    def shut_down(self) -> bool:
        """End all sessions and write everything out; False if it was not running."""
        found = self.find()
        if found is None:
            return False
        os.kill(found.pid, signal.SIGINT)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.find() is not None:
            if time.monotonic() > deadline:
                raise self.trouble(
                    f"PostgreSQL (pid {found.pid}) is still there {PATIENCE_SECONDS:.0f} s after SIGINT."
                )
            time.sleep(0.02)
        return True

    def trouble(self, what: str) -> LocalPostgresError:
        """The error with the end of the log and what to do."""
        return LocalPostgresError(
            f"{what} The last lines of {self._log}:\n{self._last_words()}\n"
            "Mend what they name and start again. If the data are beyond repair, remove"
            f" {self._directory} to begin with an empty ledger."
        )

    def _attempt(self, account: Account, programs: Binaries) -> bool:
        port = self._choose_port()
        process = self._spawn(account, programs, port)
        ready = self.await_ready(process.pid, lambda: process.poll() is None)
        if ready:
            write_private(self._directory / "port", f"{port}\n")
        return ready

    def _spawn(self, account: Account, programs: Binaries, port: int) -> subprocess.Popen[bytes]:
        command: list[str | Path] = [programs.postgres, "-D", self._data.resolve(), "-c", f"port={port}"]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        # A crash leaves postmaster.pid, and another program may have its pid by now. PostgreSQL takes the pid
        # in this variable, where pg_ctl names its own, for no server's; it still makes sure that no process
        # uses the data.
        stale = self._pid_file()
        extra = {"PG_GRANDPARENT_PID": stale[0]} if stale else {}
        log = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(log, "ab") as file:
            process = account.detach(command, file, extra)
        # Collects it when it ends: if we live longer, its remains would otherwise keep the pid.
        threading.Thread(target=process.wait, daemon=True).start()
        return process

    def _choose_port(self) -> int:
        """The port that it had last, unless somebody else has it now; else any that is free."""
        with contextlib.suppress(OSError, ValueError, OverflowError):
            return _bind(int((self._directory / "port").read_text()))
        return _bind(0)

    def _pid_file(self) -> list[str]:
        """Its lines; none if there is no such file, or not yet a pid in it."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []
        return lines if lines and lines[0].isdigit() else []

    def _last_words(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return "\n".join(self._log.read_text(errors="replace").splitlines()[-12:])
        return "(none)"


def _bind(port: int) -> int:
    """The port (a free one for 0) if a server could listen on it now; else an OSError."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as PostgreSQL does
        probe.bind((HOST, port))
        return int(probe.getsockname()[1])
