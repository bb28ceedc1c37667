"""Making a cluster: initdb, all or nothing."""

import os
import shutil
from pathlib import Path

from loglineos.local.account import Account
from loglineos.local.binaries import Binaries
from loglineos.local.errors import LocalPostgresError

SUPERUSER = "rdsadmin"  # as on RDS, the superuser is nobody's login


def major(data: Path) -> int | None:
    """The PostgreSQL that made the data; None if there are none."""
    try:
        return int((data / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None


def make(home: Path, account: Account, programs: Binaries, password: str, *, durable: bool, lock: int) -> None:
    """Make it beside its place and move it there when it is done: half a cluster is never taken for one."""
    half = home / "data.half"
    if half.exists():
        shutil.rmtree(half)
    half.mkdir(mode=0o700)
    account.own(half)
    reader, writer = os.pipe()  # the password is in no file of its own and on no command line
    try:
        account.own(reader)
        os.write(writer, f"{password}\n".encode())
        os.close(writer)
        # It holds the lock too: should we be killed, the next start waits for it to end and then begins anew.
        done, said = account.run(_initdb(programs, half, durable), stdin=reader, pass_fds=[lock])
    finally:
        os.close(reader)
    if not done:
        raise LocalPostgresError(f"{programs.initdb} failed. Mend what it names and start again:\n{said}")
    half.rename(home / "data")


def _initdb(programs: Binaries, target: Path, durable: bool) -> list[str | Path]:
    # The C library's ctype still matters to text search; Apple's has no C.UTF-8.
    ctype = "C.UTF-8" if os.uname().sysname == "Linux" else "en_US.UTF-8"
    command: list[str | Path] = [programs.initdb, "--pgdata", target, f"--username={SUPERUSER}"]
    command += ["--pwfile=/dev/stdin", "--auth=scram-sha-256"]
    command += ["--encoding=UTF8", "--locale=C", f"--lc-ctype={ctype}"]
    if programs.major >= 17:
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return command if durable else [*command, "--no-sync"]
