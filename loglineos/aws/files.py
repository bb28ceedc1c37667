"""The emulator's directory: lock, pid, port, log, and the environment to source."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Info:
    """A running emulator."""

    pid: int
    port: int
    api_port: int  # of the deployed HTTP API
    region: str


class Files:
    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self.log = self.directory / "emulator.log"
        self._info = self.directory / "emulator.json"
        self._port = self.directory / "port"
        self._lock = self.directory / "lock"

    @contextlib.contextmanager
    def held(self) -> Iterator[bool]:
        """Hold the directory for as long as the process serves it; False if another one does."""
        self.directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    def in_use(self) -> bool:
        """Whether a process holds it: the lock goes with its process, however that ends."""
        with self.held() as free:
            return not free

    def write(self, info: Info) -> None:
        self._port.write_text(f"{info.port} {info.api_port}\n")
        whole = self._info.with_suffix(".new")
        whole.write_text(json.dumps(asdict(info)))
        whole.replace(self._info)

    def read(self) -> Info | None:
        """The emulator which serves this directory, if one does."""
        try:
            info = Info(**json.loads(self._info.read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return info if self.in_use() else None

    def forget(self) -> None:
        self._info.unlink(missing_ok=True)

    def last_ports(self) -> tuple[int | None, int | None]:
        """Where the emulator and the deployed HTTP API were last time."""
        try:
            port, api_port = map(int, self._port.read_text().split())
        except (OSError, ValueError):
            return None, None
        return port, api_port
