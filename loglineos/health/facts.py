"""What the checks look at, asked once: the loader, db-migration's `xray`, and AWS where there is one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import botocore.exceptions

from db_migration.rows import read_rows
from db_migration.xray.action import HEALTH
from ledger.errors import LedgerError, LedgerUnavailable
from ledger.ids import MANIFEST_ID
from ledger.settings import asset_directory
from ledger.span import Span
from loglineos.backend import AwsBackend, Backend
from loglineos.errors import CommandFailed
from stacks.environment import ENVIRONMENTS, Environment

Answer = dict[str, Any]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Facts:
    """Whatever could be learned; what could not is `problems`, by where it was asked."""

    command: str = "loglineos"  # with `--env`, as the operator would type it
    suffix: str = ""
    on_aws: bool = False
    deployed: bool = False
    loader: Answer = field(default_factory=dict)
    loader_ms: float = 0.0
    xray: Answer = field(default_factory=dict)
    xray_ms: float = 0.0
    aws: Answer = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    unreachable: bool = False
    released: dict[str, Span] = field(default_factory=dict)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def section(self, name: str) -> Answer:
        """A section of the xray; empty if it is unknown."""
        found: Answer = self.xray.get(name, {})
        return {} if "unknown" in found else found

    def reason(self, name: str) -> str:
        """Why a section is unknown."""
        return str(self.xray.get(name, {}).get("unknown") or self.problems.get("db-migration", "it was not told"))

    def resource(self, thing: str) -> str:
        """The name of something of this environment's."""
        return f"loglineos-{thing}{self.suffix}"


def gather(backend: Backend, sections: Sequence[str] = HEALTH, verify: int = 0) -> Facts:
    """Ask all three.

    Raises:
        CommandFailed: the environment is not deployed there.
    """
    remote = isinstance(backend, AwsBackend)
    names = _function_names(backend) if isinstance(backend, AwsBackend) else {}
    problems: dict[str, str] = {}
    unreachable: list[bool] = []

    def ask(where: str, call: Callable[[], Answer]) -> tuple[Answer, float]:
        started = time.monotonic()
        try:
            answer = call()
        except LedgerUnavailable as error:
            unreachable.append(where == "stage0-loader")
            problems[where] = f"the ledger cannot be reached. {error.reason}".strip()
            answer = {}
        except CommandFailed as error:
            problems[where] = error.message
            answer = {}
        return answer, (time.monotonic() - started) * 1000

    loader, loader_ms = ask("stage0-loader", lambda: backend.load({"action": "health"}))
    event = {"action": "xray", "sections": list(sections), "verify": verify}
    answer, xray_ms = ask("db-migration", lambda: backend.migration(event))
    on_aws = isinstance(backend, AwsBackend) and not backend.variables
    environment = backend.environment if isinstance(backend, AwsBackend) else ""
    return Facts(
        command=f"loglineos --env {environment}" if on_aws else "loglineos",
        suffix=ENVIRONMENTS[environment].get("suffix", Environment.suffix) if environment else "",
        on_aws=on_aws,
        deployed=remote,
        loader=loader,
        loader_ms=loader_ms,
        xray=answer.get("xray", {}),
        xray_ms=xray_ms,
        aws=ask_aws(backend, names) if isinstance(backend, AwsBackend) else {},
        problems=problems,
        unreachable=any(unreachable),
        released=released(),
    )


def released() -> dict[str, Span]:
    """The newest version of the manifest and of each kernel in this checkout, by id."""
    rows = read_rows(asset_directory("row"))
    return {
        str(span_id): versions[-1]
        for span_id, versions in rows.items()
        if span_id == MANIFEST_ID or versions[-1].entity_type == "function"
    }


def _function_names(backend: AwsBackend) -> dict[str, str]:
    return {
        "stage0-loader": backend.output("functions", "LoaderFunctionName"),
        "db-migration": backend.output("functions", "MigrationFunctionName"),
        "db-deploy": backend.output("deployment", "DeployFunctionName"),
    }


def ask_aws(backend: AwsBackend, names: dict[str, str]) -> Answer:
    """`functions`, `instance`, `replica`, `snapshot`, `free_bytes`. What may not be asked is `{"unknown": reason}`."""
    functions = {thing: _asked(partial(_configuration, backend, name)) for thing, name in names.items()}
    instance = _asked(lambda: _instance(backend, backend.output("database", "DatabaseIdentifier")))
    replicas = instance.get("ReadReplicaDBInstanceIdentifiers") or []
    return {
        "functions": functions,
        "instance": instance,
        "replicas": [_asked(partial(_instance, backend, name)) for name in replicas],
        "snapshot": _asked(lambda: _newest_snapshot(backend, instance["DBInstanceIdentifier"])),
        "free": _asked(lambda: _free_storage(backend, instance["DBInstanceIdentifier"])),
    }


def _asked(call: Callable[[], Answer]) -> Answer:
    try:
        return call()
    except botocore.exceptions.ClientError as error:
        return {"unknown": str(error.response.get("Error", {}).get("Message", error))}
    except (botocore.exceptions.BotoCoreError, LedgerError) as error:
        return {"unknown": str(error)}
    except KeyError:
        return {"unknown": "the instance may not be described"}


def _configuration(backend: AwsBackend, name: str) -> Answer:
    found = backend.client("lambda").get_function_configuration(FunctionName=name)
    trusted = found.get("Environment", {}).get("Variables", {}).get("TRUSTED_ROW_KEYS")
    return {"state": found.get("State", "Active"), "runtime": found.get("Runtime"), "trusted_row_keys": trusted}


def _instance(backend: AwsBackend, identifier: str) -> Answer:
    found: Answer = backend.client("rds").describe_db_instances(DBInstanceIdentifier=identifier)["DBInstances"][0]
    return found


def _newest_snapshot(backend: AwsBackend, identifier: str) -> Answer:
    found = backend.client("rds").describe_db_snapshots(DBInstanceIdentifier=identifier)["DBSnapshots"]
    made = [one for one in found if one.get("SnapshotCreateTime")]
    return dict(max(made, key=lambda one: one["SnapshotCreateTime"])) if made else {}


def _free_storage(backend: AwsBackend, identifier: str) -> Answer:
    """The least of the last hour, in bytes, as the storage alarm sees it."""
    now = datetime.now(UTC)
    points = backend.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/RDS", MetricName="FreeStorageSpace",
        Dimensions=[{"Name": "DBInstanceIdentifier", "Value": identifier}],
        StartTime=now.timestamp() - 3600, EndTime=now.timestamp(), Period=300, Statistics=["Minimum"],
    )["Datapoints"]  # fmt: skip
    return {"bytes": min(point["Minimum"] for point in points)} if points else {}
