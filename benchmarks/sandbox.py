"""A call in the sandbox against floors: `.venv/bin/python -m benchmarks.sandbox [--rounds N]`.

Cold: a worker in its jail and one call, beside starting any process, and Monty's without a jail. Warm: one call, and a
hundred spans for a policy, beside Monty's bare session. Medians, taken in turns.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Any

from pydantic_monty import Monty

from sandbox import Limits, Sandbox
from sandbox.worker import find_program

LIMITS = Limits()
FUNCTION = "def main(input):\n    return {'total': sum(input['values'])}\n"
ARGUMENT = {"values": list(range(20))}
POLICY = "def on(span):\n    return [{'run': 'x'}] if span['duration_ms'] > 5000 else []\n"
STATEFUL = "seen = []\n" + POLICY
SPANS = [{"id": str(n), "duration_ms": 400 * n, "metadata": {"text": "x" * 400}} for n in range(100)]


def bare_process() -> None:
    """The least that starting a process takes here."""
    subprocess.run(["/bin/true"], check=True)


def bare_worker() -> None:
    """Monty's process and one session, without a jail."""
    with Monty(binary_path=find_program(), max_processes=1) as pool, pool.checkout() as session:
        session.feed_run("1 + 1")


def cold_call() -> None:
    """A worker in its jail, a call, and the worker's end."""
    sandbox = Sandbox(require_seccomp=False)
    sandbox.run(FUNCTION, "main", ARGUMENT, LIMITS, tenant="a")
    sandbox.close()


def compare(name: str, works: dict[str, Callable[[], Any]], rounds: int) -> None:
    """Run all in turns and print the medians; ratios are to the first, the floor."""
    took: dict[str, list[float]] = {label: [] for label in works}
    for n in range(rounds + 3):
        for label, work in works.items():
            started = time.perf_counter()
            work()
            if n >= 3:
                took[label].append((time.perf_counter() - started) * 1000)
    medians = {label: statistics.median(values) for label, values in took.items()}
    floor = next(iter(medians.values()))
    print(name)
    for label, median in medians.items():
        print(f"  {label:44} {median:9.3f} ms   {median / floor:6.2f}x", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=100)
    rounds = parser.parse_args().rounds
    cold = {"any process": bare_process, "Monty without a jail": bare_worker, "jailed worker and a call": cold_call}
    compare("cold", cold, max(5, rounds // 5))

    sandbox = Sandbox(require_seccomp=False)
    with Monty(binary_path=find_program(), max_processes=1) as pool:

        def bare_session() -> None:
            with pool.checkout() as session:
                session.feed_run(FUNCTION)
                session.feed_run("main(input)", inputs={"input": ARGUMENT})

        def judge(code: str) -> None:
            sandbox.run_each(code, "on", SPANS, LIMITS, tenant="a")

        warm = {
            "bare session: load and call": bare_session,
            "run: one function": lambda: sandbox.run(FUNCTION, "main", ARGUMENT, LIMITS, tenant="a"),
            "run_each: 100 spans, no state": lambda: judge(POLICY),
            "run_each: 100 spans, one by one": lambda: judge(STATEFUL),
            "check: one function": lambda: sandbox.check(FUNCTION, "main", tenant="a"),
        }
        compare("warm", warm, rounds)
    sandbox.close()


if __name__ == "__main__":
    main()
