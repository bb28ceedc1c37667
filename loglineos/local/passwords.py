"""The passwords of the local roles: made here, kept in one file that only its owner reads."""

import json
import os
import secrets
import tempfile
from pathlib import Path

from loglineos.local.errors import LocalPostgresError


class Passwords:
    """A JSON object from role to password. Read anew each time: another process may have added a role."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __contains__(self, role: str) -> bool:
        return role in self._read()

    def __getitem__(self, role: str) -> str:
        try:
            return self._read()[role]
        except KeyError:
            raise LocalPostgresError(f"{self._path} has no password for the role {role}.") from None

    def ensure(self, role: str) -> str:
        """The role's password, made and kept before it is first used: a crash in between loses nothing."""
        passwords = self._read()
        if role not in passwords:
            passwords[role] = secrets.token_urlsafe(32)
            write_private(self._path, json.dumps(passwords, indent=2) + "\n")
        return passwords[role]

    def keep(self, role: str, password: str) -> None:
        """Remember a password that somebody else chose."""
        write_private(self._path, json.dumps({**self._read(), role: password}, indent=2) + "\n")

    def _read(self) -> dict[str, str]:
        try:
            return {str(role): str(password) for role, password in json.loads(self._path.read_text()).items()}
        except FileNotFoundError:
            return {}
        except (ValueError, AttributeError):
            raise LocalPostgresError(
                f"{self._path} is no JSON object of passwords: restore it, or remove {self._path.parent}"
                " to begin with an empty ledger."
            ) from None


def write_private(path: Path, text: str) -> None:
    """Replace a file at once by one of mode 0600, its directory's owner's even where root writes it."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
        owner = path.parent.stat()
        if os.geteuid() == 0:
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
    Path(name).replace(path)
