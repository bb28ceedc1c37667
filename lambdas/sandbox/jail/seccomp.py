"""The list of system calls that a worker may make; every other one fails with EPERM.

Standard library only: the launcher imports it in an interpreter that sees nothing else.
"""

from __future__ import annotations

import struct

EXECUTED = 63  # the descriptor of the program to execute: the launcher opens it, nothing after it can

_ALLOW, _EPERM, _ENOSYS, _KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000  # x86_64's second set of numbers for the same calls

# Name: number on x86_64 and on aarch64, None where it has none. The interpreter computes in memory and speaks
# through its pipes; its loader opens libraries.
_CALLS: dict[str, tuple[int | None, int | None]] = {
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67),
    "close": (3, 57), "lseek": (8, 62), "poll": (7, None), "ppoll": (271, 73), "getdents64": (217, 61),
    "stat": (4, None), "fstat": (5, 80), "lstat": (6, None), "newfstatat": (262, 79), "statx": (332, 291),
    "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439), "getcwd": (79, 17),
    "readlink": (89, None), "readlinkat": (267, 78),
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214), "mremap": (25, 216),
    "madvise": (28, 233), "mincore": (27, 232),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "sigaltstack": (131, 132),
    "restart_syscall": (219, 128),
    "futex": (202, 98), "set_robust_list": (273, 99), "set_tid_address": (218, 96), "rseq": (334, 293),
    "membarrier": (324, 283), "sched_yield": (24, 124), "sched_getaffinity": (204, 123), "arch_prctl": (158, None),
    "exit": (60, 93), "exit_group": (231, 94),
    "getpid": (39, 172), "gettid": (186, 178), "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176),
    "getegid": (108, 177), "getppid": (110, 173),
    "nanosleep": (35, 101), "clock_nanosleep": (230, 115), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "gettimeofday": (96, 169), "getrandom": (318, 278),
    "getrlimit": (97, 163), "getrusage": (98, 165), "uname": (63, 160), "sysinfo": (99, 179),
}  # fmt: skip
# Allowed only as the rule beside them says.
_OPEN, _OPENAT, _FCNTL, _CLONE = (2, None), (257, 56), (72, 25), (56, 220)
_PRLIMIT, _PRCTL, _TGKILL, _EXECVEAT = (302, 261), (157, 167), (234, 131), (322, 281)
# glibc tries these first and falls back where they do not exist; their arguments are out of a filter's sight.
_ABSENT: tuple[tuple[int | None, int | None], ...] = ((435, 435), (437, 437))  # clone3, openat2

_WRITING = 0x400643  # O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND, O_TMPFILE
_THREAD = 0x10000  # CLONE_THREAD: all else would be a new process
_NAMESPACES = 0x7E020080  # CLONE_NEW*
_HIGHEST_FCNTL = 3  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL
_SET_NAME = 15  # PR_SET_NAME


def program(machine: str, pid: int) -> bytes:
    """The filter as the bytes of a BPF program, for a process of that id. Raises KeyError for another machine."""
    column = {"x86_64": 0, "aarch64": 1}[machine]
    code = [_step(_LOAD, 4), _step(_EQUAL, _AUDIT[machine], 1, 0), _step(_RETURN, _KILL), _step(_LOAD, 0)]
    if machine == "x86_64":
        code += [_step(_AT_LEAST, _X32, 0, 1), _step(_RETURN, _KILL)]
    for numbers in _CALLS.values():
        code += _when(numbers[column], [_step(_RETURN, _ALLOW)])
    for numbers in _ABSENT:
        code += _when(numbers[column], [_step(_RETURN, _ENOSYS)])
    code += _when(_OPEN[column], _without_bits(1, _WRITING))
    code += _when(_OPENAT[column], _without_bits(2, _WRITING))
    code += _when(_CLONE[column], [*_refuse_bits(0, _NAMESPACES), *_with_bits(0, _THREAD)])
    code += _when(_FCNTL[column], [_argument(1), _step(_AT_LEAST, _HIGHEST_FCNTL + 1, 1, 0), *_ALLOW_ELSE_REFUSE])
    code += _when(_PRCTL[column], _equals(0, _SET_NAME))
    code += _when(_TGKILL[column], _equals(0, pid))  # of its own process: what abort() does
    code += _when(_EXECVEAT[column], _equals(0, EXECUTED))
    # Limits may be read, not set: the pointer to new ones must be null, in both its halves.
    code += _when(_PRLIMIT[column], [_argument(2, high=True), _step(_EQUAL, 0, 1, 0), _REFUSE, *_equals(2, 0)])
    return b"".join([*code, _REFUSE])


def _step(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("=HBBI", code, then, otherwise, value)


_REFUSE = _step(_RETURN, _EPERM)
_ALLOW_ELSE_REFUSE = [_step(_RETURN, _ALLOW), _REFUSE]  # a step before them that holds skips the first


def _when(number: int | None, rule: list[bytes]) -> list[bytes]:
    """The rule, for the system call of that number; it always returns."""
    return [] if number is None else [_step(_EQUAL, number, 0, len(rule)), *rule]


def _argument(index: int, *, high: bool = False) -> bytes:
    """Load half of an argument; both machines are little-endian."""
    return _step(_LOAD, 16 + 8 * index + (4 if high else 0))


def _equals(index: int, value: int) -> list[bytes]:
    return [_argument(index), _step(_EQUAL, value, 0, 1), *_ALLOW_ELSE_REFUSE]


def _with_bits(index: int, bits: int) -> list[bytes]:
    return [_argument(index), _step(_ANY_BIT, bits, 0, 1), *_ALLOW_ELSE_REFUSE]


def _without_bits(index: int, bits: int) -> list[bytes]:
    return [_argument(index), _step(_ANY_BIT, bits, 1, 0), *_ALLOW_ELSE_REFUSE]


def _refuse_bits(index: int, bits: int) -> list[bytes]:
    """Refuse any of the bits, and go on with the next step otherwise."""
    return [_argument(index), _step(_ANY_BIT, bits, 0, 1), _REFUSE]
