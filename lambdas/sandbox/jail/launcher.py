"""Turns its own process into the jail and executes a program in it: `launcher.py HOST_PID PROGRAM [ARGUMENT ...]`.

Standard library only, and run with `-I -S`. It ends with 97 where a bound that every Linux has cannot be set. A
kernel without seccomp is no such case: whoever requires it looks at the worker's status (jail/host.py).
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import seccomp  # type: ignore[import-not-found]  # its neighbour; in this interpreter there are no packages

ADDRESS_SPACE = 768 * 1024**2  # the program, its thread's stack, and the heap that the interpreter bounds itself
CPU_S = 60
DESCRIPTORS = 16
_BOUNDS = (
    (resource.RLIMIT_AS, ADDRESS_SPACE),
    (resource.RLIMIT_CPU, CPU_S),
    (resource.RLIMIT_FSIZE, 0),
    (resource.RLIMIT_CORE, 0),
    (resource.RLIMIT_NOFILE, DESCRIPTORS),
)
_SET_DEATH_SIGNAL, _SET_SECCOMP, _SET_NO_NEW_PRIVILEGES = 1, 22, 38  # of prctl
_FILTER = 2
_CAPABILITIES_V3 = 0x20080522


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))


def main(host: int, program: str, arguments: list[str]) -> None:
    """Become the program, in the jail. Never returns."""
    libc = ctypes.CDLL(None, use_errno=True)
    os.setsid()
    _must(libc.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0))
    if os.getppid() != host:  # it died before the line above could matter
        os._exit(97)
    _descriptors(program)
    os.chdir("/")
    for bound, most in _BOUNDS:
        resource.setrlimit(bound, (most, most))
    _drop_capabilities(libc)
    _must(libc.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    _filter(libc)
    os.execve(seccomp.EXECUTED, [program, *arguments], {})  # noqa: S606 - that is what it is for


def _must(failed: int) -> None:
    if failed:
        os._exit(97)


def _descriptors(program: str) -> None:
    """Keep the two pipes, send what else is written nowhere, and hold the program where only this process can.

    No descriptor of that number can be made once RLIMIT_NOFILE is below it, and executing closes it: so the one
    call that the filter allows to execute anything works once.
    """
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    opened = os.open(program, os.O_RDONLY)
    os.dup2(opened, seccomp.EXECUTED, inheritable=False)
    os.closerange(3, seccomp.EXECUTED)
    os.closerange(seccomp.EXECUTED + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Root in a container keeps none either."""
    none = struct.pack("6I", *[0] * 6)
    _must(libc.capset(struct.pack("Ii", _CAPABILITIES_V3, 0), none))


def _filter(libc: ctypes.CDLL) -> None:
    try:
        code = seccomp.program(platform.machine(), os.getpid())
    except KeyError:
        return  # a machine without a table: its worker shows no filter
    steps = ctypes.create_string_buffer(code, len(code))
    libc.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(_Program(len(code) // 8, ctypes.addressof(steps))), 0, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
