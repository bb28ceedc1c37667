"""RDS's own backups: snapshots by hand, and the restore to a point in time (manual 6.1, 6.4)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.exceptions

from ledger.errors import LedgerUnavailable
from loglineos.backend import AwsBackend
from loglineos.errors import CommandFailed

POLL_S, WAIT_TRIES = 15, 240  # an hour, as AWS's own waiters


@dataclass(frozen=True)
class Window:
    """Times to which the instance can be restored, both inclusive."""

    earliest: datetime
    latest: datetime


class Instance:
    """The DB instance of a deployed environment."""

    def __init__(self, backend: AwsBackend) -> None:
        self._rds = backend.client("rds")
        self.identifier = backend.output("database", "DatabaseIdentifier")

    def snapshot(self, name: str, *, wait: bool) -> dict[str, Any]:
        """Begin a snapshot; `wait` until it is available."""
        with _said(f"no snapshot of {self.identifier} can be made"):
            self._rds.create_db_snapshot(DBInstanceIdentifier=self.identifier, DBSnapshotIdentifier=name)
            if wait:
                waiter = self._rds.get_waiter("db_snapshot_available")
                waiter.wait(DBSnapshotIdentifier=name, WaiterConfig={"Delay": POLL_S, "MaxAttempts": WAIT_TRIES})
            return _snapshot(self._rds.describe_db_snapshots(DBSnapshotIdentifier=name)["DBSnapshots"][0])

    def snapshots(self) -> list[dict[str, Any]]:
        """All of them, RDS's own included, oldest first."""
        with _said("the snapshots cannot be listed"):
            pages = self._rds.get_paginator("describe_db_snapshots").paginate(DBInstanceIdentifier=self.identifier)
            found = [_snapshot(one) for page in pages for one in page["DBSnapshots"]]
        return sorted(found, key=lambda one: (one["created"] or "", one["name"]))

    def describe(self) -> dict[str, Any]:
        """RDS's description."""
        with _said(f"{self.identifier} cannot be described"):
            found: dict[str, Any] = self._rds.describe_db_instances(DBInstanceIdentifier=self.identifier)
        described: dict[str, Any] = found["DBInstances"][0]
        return described

    def window(self, described: dict[str, Any]) -> Window:
        """Where a restore can lead. Raises CommandFailed if automatic backups are off."""
        days, latest = described.get("BackupRetentionPeriod", 0), described.get("LatestRestorableTime")
        if not days or latest is None:
            raise CommandFailed(
                f"{self.identifier} keeps no automatic backups: restore a snapshot, or a folder of `loglineos backup`"
            )
        return Window(max(described["InstanceCreateTime"], latest - timedelta(days=days)), latest)

    def restore_to(
        self, time: datetime | None, target: str, described: dict[str, Any], *, wait: bool
    ) -> dict[str, Any]:
        """A new instance with what was committed by then (None: as late as possible).

        It gets the source's settings: RDS's defaults are others. Those that a restore cannot give are set once it is
        available; without `wait` they are the `left` of the answer, as `modify-db-instance` takes them.
        """
        when: dict[str, Any] = {"RestoreTime": time} if time else {"UseLatestRestorableTime": True}
        with _said(f"{target} cannot be restored"):
            self._rds.restore_db_instance_to_point_in_time(
                SourceDBInstanceIdentifier=self.identifier,
                TargetDBInstanceIdentifier=target,
                **when,
                **_like(described),
            )
            if wait:
                waiter = self._rds.get_waiter("db_instance_available")
                waiter.wait(DBInstanceIdentifier=target, WaiterConfig={"Delay": POLL_S, "MaxAttempts": WAIT_TRIES})
        left = {"DBInstanceIdentifier": target, **_like_afterwards(described), "ApplyImmediately": True}
        with _said(f"{target} is restored, but {', '.join(_like_afterwards(described))} cannot be set"):
            if wait:
                self._rds.modify_db_instance(**left)
        with _said(f"{target} cannot be described"):
            (made,) = self._rds.describe_db_instances(DBInstanceIdentifier=target)["DBInstances"]
        host = made.get("Endpoint", {}).get("Address")
        return {"name": target, "status": made["DBInstanceStatus"], "host": host, "left": None if wait else left}


def _like(described: dict[str, Any]) -> dict[str, Any]:
    settings = {
        "DBInstanceClass": described["DBInstanceClass"],
        "DBSubnetGroupName": described.get("DBSubnetGroup", {}).get("DBSubnetGroupName"),
        "VpcSecurityGroupIds": [one["VpcSecurityGroupId"] for one in described.get("VpcSecurityGroups", [])],
        "DBParameterGroupName": next(
            (one["DBParameterGroupName"] for one in described.get("DBParameterGroups", [])), None
        ),
        "MultiAZ": described.get("MultiAZ", False),
        "PubliclyAccessible": False,
        "EnableIAMDatabaseAuthentication": described.get("IAMDatabaseAuthenticationEnabled", False),
        "DeletionProtection": described.get("DeletionProtection", False),
        "CopyTagsToSnapshot": True,
        "StorageType": described.get("StorageType"),
        "MaxAllocatedStorage": described.get("MaxAllocatedStorage"),
        "BackupRetentionPeriod": described.get("BackupRetentionPeriod"),
        "PreferredBackupWindow": described.get("PreferredBackupWindow"),
        "AutoMinorVersionUpgrade": described.get("AutoMinorVersionUpgrade"),
        "CACertificateIdentifier": described.get("CACertificateIdentifier"),
        "EnableCloudwatchLogsExports": described.get("EnabledCloudwatchLogsExports"),
    }
    return _given(settings)


def _like_afterwards(described: dict[str, Any]) -> dict[str, Any]:
    """Settings that RestoreDBInstanceToPointInTime does not take."""
    watched = bool(described.get("PerformanceInsightsEnabled"))
    return _given(
        {
            "PreferredMaintenanceWindow": described.get("PreferredMaintenanceWindow"),
            "MonitoringInterval": described.get("MonitoringInterval"),
            "MonitoringRoleArn": described.get("MonitoringRoleArn"),
            "EnablePerformanceInsights": watched,
            "PerformanceInsightsKMSKeyId": described.get("PerformanceInsightsKMSKeyId") if watched else None,
            "PerformanceInsightsRetentionPeriod": (
                described.get("PerformanceInsightsRetentionPeriod") if watched else None
            ),
        }
    )


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value not in (None, [], "")}


def _snapshot(found: dict[str, Any]) -> dict[str, Any]:
    created = found.get("SnapshotCreateTime")
    return {
        "name": found["DBSnapshotIdentifier"],
        "kind": found.get("SnapshotType"),
        "status": found["Status"],
        "created": created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if created else None,
        "gigabytes": found.get("AllocatedStorage"),
        "encrypted": found.get("Encrypted"),
    }


@contextmanager
def _said(what: str) -> Iterator[None]:
    """AWS's refusals in a sentence of this command line."""
    try:
        yield
    except botocore.exceptions.ClientError as error:
        raise CommandFailed(f"{what}: {error.response.get('Error', {}).get('Message', error)}") from error
    except botocore.exceptions.WaiterError as error:
        raise CommandFailed(f"{what} within an hour, or failed: {error}. `loglineos snapshot list` shows it") from error
    except botocore.exceptions.BotoCoreError as error:
        raise LedgerUnavailable(str(error)) from error
