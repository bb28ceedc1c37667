"""100 devices of 20 tenants over HTTPS' door: `.venv/bin/python -m benchmarks.edge [--seconds N]`.

Each device stores memories and searches them, appends spans, reads pages and a span, and asks for health: in turns, as
fast as it is answered. Whatever a tenant stores carries the tenant's marker, and every byte that any device is answered
is searched for the markers of others. Latencies are printed beside those of `GET /health` in the same run: what the
HTTP server, a free place of the loader, and one statement cost under this load.

It deploys a stack of its own and removes it; `--directory` names one that is up already. Its exit code is 1 if there
was any error, or one byte of another tenant.
"""

from __future__ import annotations

import argparse
import re
import secrets
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

import httpx

from loglineos.backend import AwsBackend
from loglineos.client import ApiError, Client, enroll, new_key
from loglineos.local.stack import LocalStack
from loglineos.output import Output
from loglineos.rehearsal import deploy_locally

ENROLLMENT = "00000000-0000-4000-8000-000000000008"
MEMORY = "00000000-0000-4000-8000-000000000007"
TENANTS, DEVICES = 20, 100
MARKER = re.compile(r"marker-[0-9a-f]{16}")
FLOOR = "health"


@dataclass
class Seen:
    """What all devices were answered."""

    latencies: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # ms by operation
    statuses: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    foreign: list[str] = field(default_factory=list)  # another tenant's marker, and where it was
    found: int = 0  # own markers: the proof that the search for markers finds them
    lock: threading.Lock = field(default_factory=threading.Lock)


class Watching(httpx.BaseTransport):
    """Reads every answer for markers. Each device has an address of its own, as far as the server can see."""

    def __init__(self, seen: Seen, own: str, address: str) -> None:
        self._seen, self._own = seen, own
        self._inner = httpx.HTTPTransport(local_address=address)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._inner.handle_request(request)
        answer.read()
        text = f"{answer.headers}\n{answer.text}"
        markers = MARKER.findall(text)
        with self._seen.lock:
            self._seen.statuses[answer.status_code] += 1
            self._seen.found += markers.count(self._own)
            self._seen.foreign += [f"{marker} in {request.url.path}" for marker in markers if marker != self._own]
        return answer

    def close(self) -> None:
        self._inner.close()


@contextmanager
def deployed(directory: Path | None) -> Iterator[tuple[AwsBackend, str]]:
    """The functions of a local stack, and its URL."""
    folder = directory or Path(tempfile.mkdtemp(prefix="loglineos-benchmark-"))
    folder.chmod(0o755)
    stack = LocalStack({"LOGLINEOS_DIRECTORY": str(folder), "LOGLINEOS_CLOCK": "off"})
    try:
        backend = deploy_locally(stack, Output(as_json=False))
        endpoint = stack.emulator.running()
        if endpoint is None:
            raise RuntimeError(f"the emulator has ended: see {stack.emulator.log}")
        yield backend, endpoint.api_url
    finally:
        if directory is None:
            stack.emulator.stop()
            stack.postgres.remove()
            shutil.rmtree(folder, ignore_errors=True)


def clients(backend: AwsBackend, url: str, seen: Seen) -> list[tuple[str, Client]]:
    """Each device with its tenant's marker, enrolled over HTTP by an invitation of its own."""
    run, made = secrets.token_hex(4), []
    markers = [f"marker-{secrets.token_hex(8)}" for _ in range(TENANTS)]
    for number in range(DEVICES):
        tenant = number % TENANTS
        invited = backend.load(
            {"action": "boot", "boot_function_id": ENROLLMENT, "input": {"action": "invite"},
             "user_id": "admin", "tenant_id": f"load-{run}-{tenant}"}
        )  # fmt: skip
        transport = Watching(seen, markers[tenant], f"127.0.{1 + tenant}.{1 + number // TENANTS}")
        code, name = invited["output"]["code"], f"device {number}"
        device = enroll(
            url, code, app_name=markers[tenant], app_version="1", fingerprint=name, key=new_key(), transport=transport
        )
        made.append((markers[tenant], Client(url, device, transport=transport)))
    return made


def operations(client: Client, marker: str) -> dict[str, Callable[[int], object]]:
    """What a device does in turns; the argument is the number of the turn."""
    memory = {"action": "store", "content": f"{marker} remembers", "tags": ["load"], "visibility": "tenant"}
    return {
        FLOOR: lambda _: client.health(),
        "store": lambda _: client.boot(MEMORY, memory),
        "search": lambda _: client.boot(MEMORY, {"action": "search", "search_query": "remembers", "limit": 10}),
        "append": lambda n: client.append({"entity_type": "note", "did": "said", "this": f"{marker} in turn {n}"}),
        "timeline": lambda _: client.spans(limit=20),
        "one span": lambda _: client.span(MEMORY),
    }


def work(client: Client, marker: str, seen: Seen, until: float) -> None:
    """Turns until the time is over."""
    mine = operations(client, marker)
    for turn in count():
        for name, operation in mine.items():
            if time.monotonic() >= until:
                return
            perform(partial(operation, turn), name, seen)


def perform(operation: Callable[[], object], name: str, seen: Seen) -> None:
    """Do it and note how it went."""
    began = time.perf_counter()
    try:
        operation()
    except ApiError as error:
        with seen.lock:
            seen.errors[f"{name}: {error.status} {error.code} {error}"] += 1
    took = (time.perf_counter() - began) * 1000
    with seen.lock:
        seen.latencies[name].append(took)


def report(seen: Seen, seconds: float) -> None:
    """The table."""
    total = sum(map(len, seen.latencies.values()))
    floor = statistics.median(seen.latencies[FLOOR])
    print(f"\n{DEVICES} devices, {TENANTS} tenants, {seconds:.0f} s: {total / seconds:.0f} requests/s, {total} in all")
    print(f"{'':10} {'requests':>9} {'p50 ms':>9} {'p95 ms':>9} {'p99 ms':>9} {'p50 / floor':>12}")
    for name, took in seen.latencies.items():
        cuts = statistics.quantiles(took, n=100)
        print(f"{name:10} {len(took):9} {cuts[49]:9.0f} {cuts[94]:9.0f} {cuts[98]:9.0f} {cuts[49] / floor:11.2f}x")
    print("statuses   " + ", ".join(f"{status}: {times}" for status, times in sorted(seen.statuses.items())))
    print(f"errors     {sum(seen.errors.values())}")
    for sentence, times in seen.errors.most_common(5):
        print(f"  {times} x {sentence}")
    print(f"markers    {seen.found} own, {len(seen.foreign)} of other tenants")
    for sentence in seen.foreign[:5]:
        print(f"  {sentence}")


def main() -> int:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--directory", type=Path, help="of a local stack that is up")
    given = parser.parse_args()
    seen = Seen()
    with deployed(given.directory) as (backend, url):
        print(f"Enrolling {DEVICES} devices at {url} ...", flush=True)
        devices = clients(backend, url, seen)
        seen.statuses.clear()  # of enrolments, which are limited by the second
        until = time.monotonic() + given.seconds
        threads = [threading.Thread(target=work, args=(client, marker, seen, until)) for marker, client in devices]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        report(seen, time.monotonic() - began)
    return 1 if seen.errors or seen.foreign or not seen.found else 0


if __name__ == "__main__":
    sys.exit(main())
