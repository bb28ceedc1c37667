"""The operating system's user that the server runs as: PostgreSQL refuses to run as root."""

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from loglineos.local.errors import LocalPostgresError

# Children see none of the operator's environment: it may hold credentials, and a server outlives it.
_ENVIRONMENT = {"PATH": os.defpath, "LANG": "C", "TZ": "UTC"}


@dataclass(frozen=True)
class Account:
    """Whom the server's processes run as; `switch` where that is not who we are."""

    uid: int
    gid: int
    switch: bool

    @classmethod
    def of(cls, data: Path) -> "Account":
        """Ourselves. For root: the owner of the data or of their directory, or else an unprivileged user."""
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid(), switch=False)
        owners = [path.stat().st_uid for path in (data, data.parent) if path.exists()]
        user = next((_entry(uid) for uid in owners if uid != 0), None) or _unprivileged()
        return cls(user.pw_uid, user.pw_gid, switch=True)

    def own(self, target: Path | int) -> None:
        """Hand a file, by path or by descriptor, to the server's user."""
        if self.switch:
            os.chown(target, self.uid, self.gid)

    def run(
        self, command: Sequence[str | Path], *, stdin: int = subprocess.DEVNULL, pass_fds: Sequence[int] = ()
    ) -> tuple[bool, str]:
        """Run a program to its end: whether it succeeded, and what it said."""
        try:
            done = subprocess.run(  # noqa: S603 - the callers' constants and paths, and no shell
                command,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=pass_fds,
                cwd="/",  # where we are may be closed to the server's user
                env=_ENVIRONMENT,
                user=self.uid if self.switch else None,
                group=self.gid if self.switch else None,
                extra_groups=[] if self.switch else None,
                check=False,
            )
        except OSError as problem:  # closed to that user, or not a program of this machine
            return False, str(problem)
        return done.returncode == 0, done.stdout.decode(errors="replace")

    def detach(self, command: Sequence[str | Path], log: IO[bytes], extra: dict[str, str]) -> subprocess.Popen[bytes]:
        """Start a program that outlives us, in a session of its own so that no Ctrl-C reaches it."""
        return subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=_ENVIRONMENT | extra,
            user=self.uid if self.switch else None,
            group=self.gid if self.switch else None,
            extra_groups=[] if self.switch else None,
            start_new_session=True,
        )

    def enters(self, directory: Path) -> bool:
        """Whether the server's user gets into the directory: only trying it as that user is sure."""
        return not self.switch or self.run(["/bin/sh", "-c", 'cd "$1"', "sh", directory])[0]


def _entry(uid: int) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        raise LocalPostgresError(
            f"The local PostgreSQL's files belong to user {uid}, who is not in this machine's list of users:"
            " PostgreSQL cannot run as that user. Give the files to one who is, or remove them."
        ) from None


def _unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise LocalPostgresError(
        "PostgreSQL does not run as root, and this machine has neither a user postgres nor nobody for it:"
        " add one with `useradd --system postgres`, or run this as an ordinary user."
    )


def command_line(pid: int) -> str:
    """What a process was started with; empty if there is none, or only its remains wait to be collected."""
    if Path("/proc/self/cmdline").exists():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:
            return ""
    else:
        command = ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)]
        words = subprocess.run(command, capture_output=True, check=False).stdout  # noqa: S603
    return os.fsdecode(words)
