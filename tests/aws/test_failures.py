"""Deployments that fail, as on AWS: rc 1, the reason in one line, and everything as it was before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from botocore.exceptions import ClientError

from loglineos.local.postgres import Server
from tests.aws.app import Variant
from tests.aws.conftest import Cdk, Row, said

GOOD = Variant()
Client = Callable[[str], Any]
Calls = Callable[[], list[Row]]
ALONE = ("Functions", "--exclusively")


@pytest.fixture(scope="module")
def deployed(app: Cdk) -> Iterator[Cdk]:
    done = app("deploy", GOOD)
    assert done.returncode == 0, said(done)
    yield app
    app("destroy", GOOD)


def status(client: Client, name: str) -> str:
    return str(client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]["StackStatus"])


def version_of(events: list[Row]) -> list[tuple[str, str]]:
    return [(event["RequestType"], event["ResourceProperties"]["Version"]) for event in events]


def test_a_failed_update_is_rolled_back_with_the_old_properties(deployed: Cdk, client: Client, calls: Calls) -> None:
    before = len(calls())
    broken = Variant(version="2", fail="Update", setting="second", threshold=5)
    done = deployed("deploy", broken, *ALONE)
    assert done.returncode == 1
    assert "RuntimeError: asked to fail: 2" in said(done)
    assert version_of(calls()[before:]) == [("Update", "2"), ("Update", "1")]
    back = calls()[-1]
    assert back["OldResourceProperties"]["Version"] == "2"
    assert status(client, "Functions") == "UPDATE_ROLLBACK_COMPLETE"
    worker = client("lambda").get_function_configuration(FunctionName="rehearsal-worker")
    assert worker["Environment"] == {"Variables": {"SETTING": "first"}}
    (alarm,) = client("cloudwatch").describe_alarms(AlarmNames=["rehearsal-errors"])["MetricAlarms"]
    assert alarm["Threshold"] == 10.0


def test_after_a_rollback_the_next_deployment_goes_through(deployed: Cdk, client: Client, calls: Calls) -> None:
    done = deployed("deploy", Variant(version="3"), *ALONE)
    assert done.returncode == 0, said(done)
    assert version_of(calls())[-1] == ("Update", "3")
    assert status(client, "Functions") == "UPDATE_COMPLETE"


def test_a_new_physical_id_deletes_the_old_one_afterwards(deployed: Cdk, calls: Calls) -> None:
    before = len(calls())
    done = deployed("deploy", Variant(version="4", identity="another"), *ALONE)
    assert done.returncode == 0, said(done)
    update, delete = calls()[before:]
    assert (update["RequestType"], update["PhysicalResourceId"]) == ("Update", "ledger")
    assert (delete["RequestType"], delete["PhysicalResourceId"]) == ("Delete", "ledger")
    assert delete["ResourceProperties"]["Version"] == "3"


def test_a_function_that_never_answers_fails_after_the_service_timeout(deployed: Cdk, client: Client) -> None:
    done = deployed("deploy", Variant(version="5", identity="another", silent=True), *ALONE)
    assert done.returncode == 1
    assert "did not receive a response from your Custom Resource" in said(done)
    assert status(client, "Functions") == "UPDATE_ROLLBACK_COMPLETE"


def test_an_unknown_type_fails_the_deployment_and_leaves_the_rest(deployed: Cdk, client: Client) -> None:
    done = deployed("deploy", Variant(unknown=True, storage=40), "Data", "--exclusively")
    assert done.returncode == 1
    assert "The emulator does not model the resource type AWS::Nonsense::Thing" in said(done)
    assert status(client, "Data") == "UPDATE_ROLLBACK_COMPLETE"
    instance = client("rds").describe_db_instances(DBInstanceIdentifier="rehearsal-db")["DBInstances"][0]
    assert instance["AllocatedStorage"] == 20


def test_a_failed_creation_takes_back_what_it_made(deployed: Cdk, client: Client, calls: Calls) -> None:
    assert deployed("destroy", GOOD, *ALONE).returncode == 0
    before = len(calls())
    done = deployed("deploy", Variant(version="6", fail="Create"), *ALONE)
    assert done.returncode == 1
    assert "RuntimeError: asked to fail: 6" in said(done)
    assert version_of(calls()[before:]) == [("Create", "6"), ("Delete", "6")]
    assert status(client, "Functions") == "ROLLBACK_COMPLETE"
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        client("lambda").get_function(FunctionName="rehearsal-worker")
    again = deployed("deploy", GOOD, *ALONE)
    assert again.returncode == 0, said(again)
    assert status(client, "Functions") == "CREATE_COMPLETE"


def test_a_protected_instance_survives_the_destruction_of_its_stack(deployed: Cdk, client: Client) -> None:
    assert deployed("deploy", Variant(protected=True), "Data", "--exclusively").returncode == 0
    assert deployed("destroy", GOOD, *ALONE).returncode == 0
    done = deployed("destroy", GOOD, "Data")
    assert done.returncode == 1
    assert "Cannot delete protected DB Instance, please disable deletion protection and try again." in said(done)
    assert status(client, "Data") == "DELETE_FAILED"
    rds = client("rds")
    assert rds.describe_db_instances(DBInstanceIdentifier="rehearsal-db")["DBInstances"][0]["DeletionProtection"]
    rds.modify_db_instance(DBInstanceIdentifier="rehearsal-db", DeletionProtection=False, ApplyImmediately=True)
    done = deployed("destroy", GOOD, "Data")
    assert done.returncode == 0, said(done)
    assert rds.describe_db_instances()["DBInstances"] == []


def test_a_retained_database_is_still_there_after_destroy(
    deployed: Cdk, client: Client, server: Server, query: Callable[..., list[tuple[Any, ...]]]
) -> None:
    kept = Variant(retained=True)
    assert deployed("deploy", kept, "Data", "--exclusively").returncode == 0
    with psycopg.connect(server.url("rdsadmin", "rehearsal"), autocommit=True) as connection:
        connection.execute("CREATE TABLE precious (it int)")
    done = deployed("destroy", kept, "Data")
    # As on AWS: what the living instance stands on, in the same stack, cannot go before it does.
    assert done.returncode == 1
    assert "database instances are still members of this parameter group" in said(done)
    events = client("cloudformation").describe_stack_events(StackName="Data")["StackEvents"]
    assert "DELETE_SKIPPED" in [e["ResourceStatus"] for e in events if e["ResourceType"] == "AWS::RDS::DBInstance"]
    found = client("rds").describe_db_instances(DBInstanceIdentifier="rehearsal-db")["DBInstances"][0]
    assert found["DBInstanceStatus"] == "available"
    assert query("SELECT count(*) FROM precious") == [(0,)]
    client("rds").delete_db_instance(DBInstanceIdentifier="rehearsal-db", SkipFinalSnapshot=True)
    assert query("SELECT datname FROM pg_database WHERE datname = 'rehearsal'", "postgres") == []
    done = deployed("destroy", kept, "Data")
    assert done.returncode == 0, said(done)
