"""The files a function runs from: its zip, its layers, and the few packages that AWS's runtime brings."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import io
import os
import re
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

# What AWS has in its Python runtimes besides the standard library. Nothing else of the emulator's own
# environment is visible to a function: a package that its layer lacks is missing here as it is there.
_RUNTIME_PACKAGES = ("awslambdaric", "boto3")


def runtime_directory(root: Path) -> Path:
    """A folder with links to the packages of the runtime and no others."""
    folder = root / "runtime"
    if not folder.exists():
        building = root / f"runtime.{os.getpid()}"
        building.mkdir(parents=True)
        for package in _with_requirements(_RUNTIME_PACKAGES):
            for path in _top_level(package):
                link = building / path.name
                if not link.exists():
                    link.symlink_to(path)
        building.rename(folder)
    return folder


def _with_requirements(packages: Iterable[str]) -> set[str]:
    found: set[str] = set()
    waiting = list(packages)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            for requirement in importlib.metadata.requires(name) or ():
                if "extra ==" not in requirement:
                    match = re.match(r"[A-Za-z0-9._-]+", requirement)
                    waiting += [match[0]] if match else []
    return found


def _top_level(package: str) -> Iterator[Path]:
    distribution = importlib.metadata.distribution(package)
    for name in {file.parts[0] for file in distribution.files or ()}:
        path = Path(str(distribution.locate_file(name)))
        if not name.startswith("..") and not name.endswith((".dist-info", "__pycache__")) and path.exists():
            yield path.resolve()


def unpacked(root: Path, archive: bytes, sha256: str = "") -> Path:
    """The archive's files, in a folder named by its hash: unpacked once, whoever uses it.

    `sha256`: the hash in base64, where Lambda knows it already; large archives take long to hash.
    """
    digest = base64.b64decode(sha256) if sha256 else hashlib.sha256(archive).digest()
    folder = root / "code" / digest.hex()[:32]
    if not folder.exists():
        building = folder.with_name(f"{folder.name}.{os.getpid()}.{os.urandom(4).hex()}")
        building.mkdir(parents=True)
        with zipfile.ZipFile(io.BytesIO(archive)) as files:
            for entry in files.infolist():
                path = Path(files.extract(entry, building))
                if entry.external_attr >> 16 & 0o100:  # AWS keeps what is executable so; the zip library does not
                    path.chmod(0o755)
        try:
            building.rename(folder)
        except OSError:  # another thread was faster, with the same bytes
            shutil.rmtree(building)
    return folder


def search_path(task: Path, layers: Iterable[Path], runtime: Path) -> list[Path]:
    """Where Python looks, in the order of AWS's runtimes: the function, its layers, the runtime.

    A later layer hides an earlier one, as when AWS unpacks them over each other.
    """
    python = [folder for layer in reversed(list(layers)) for folder in _python_folders(layer)]
    return [task, *python, runtime]


def _python_folders(layer: Path) -> list[Path]:
    found = sorted(layer.glob("python/lib/python*/site-packages"))
    return [*found, layer / "python"]
