"""Where the server's files are: in its directory, or elsewhere if the server's user cannot enter that.

A clone under /root (0700) is closed to the unprivileged user that root's server runs as. Opening its
parents is not ours to do, so the data, and the programs copied for that user, are then in a folder under
/var/lib, with a link to it from the directory. Only root writes to /var/lib: nobody else can have put
something there first, as in /var/tmp, and nothing sweeps it for old files.
"""

import hashlib
import os
import shutil
import stat
from pathlib import Path

from loglineos.local.account import Account
from loglineos.local.errors import LocalPostgresError

ELSEWHERE = Path("/var/lib/loglineos")


def find(directory: Path, account: Account) -> Path:
    """The folder that holds the directory's data, made and linked if need be."""
    data, elsewhere = directory / "data", place_elsewhere(directory)
    if data.is_symlink():
        if data.readlink() != elsewhere / "data":
            raise LocalPostgresError(
                f"{data} links to {data.readlink()}, which was made for another directory: was this one moved"
                f" or copied? Move it back, or remove {directory} to begin with an empty ledger."
            )
    elif account.enters(directory):
        return directory
    elif data.exists():
        raise LocalPostgresError(
            f"User {account.uid}, whom PostgreSQL runs as, can no longer reach the data in {data}: open the"
            f" folders above them again, or remove {directory} to begin with an empty ledger."
        )
    for folder in (elsewhere.parent, elsewhere):
        _make(folder)
    if not data.is_symlink():
        data.symlink_to(elsewhere / "data")
    return elsewhere


def remove(directory: Path) -> None:
    """Delete what of the directory is elsewhere."""
    elsewhere = place_elsewhere(directory)
    if (directory / "data").is_symlink() and elsewhere.exists():
        shutil.rmtree(elsewhere)


def place_elsewhere(directory: Path) -> Path:
    """One for each directory, found again after the link to it was lost."""
    return ELSEWHERE / hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]


def _make(folder: Path) -> None:
    """A folder of root's that the server's user can pass through; never one that somebody else put there."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as problem:
        raise LocalPostgresError(
            "The server's user cannot reach this clone, and its data cannot be elsewhere either:"
            f" {problem}. Use a clone in a folder that every user can enter."
        ) from None
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise LocalPostgresError(
            f"{folder} is no folder that root made and only root can write to: see what it is and remove it."
        )
    folder.chmod(0o711)
