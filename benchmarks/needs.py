"""What so many spans need, from what one costs; `benchmarks.capacity_model` prints it.

Costs are those of `benchmarks/measured.json` (made by `benchmarks.capacity`), prices those of `benchmarks/prices.py`,
what is deployed that of `stacks/environment.py`. A vCPU of AWS is taken for a core of the machine that measured.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import prices
from benchmarks.prices import CLASSES, GB, InstanceClass
from stacks.environment import Environment
from stacks.rules import CONNECTIONS_PER_GB, OTHER_CONNECTIONS

MEASURED: Final = Path(__file__).with_name("measured.json")
DAY_S: Final = 86_400
PAGE: Final = 8192

# Assumptions about a load; the mix of uses is that of benchmarks/usage.py.
DAYS: Final = 365  # in which the spans come
PEAK: Final = 5.0  # times the mean, in the busiest minute
LLM_SHARE: Final = 0.05  # of uses ask a language model,
LLM_S: Final = 6.0  # and wait so long for it
WAIT_MS: Final = 6.0  # of a use for the network and for two commits that have to reach two zones
LOADER_MB: Final = 512
HOT_DAYS: Final = 7  # of spans that should be found in memory
MEMORY_FOR_PAGES: Final = 0.75
CPU_AT_PEAK: Final = 0.6
STORAGE_USED: Final = 0.8  # the alarm's threshold (manual 5.3)
AGENT_S: Final = 20.0  # that agent and worker take of a minute
AGENT_SPANS: Final = 1000  # that the agent shows a policy in a minute
# What these commands take, of the side that takes longer, in seconds of CPU for a million spans: docs/backup.md.
BACKUP_S: Final = 25.0
RESTORE_S: Final = 190.0
ARCHIVE_S: Final = 720.0  # of a run, in db-deploy, which has a whole vCPU
ARCHIVED_A_SECOND: Final = 10_000  # there: docs/archive.md
OPERATIONS: Final = {
    "store": "boot store", "search": "boot search", "prompt": "boot prompt",
    "run": "boot run", "request": "request", "note": "append",
}  # fmt: skip


@dataclass(frozen=True)
class Costs:
    """What was measured, per span and per use."""

    figures: dict[str, Any]

    @classmethod
    def measured(cls, file: Path = MEASURED) -> Costs:
        """The committed figures."""
        return cls(json.loads(file.read_text(encoding="utf-8")))

    @property
    def spans_per_use(self) -> float:
        """Of a use of the mix, what policies make of it included."""
        return float(self.figures["use"]["spans_per_use"])

    @property
    def quiet_spans_a_day(self) -> float:
        """That the schedules leave when nobody does anything."""
        return float(self.figures["use"]["spans_per_quiet_minute"]) * 1440

    @property
    def bytes_per_span(self) -> float:
        """In the table and all its indexes."""
        return float(sum(self.figures["bytes_per_span"].values()))

    @property
    def heap_bytes(self) -> float:
        """In the table alone, of which PostgreSQL takes 32 TiB."""
        return float(self.figures["bytes_per_span"]["heap"])

    @property
    def table_bytes(self) -> float:
        """In the table, with what was too long for its rows."""
        return self.heap_bytes + float(self.figures["bytes_per_span"]["toast"])

    @property
    def most_spans(self) -> int:
        """That a ledger on RDS can hold: by PostgreSQL's largest table, or by RDS's storage with the alarm quiet."""
        by_storage = prices.RDS_MAX_BYTES * STORAGE_USED / self.bytes_per_span
        return int(min(prices.TABLE_MAX_BYTES / self.heap_bytes, by_storage))

    @property
    def archived_bytes(self) -> float:
        """In a columnar file."""
        return float(self.figures["bytes_compressed_by_column"])

    def wal_bytes(self, when: str = "after_checkpoint") -> float:
        """Of write-ahead log."""
        found = self.figures["wal_bytes_per_span"][when]
        return float(found["records"] + found["pages"])

    def _of_mix(self, figure: str) -> float:
        weights, operations = self.figures["use"]["weights"], self.figures["operations"]
        total = sum(weights.values())
        return float(sum(weights[use] * operations[name][figure] for use, name in OPERATIONS.items()) / total)

    @property
    def _policies(self) -> float:
        """Evaluations for a use: each execution is shown to each policy that watches executions."""
        return float(self.figures["use"]["executions_per_use"]) * len(self.figures["agent"]["evaluated"])

    @property
    def postgres_ms(self) -> float:
        """CPU of PostgreSQL for a use, policies included."""
        return self._of_mix("postgres_cpu_ms") + self._policies * float(self.figures["agent"]["postgres_cpu_ms_each"])

    @property
    def lambda_ms(self) -> float:
        """Of the loader for a use, at its share of a vCPU; language models not included."""
        return _on_lambda(self._of_mix("python_cpu_ms"), self._of_mix("postgres_cpu_ms")) + WAIT_MS

    @property
    def agent_ms(self) -> float:
        """Of the loader for showing one execution to one policy."""
        agent = self.figures["agent"]
        return _on_lambda(agent["python_cpu_ms_each"], agent["postgres_cpu_ms_each"])

    @property
    def agent_spans_a_minute(self) -> float:
        """Executions that the policies can follow, with one boot of their agent a minute."""
        return min(AGENT_SPANS, AGENT_S * 1000 / (self.agent_ms * len(self.figures["agent"]["evaluated"])))

    @property
    def requests_a_minute(self) -> float:
        """That one worker carries out."""
        found = self.figures["operations"]["request"]
        return AGENT_S * 1000 / (_on_lambda(found["python_cpu_ms"], found["postgres_cpu_ms"]) + 2 * WAIT_MS)

    @property
    def seconds_per_use(self) -> float:
        """That a use keeps a place of the loader and its connection, language models and agent included."""
        agent = self._policies * self.agent_ms / 1000
        return self.lambda_ms / 1000 + LLM_SHARE * LLM_S + agent

    @property
    def log_bytes(self) -> float:
        """That the loader logs for a use."""
        return self._of_mix("log_bytes")

    @property
    def iops_per_use(self) -> float:
        """Two flushes of the log, the pages that a checkpoint writes, and one leaf of the primary key that was not
        in memory: ids of claims (`request_id`) are hashes."""
        pages = self.spans_per_use * self.figures["wal_bytes_per_span"]["after_checkpoint"]["pages"] / PAGE
        return float(2 + pages + 1)

    def bulk(self, *names: str) -> float:
        """Seconds of CPU for a million spans, of everything whose name begins like that."""
        found = self.figures["seconds_per_million"]
        return float(sum(costs["cpu"] for name, costs in found.items() if name.startswith(names)))


def _on_lambda(python_ms: float, postgres_ms: float) -> float:
    return python_ms / (LOADER_MB / prices.LAMBDA_VCPU_MB) + postgres_ms


@dataclass(frozen=True)
class Load:
    """So many spans, in so many days, and the peak as a multiple of the mean."""

    spans: int
    days: int = DAYS
    peak: float = PEAK

    def __post_init__(self) -> None:
        if self.spans < 1 or self.days < 1 or self.peak < 1:
            raise ValueError("a load has at least one span in one day, and a peak that is not below the mean")

    @property
    def spans_a_day(self) -> float:
        """Mean."""
        return self.spans / self.days


@dataclass(frozen=True)
class Needs:
    """What a load asks for in the end, when all its spans are there."""

    load: Load
    costs: Costs

    @property
    def uses_a_second(self) -> float:
        """Mean: what is left of the spans when the schedules have had theirs."""
        return max(0.0, self.load.spans_a_day - self.costs.quiet_spans_a_day) / self.costs.spans_per_use / DAY_S

    @property
    def peak_uses_a_second(self) -> float:
        """In the busiest minute."""
        return self.uses_a_second * self.load.peak

    @property
    def database_bytes(self) -> float:
        """Table and indexes."""
        return self.load.spans * self.costs.bytes_per_span

    @property
    def storage_gb(self) -> int:
        """To allocate, so that the alarm is quiet."""
        return max(20, 10 * math.ceil(self.database_bytes / GB / STORAGE_USED / 10))

    def pass_s(self, cpu_s_per_million: float, bytes_per_span: float, cores: int = 1) -> float:
        """Seconds to do something with all spans: what takes longer of CPU and of reading or writing these bytes."""
        large = self.storage_gb >= prices.GP3_LARGE_GB
        disk = prices.GP3_LARGE_BYTES_A_SECOND if large else prices.GP3_BYTES_A_SECOND
        return max(self.load.spans / 1e6 * cpu_s_per_million / cores, self.load.spans * bytes_per_span / disk)

    @property
    def hot_bytes(self) -> float:
        """That should be found in memory: the last days' spans and their places in the indexes."""
        return min(self.load.spans, self.load.spans_a_day * HOT_DAYS) * self.costs.bytes_per_span

    @property
    def vcpus(self) -> float:
        """Of PostgreSQL, mean."""
        return self.uses_a_second * self.costs.postgres_ms / 1000

    @property
    def iops(self) -> float:
        """At the peak."""
        return self.peak_uses_a_second * self.costs.iops_per_use

    @property
    def concurrency(self) -> int:
        """Places of the loader: what runs at the peak, three deviations more for chance, and the schedules'."""
        running = self.peak_uses_a_second * self.costs.seconds_per_use
        return math.ceil(running + 3 * math.sqrt(running)) + 3

    @property
    def connections(self) -> int:
        """Each place of the loader holds one."""
        return self.concurrency + OTHER_CONNECTIONS

    @property
    def instance(self) -> InstanceClass | None:
        """The smallest class that is enough; None: RDS for PostgreSQL has none here that is."""
        return next((each for each in CLASSES if not self.too_small(each)), None)

    def too_small(self, instance: InstanceClass) -> str:
        """What there is too little of: cpu, memory or connections; empty where it is enough."""
        mean, peak = self.vcpus, self.vcpus * self.load.peak
        if mean > instance.vcpus * instance.baseline or peak > instance.vcpus * CPU_AT_PEAK:
            return "cpu"
        if self.hot_bytes > instance.memory_gb * GB * MEMORY_FOR_PAGES:
            return "memory"
        return "connections" if self.connections > instance.memory_gb * CONNECTIONS_PER_GB else ""


