"""The filter's decisions on both machines, by a reading of its program step for step: one of them is not here."""

from __future__ import annotations

import struct

import pytest

from sandbox.jail.seccomp import EXECUTED, program

ALLOWED, REFUSED, NOT_THERE, KILLED = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
PID = 4242
# Numbers of the kernel's tables, on x86_64 and on aarch64.
CALLS = {
    "read": (0, 63), "write": (1, 64), "mmap": (9, 222), "futex": (202, 98), "exit_group": (231, 94),
    "clock_gettime": (228, 113), "getrandom": (318, 278),
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "sendmsg": (46, 211), "execve": (59, 221),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kill": (62, 129),
    "tkill": (200, 130), "pidfd_send_signal": (424, 424), "mount": (165, 40), "unshare": (272, 97), "bpf": (321, 280),
    "io_uring_setup": (425, 425), "userfaultfd": (323, 282), "keyctl": (250, 219), "ioctl": (16, 29), "dup3": (292, 24),
    "memfd_create": (319, 279), "unlinkat": (263, 35), "setrlimit": (160, 164), "perf_event_open": (298, 241),
    "openat": (257, 56), "clone": (56, 220), "clone3": (435, 435), "openat2": (437, 437), "fcntl": (72, 25),
    "prctl": (157, 167), "tgkill": (234, 131), "execveat": (322, 281), "prlimit64": (302, 261),
}  # fmt: skip
THREAD = 0x3D0F00  # what pthread_create asks for


def decision(machine: str, number: int, *arguments: int, arch: int | None = None) -> int:
    """What the kernel would make of a call: loads, comparisons, jumps and returns of classic BPF."""
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<iIQ6Q", number, AUDIT[machine] if arch is None else arch, 0, *padded)
    steps = list(struct.iter_unpack("=HBBI", program(machine, PID)))
    at = loaded = 0
    while True:
        code, then, otherwise, value = steps[at]
        at += 1
        if code == 0x20:
            (loaded,) = struct.unpack_from("<I", data, value)
        elif code == 0x06:
            return int(value)
        else:
            holds = {0x15: loaded == value, 0x35: loaded >= value, 0x45: bool(loaded & value)}[code]
            at += then if holds else otherwise


CASES = [
    *[(name, (), ALLOWED) for name in ("read", "write", "mmap", "futex", "exit_group", "clock_gettime", "getrandom")],
    *[(name, (), REFUSED) for name in list(CALLS)[7:30]],
    ("openat", (0, 0, 0o2000000), ALLOWED),  # O_CLOEXEC
    *[("openat", (0, 0, flag), REFUSED) for flag in (1, 2, 0o100, 0o1000, 0o2000, 0o20200000)],
    ("clone", (THREAD,), ALLOWED),
    ("clone", (17,), REFUSED),  # SIGCHLD: a fork
    ("clone", (0x4111,), REFUSED),  # CLONE_VFORK
    *[("clone", (THREAD | 1 << bit,), REFUSED) for bit in (7, 17, 25, 26, 27, 28, 29, 30)],
    ("clone3", (), NOT_THERE),
    ("openat2", (), NOT_THERE),
    *[("fcntl", (0, command), ALLOWED) for command in (0, 1, 2, 3)],
    *[("fcntl", (0, command), REFUSED) for command in (4, 8, 10, 1030, 1033)],
    ("prctl", (15,), ALLOWED),
    *[("prctl", (option,), REFUSED) for option in (1, 4, 22, 38)],
    ("tgkill", (PID, 7, 6), ALLOWED),
    ("tgkill", (1, 1, 9), REFUSED),
    ("execveat", (EXECUTED,), ALLOWED),
    ("execveat", (3,), REFUSED),
    ("execveat", (0xFFFFFF9C,), REFUSED),  # AT_FDCWD
    ("prlimit64", (0, 7, 0, 0x7FFF12345678), ALLOWED),
    ("prlimit64", (0, 7, 0x1000), REFUSED),
    ("prlimit64", (0, 7, 0x700000000000), REFUSED),  # only the upper half of the pointer is set
]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_decisions(machine: str) -> None:
    column = ["x86_64", "aarch64"].index(machine)
    wrong = [
        (name, arguments, hex(found))
        for name, arguments, expected in CASES
        if (found := decision(machine, CALLS[name][column], *arguments)) != expected
    ]
    assert wrong == []


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_call_of_another_machines_table_kills(machine: str) -> None:
    other = AUDIT["aarch64" if machine == "x86_64" else "x86_64"]
    assert decision(machine, 0, arch=other) == KILLED
    assert decision(machine, 0, arch=0x40000003) == KILLED  # i386


def test_x32_kills() -> None:
    assert decision("x86_64", 0x40000000) == KILLED


def test_a_machine_without_a_table_has_no_filter() -> None:
    with pytest.raises(KeyError):
        program("riscv64", PID)
