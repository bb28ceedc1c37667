"""Stands in the worker's place in the jail and tries to get out. Writes what came of each attempt as JSON.

Its arguments are the host's process id and the names of the attempts, if not all are meant.
"""

# Each attempt is one system call, by its name.
# ruff: noqa: PTH101, PTH102, PTH104, PTH108, PTH109, PTH211

import ctypes
import json
import mmap
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

HOST = int(sys.argv[1])
X86 = os.uname().machine == "x86_64"
libc = ctypes.CDLL(None, use_errno=True)


def must(result: int) -> None:
    """A C function's way to fail, as Python's."""
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def read(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(1)


def clone_into_namespace() -> None:
    must(libc.unshare(0x10000000))  # CLONE_NEWUSER


def start_program() -> None:
    os.execv("/bin/sh", ["sh", "-c", "exit 0"])


def execute_again() -> None:
    os.execve(63, ["again"], {})


def refill_the_descriptor() -> None:
    os.dup2(os.open("/bin/sh", os.O_RDONLY), 63)


def raise_a_limit() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


def memory_of(pid: int) -> None:
    buffer = ctypes.create_string_buffer(8)
    vector = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 8)
    must(libc.process_vm_readv(pid, ctypes.byref(vector), 1, ctypes.byref(vector), 1, 0))


def large_memory() -> None:
    mmap.mmap(-1, 2 * 1024**3)


ATTEMPTS: dict[str, Callable[[], object]] = {
    "internet socket": lambda: socket.socket(socket.AF_INET),
    "unix socket": lambda: socket.socket(socket.AF_UNIX),
    "pair of sockets": socket.socketpair,
    "open to write": lambda: os.open("/tmp/probe", os.O_WRONLY | os.O_CREAT),
    "open to append": lambda: os.open("/dev/null", os.O_WRONLY | os.O_APPEND),
    "open to read and write": lambda: os.open("/dev/null", os.O_RDWR),
    "make a folder": lambda: os.mkdir("/tmp/probe"),
    "remove a file": lambda: os.unlink("/tmp/probe"),
    "rename": lambda: os.rename("/tmp/probe", "/tmp/probe2"),
    "link": lambda: os.symlink("/tmp/probe", "/tmp/probe2"),
    "change permissions": lambda: os.chmod("/tmp", 0o777),
    "make a file in memory": lambda: os.memfd_create("probe"),
    "fork": os.fork,
    "spawn": lambda: os.posix_spawn("/bin/sh", ["sh", "-c", "exit 0"], {}),
    "execute": start_program,
    "execute the descriptor again": execute_again,
    "refill the descriptor": refill_the_descriptor,
    "raise a limit": raise_a_limit,
    "new namespace": clone_into_namespace,
    "trace the host": lambda: must(libc.ptrace(16, HOST, 0, 0)),
    "read the host's memory": lambda: memory_of(HOST),
    "open the host's memory": lambda: read(f"/proc/{HOST}/mem"),
    "read the host's environment": lambda: read(f"/proc/{HOST}/environ"),
    "kill the host": lambda: os.kill(HOST, signal.SIGTERM),
    "ask for the host": lambda: os.kill(HOST, 0),
    "kill its group": lambda: os.killpg(0, 0),
    "signal a thread of the host": lambda: must(libc.tgkill(HOST, HOST, 0)),
    "point at the host": lambda: os.pidfd_open(HOST),
    "signal by a descriptor": lambda: must(libc.fcntl(0, 8, HOST)),  # F_SETOWN
    "mount": lambda: must(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)),
    "change the root": lambda: os.chroot("/tmp"),
    "another user": lambda: os.setuid(1),
    "bpf": lambda: must(libc.syscall(321 if X86 else 280, 0, 0, 0)),
    "io_uring": lambda: must(libc.syscall(425, 1, 0)),
    "userfaultfd": lambda: must(libc.syscall(323 if X86 else 282, 0)),
    "keyring": lambda: must(libc.syscall(250 if X86 else 219, 0, 0, 0, 0)),
    "control of a terminal": lambda: must(libc.ioctl(0, 0x5412, b"x")),
    "set dumpable": lambda: must(libc.prctl(4, 1, 0, 0, 0)),
    "large memory": large_memory,
}


LIMITS = ("RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_CORE", "RLIMIT_NOFILE")


def outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return error.strerror or str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "succeeded"


def thread_works() -> bool:
    seen: list[int] = []
    thread = threading.Thread(target=seen.append, args=(1,))
    thread.start()
    thread.join()
    return seen == [1]


def descriptors() -> list[int]:
    found = []
    for number in range(1024):
        try:
            os.fstat(number)
        except OSError:
            continue
        found.append(number)
    return found


# The first, before any attempt opens one.
facts: dict[str, Any] = {
    "descriptors": descriptors(),
    "environment": Path("/proc/self/environ").read_text(),
    "directory": os.getcwd(),
}
status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
facts |= {name: status[name].strip() for name in ("CapEff", "CapPrm", "NoNewPrivs", "Seccomp")}
facts |= {"own session": Path("/proc/self/stat").read_text().split()[5] == str(os.getpid()), "thread": thread_works()}
facts["limits"] = {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name in LIMITS}
chosen = sys.argv[2:] or list(ATTEMPTS)
sys.stdout.write(json.dumps({"facts": facts, "attempts": {name: outcome(ATTEMPTS[name]) for name in chosen}}))
