"""An embedded PostgreSQL: one server for one directory, which outlives the command that starts it.

The directory holds `data` (the cluster, or a link to it: see home.py), `passwords.json`, `port` (the one it
had last), `postgres.log` (and `postgres.log.1`, the one before) and `lock` (held while something changes).
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psycopg

from loglineos.local import binaries, cluster, home, roles
from loglineos.local.account import Account
from loglineos.local.binaries import Binaries
from loglineos.local.cluster import SUPERUSER
from loglineos.local.errors import LocalPostgresError
from loglineos.local.passwords import Passwords
from loglineos.local.postmaster import Postmaster

__all__ = ["LocalPostgres", "LocalPostgresError", "Server"]

_SETTINGS = {
    "listen_addresses": roles.HOST,
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    # An error's statement, detail and even message may quote a span: of a session only a fatal end is logged.
    "log_min_error_statement": "panic",
    "log_min_messages": "log",
    "log_error_verbosity": "terse",
}
# A killed server still loses nothing, only a machine that loses power does.
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}


@dataclass(frozen=True)
class Server:
    """A server that accepts connections."""

    host: str
    port: int
    version: str
    pid: int
    data_directory: Path
    _passwords: Passwords = field(repr=False, compare=False)

    def url(self, role: str = roles.MASTER, database: str = roles.DATABASE) -> str:
        """The URL to sign in as the role. The password is in it: never log it or put it on a command line."""
        user, password = quote(role, safe=""), quote(self._passwords[role], safe="")
        return f"postgresql://{user}:{password}@{self.host}:{self.port}/{quote(database, safe='')}"


class LocalPostgres:
    """The PostgreSQL of one directory. Any number of processes may call any of this at the same time."""

    def __init__(self, directory: Path, *, durable: bool = True) -> None:
        self._directory = directory.resolve()
        self._data = self._directory / "data"
        self._durable = durable
        self._passwords = Passwords(self._directory / "passwords.json")
        self._postmaster = Postmaster(self._directory, _SETTINGS if durable else _SETTINGS | _NOT_DURABLE)

    @property
    def directory(self) -> Path:
        """Where it keeps everything: another process finds the same server by it."""
        return self._directory

    def start(self) -> Server:
        """The running server, after making its data and starting it where that is yet to be done."""
        with self._locked() as lock:
            found = self._postmaster.find()
            if found is None:
                self._postmaster.launch(*self._prepare(lock))
            elif not found.ready:  # whoever started it was stopped while waiting for it
                self._postmaster.await_ready(found.pid, lambda: self._postmaster.find() is not None)
            server = self._server()
            if server is None:
                raise self._postmaster.trouble("PostgreSQL ended as soon as it had started.")
            with self._connect(server.port) as connection:
                roles.provision(connection, self._passwords)
            return server

    def stop(self) -> bool:
        """End all sessions and shut down cleanly; False if it was not running."""
        if not self._directory.exists():
            return False
        with self._locked():
            return self._postmaster.shut_down()

    def running(self) -> Server | None:
        """The server if it accepts connections. It is ours for certain: it was asked which data it serves."""
        self._check_owner()
        return self._server()

    def ensure_login(self, role: str) -> None:
        """Let the role sign in with the password in the passwords file; make whatever of this is missing."""
        with self._locked():
            server = self._server()
            if server is None:
                raise LocalPostgresError(f"No PostgreSQL runs in {self._directory}: start it first.")
            with self._connect(server.port) as connection:
                roles.ensure_login(connection, role, self._passwords)

    def set_password(self, role: str, password: str) -> None:
        """Give the role this password, in the passwords file too: who signs in by that file still can."""
        with self._locked():
            server = self._server()
            if server is None:
                raise LocalPostgresError(f"No PostgreSQL runs in {self._directory}: start it first.")
            self._passwords.keep(role, password)
            with self._connect(server.port) as connection:
                roles.set_password(connection, role, self._passwords)

    def remove(self) -> None:
        """Stop it and delete all that was made for it: the data, the passwords, the directory itself."""
        if not self._directory.exists():
            return
        with self._locked():
            self._postmaster.shut_down()
            home.remove(self._directory)
            shutil.rmtree(self._directory)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._check_owner()
            lock = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as problem:
            raise LocalPostgresError(f"The local PostgreSQL's directory cannot be used: {problem}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield lock
        finally:
            os.close(lock)

    def _check_owner(self) -> None:
        if not self._directory.exists():
            return
        owner = self._directory.stat().st_uid
        if os.geteuid() not in (0, owner):
            raise LocalPostgresError(
                f"{self._directory} belongs to user {owner}, and you are user {os.geteuid()}: be that user,"
                " or use a clone of your own."
            )

    def _prepare(self, lock: int) -> tuple[Account, Binaries]:
        """Find whom and what to run, and see to it that there are data."""
        account = Account.of(self._data)
        new = not self._data.is_symlink()
        place = home.find(self._directory, account)
        known = SUPERUSER in self._passwords
        if new and self._data.is_symlink() and self._data.exists() and not known:
            # The directory was deleted and made again while its data elsewhere stayed, of no more use.
            self._postmaster.shut_down()
            shutil.rmtree(place / "data")
        major = cluster.major(self._data)
        if major and not known:
            raise LocalPostgresError(
                f"{self._directory} has data, but no passwords.json with the password of {SUPERUSER}: restore"
                " that file, or remove the directory to begin with an empty ledger."
            )
        programs = binaries.find(account, place, major)
        if major is None:
            password = self._passwords.ensure(SUPERUSER)
            cluster.make(place, account, programs, password, durable=self._durable, lock=lock)
        return account, programs

    def _server(self) -> Server | None:
        found = self._postmaster.find()
        if found is None or not found.ready:
            return None
        with self._connect(found.port) as connection:
            (directory,) = connection.execute("SHOW data_directory").fetchone() or ("",)
            version = connection.info.parameter_status("server_version") or ""
        if Path(directory) != self._data.resolve():
            raise LocalPostgresError(f"Port {found.port} is of the server of {directory}, not of {self._data}.")
        return Server(roles.HOST, found.port, version.split()[0], found.pid, Path(directory), self._passwords)

    @contextlib.contextmanager
    def _connect(self, port: int) -> Iterator[roles.Connection]:
        try:
            connection = roles.connect(port, self._passwords)
        except psycopg.OperationalError as problem:
            raise LocalPostgresError(
                f"The PostgreSQL of {self._directory} runs, but does not let {SUPERUSER} in:"
                f" {str(problem).strip()}\n"
                "Restore passwords.json there if it was changed; postgres.log there tells more."
            ) from None
        with connection:
            yield connection