def bill(environment: Environment, instance: InstanceClass, storage_gb: int, needs: Needs | None) -> dict[str, float]:
    """US dollars a month by what they are for, for that instance and load; None is a system that nobody uses."""
    zones = 2 if environment.multi_az else 1
    copies = zones + environment.read_replica
    kept = environment.backup_days >= 30  # as much again beyond the free volume
    found = {
        "instances": instance.monthly * copies,
        "storage": storage_gb * prices.GP3_GB * copies + storage_gb * prices.BACKUP_GB * kept,
        "network": prices.NAT_GATEWAY * environment.nat_gateways + prices.ENDPOINT,
        "keys, alarms": prices.KEYS_AND_ALARMS + prices.KEYS_AND_ALARMS_MORE * environment.read_replica,
        "logs": prices.QUIET_LOGS + prices.QUIET_LOGS_DAY * environment.log_days,
    }
    if needs is not None:
        uses = needs.uses_a_second * DAY_S * 30.4
        seconds = uses * needs.costs.seconds_per_use * LOADER_MB / 1024
        found["functions"] = seconds * prices.LAMBDA_GB_S + uses / 1e6 * (prices.LAMBDA_MILLION + prices.API_MILLION)
        found["logs"] += uses * needs.costs.log_bytes / GB * prices.LOG_GB
        found["archive"] = needs.load.spans * needs.costs.archived_bytes / GB * prices.S3_GB
    return found


def on_aurora(needs: Needs) -> float | None:
    """US dollars a month for a writer, a reader and storage of Aurora I/O-Optimized; None for a small instance."""
    instance = needs.instance
    if instance is None or not instance.name.startswith("db.r"):
        return None
    storage = needs.database_bytes / GB * prices.AURORA_IO_GB
    return 2 * instance.monthly * prices.AURORA_IO_FACTOR + storage
