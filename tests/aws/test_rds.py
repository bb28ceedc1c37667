"""RDS's API with a real PostgreSQL behind the endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from botocore.exceptions import ClientError

from loglineos.local.postgres import LocalPostgres, Server

Client = Callable[[str], Any]
NAME = "free-db"


def make(rds: Any, name: str = NAME, **more: Any) -> dict[str, Any]:
    asked = {
        "DBInstanceIdentifier": name,
        "DBInstanceClass": "db.t4g.micro",
        "Engine": "postgres",
        "EngineVersion": "18",
        "DBName": "free",
        "MasterUsername": "postgres",
        "MasterUserPassword": "first-password",
        "AllocatedStorage": 20,
        **more,
    }
    made: dict[str, Any] = rds.create_db_instance(**asked)["DBInstance"]
    return made


@pytest.fixture
def rds(client: Client) -> Iterator[Any]:
    api = client("rds")
    yield api
    for instance in reversed(api.describe_db_instances()["DBInstances"]):
        name = instance["DBInstanceIdentifier"]
        api.modify_db_instance(DBInstanceIdentifier=name, DeletionProtection=False, ApplyImmediately=True)
        api.delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True)


def connect(found: dict[str, Any], password: str = "first-password") -> psycopg.Connection[tuple[Any, ...]]:
    where = found["Endpoint"]
    return psycopg.connect(
        host=where["Address"],
        port=where["Port"],
        user=found["MasterUsername"],
        password=password,
        dbname=found["DBName"],
        autocommit=True,
    )


def test_the_master_signs_in_at_the_endpoint_and_is_no_superuser(rds: Any) -> None:
    with connect(make(rds)) as connection:
        row = connection.execute("SELECT current_user, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = user")
        assert row.fetchone() == ("postgres", False, False)
        connection.execute("CREATE ROLE reader LOGIN")
        connection.execute("GRANT rds_iam TO reader")
        connection.execute("DROP ROLE reader")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE ROLE boss SUPERUSER")


def test_a_new_master_password_is_the_only_one(rds: Any, postgres: LocalPostgres) -> None:
    found = make(rds)
    rds.modify_db_instance(DBInstanceIdentifier=NAME, MasterUserPassword="second-password", ApplyImmediately=True)
    connect(found, "second-password").close()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(found)
    # The local stack's own start gives the master the password of its file: it must be this one.
    postgres.start()
    connect(found, "second-password").close()


def test_changes_are_applied_and_readable(rds: Any) -> None:
    make(rds)
    changed = {
        "DBInstanceClass": "db.t3.medium",
        "MultiAZ": True,
        "BackupRetentionPeriod": 30,
        "MaxAllocatedStorage": 1000,
        "EnablePerformanceInsights": True,
        "EnableIAMDatabaseAuthentication": True,
        "CopyTagsToSnapshot": True,
        "DeletionProtection": True,
    }
    rds.modify_db_instance(DBInstanceIdentifier=NAME, ApplyImmediately=True, **changed)
    (found,) = rds.describe_db_instances(DBInstanceIdentifier=NAME)["DBInstances"]
    renamed = {
        "EnablePerformanceInsights": "PerformanceInsightsEnabled",
        "EnableIAMDatabaseAuthentication": "IAMDatabaseAuthenticationEnabled",
    }
    assert {key: found.get(renamed.get(key, key)) for key in changed} == changed


def test_a_replica_reads_what_the_primary_wrote_and_refuses_to_write(rds: Any) -> None:
    with connect(make(rds)) as primary:
        primary.execute("CREATE TABLE seen AS SELECT 42 AS it")
        made = rds.create_db_instance_read_replica(DBInstanceIdentifier="free-replica", SourceDBInstanceIdentifier=NAME)
        found = made["DBInstance"]
        assert found["ReadReplicaSourceDBInstanceIdentifier"] == NAME
        with connect({**found, "DBName": "free"}) as replica:
            assert replica.execute("SELECT it FROM seen").fetchone() == (42,)
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                replica.execute("INSERT INTO seen VALUES (43)")
        primary.execute("INSERT INTO seen VALUES (43)")


def test_a_snapshot_has_its_source_and_a_restored_instance_leads_nowhere(rds: Any) -> None:
    make(rds)
    rds.create_db_snapshot(DBInstanceIdentifier=NAME, DBSnapshotIdentifier="free-snapshot")
    (snapshot,) = rds.describe_db_snapshots(DBSnapshotIdentifier="free-snapshot")["DBSnapshots"]
    assert (snapshot["DBInstanceIdentifier"], snapshot["Status"]) == (NAME, "available")
    rds.restore_db_instance_to_point_in_time(
        SourceDBInstanceIdentifier=NAME, TargetDBInstanceIdentifier="free-restored", UseLatestRestorableTime=True
    )
    (restored,) = rds.describe_db_instances(DBInstanceIdentifier="free-restored")["DBInstances"]
    assert restored["DBInstanceClass"] == "db.t4g.micro"
    # The one thing worse than no restored data would be production's under another name.
    assert restored["Endpoint"]["Address"].endswith(".invalid")
    rds.delete_db_instance(DBInstanceIdentifier="free-restored", SkipFinalSnapshot=True)
    connect(rds.describe_db_instances(DBInstanceIdentifier=NAME)["DBInstances"][0]).close()


def test_deletion_protection_keeps_the_database(rds: Any) -> None:
    found = make(rds, DeletionProtection=True)
    with pytest.raises(ClientError, match="Cannot delete protected DB Instance, please disable deletion protection"):
        rds.delete_db_instance(DBInstanceIdentifier=NAME, SkipFinalSnapshot=True)
    connect(found).close()


def test_deleting_the_instance_drops_its_database_whoever_is_connected(rds: Any, server: Server) -> None:
    with connect(make(rds)) as connection:
        rds.delete_db_instance(DBInstanceIdentifier=NAME, SkipFinalSnapshot=True)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with psycopg.connect(server.url("rdsadmin", "postgres")) as admin:
        assert admin.execute("SELECT 1 FROM pg_database WHERE datname = 'free'").fetchone() is None


def test_two_instances_cannot_share_a_database(rds: Any) -> None:
    found = make(rds)
    with pytest.raises(ClientError, match="needs another database name and master user"):
        make(rds, "free-second", MasterUserPassword="usurped-password")
    assert [item["DBInstanceIdentifier"] for item in rds.describe_db_instances()["DBInstances"]] == [NAME]
    connect(found).close()
