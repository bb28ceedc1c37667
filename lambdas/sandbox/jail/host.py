"""The host's side of the jail: protect itself, put a program into the jail, and look at what holds for it."""

from __future__ import annotations

import ctypes
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LINUX = sys.platform.startswith("linux")
_LAUNCHER = Path(__file__).with_name("launcher.py")
_SET_DUMPABLE = 4  # of prctl


def harden_host() -> None:
    """Close this process's memory and environment to every other process of its user. On Linux; no more elsewhere."""
    if LINUX and ctypes.CDLL(None, use_errno=True).prctl(_SET_DUMPABLE, 0, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE, 0) failed")


@contextmanager
def jailed(program: Path, *before: str) -> Iterator[Path]:
    """A path whose execution by this process is the program's in the jail; `before` are its first arguments.

    The script is there only while a worker starts: its folder is this user's alone, and gone afterwards.
    """
    if not LINUX:
        yield program
        return
    launch = [sys.executable, "-I", "-S", "-B", str(_LAUNCHER), str(os.getpid()), str(program), *before]
    # Whoever executes it gives it no environment, and some builds of Python need this one to find themselves.
    libraries = shlex.quote(os.environ.get("LD_LIBRARY_PATH", ""))
    with tempfile.TemporaryDirectory(prefix="loglineos-sandbox-") as folder:
        script = Path(folder) / "worker"
        script.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={libraries} exec {shlex.join(launch)} "$@"\n', encoding="utf-8")
        script.chmod(0o700)
        yield script


def bounds_of(pid: int) -> dict[str, object]:
    """What holds for a worker, by the kernel's own account of it: `seccomp` ("on" or "absent"), `no_new_privs`."""
    if not LINUX:
        return {"seccomp": "absent", "no_new_privs": False}
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    values = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    filtered = values.get("Seccomp", "0").strip() == "2"
    return {"seccomp": "on" if filtered else "absent", "no_new_privs": values.get("NoNewPrivs", "0").strip() == "1"}
