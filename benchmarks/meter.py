"""CPU time of processes, wall time, and both of pieces of work in turns."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

WARM: Final = 5
BLOCKS: Final = 5  # of rounds
MS: Final = 1e3


def family(root: int) -> list[int]:
    """A process and all that descend from it (Linux)."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # it has just ended
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """Seconds of CPU that these processes have had, to the nanosecond (`/proc/PID/task/*/schedstat`)."""
    total = 0
    for pid in pids:
        for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                total += int(file.read_text().split()[0])
            except OSError:
                continue
    return total / 1e9


@dataclass(frozen=True)
class Cost:
    """Of one piece of work: milliseconds by the clock (of many: the median), and of CPU (of many: the mean), here with
    all processes of ours, and in PostgreSQL."""

    wall_ms: float
    python_cpu_ms: float
    postgres_cpu_ms: float

    @property
    def cpu_ms(self) -> float:
        """Of both sides together."""
        return self.python_cpu_ms + self.postgres_cpu_ms

    def figures(self) -> dict[str, float]:
        """To three digits behind the point."""
        return {name: round(value, 3) for name, value in vars(self).items()}


@dataclass(frozen=True)
class Meter:
    """Measures work against the PostgreSQL whose first process has this id."""

    server_pid: int

    def in_turns(self, work: dict[str, Callable[[], Any]], rounds: int) -> dict[str, Cost]:
        """Do each `rounds` times, a few times of one before those of the next; what each cost."""
        for call in work.values():
            for _ in range(WARM):
                call()
        there = family(self.server_pid)
        here = [pid for pid in family(os.getpid()) if pid not in there]  # the server may be ours
        walls: dict[str, list[float]] = {name: [] for name in work}
        cpus = {name: [0.0, 0.0] for name in work}
        blocks = [len(range(n, rounds, BLOCKS)) for n in range(min(BLOCKS, rounds))]
        for calls in blocks:
            for name, call in work.items():
                # Looking costs milliseconds of this process: so not around each call, and this one last and first.
                before = cpu_s(there), cpu_s(here)
                walls[name] += [_timed(call) for _ in range(calls)]
                after = cpu_s(here), cpu_s(there)
                cpus[name][0] += after[0] - before[1]
                cpus[name][1] += after[1] - before[0]
        return {
            name: Cost(statistics.median(walls[name]) * MS, here / rounds * MS, there / rounds * MS)
            for name, (here, there) in cpus.items()
        }

    def once(self, work: Callable[[], Any]) -> Cost:
        """What something costs that takes long."""
        there = family(self.server_pid)
        here = [pid for pid in family(os.getpid()) if pid not in there]
        before, started = (cpu_s(here), cpu_s(there)), time.perf_counter()
        work()
        wall = time.perf_counter() - started
        return Cost(wall * MS, (cpu_s(here) - before[0]) * MS, (cpu_s(there) - before[1]) * MS)


def _timed(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
