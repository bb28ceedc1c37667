"""An environment that protects its data: what refuses to be deleted, and what is kept when all else goes."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from tests.rehearsal.kit import Rehearsal, Rows

DATABASE = "loglineos-prod"
Spans = set[tuple[object, ...]]


@pytest.fixture(scope="module")
def protected(rehearsal: Rehearsal) -> Rehearsal:
    rehearsal.deploy("protected", protect_data="true")
    rehearsal.remember("isto fica")
    return rehearsal


@pytest.fixture(scope="module")
def spans(protected: Rehearsal) -> Spans:
    """What is in the ledger from the beginning, and must be to the end."""
    return protected.spans()


def destroy(protected: Rehearsal) -> str:
    return protected.cdk("destroy", "--all", "--force", deployment_id="protected", protect_data="true").text


def memories(protected: Rehearsal) -> Rows:
    return protected.sql("SELECT metadata->>'content' FROM ledger.universal_registry WHERE entity_type = 'memory'")


def test_the_instance_cannot_be_deleted(protected: Rehearsal, spans: Spans) -> None:
    sentence = "Cannot delete protected DB Instance, please disable deletion protection and try again."
    with pytest.raises(ClientError, match=sentence):
        protected.client("rds").delete_db_instance(DBInstanceIdentifier=DATABASE, SkipFinalSnapshot=True)
    assert protected.spans() == spans


def test_destroy_stops_at_the_first_stack(protected: Rehearsal, spans: Spans) -> None:
    before = protected.statuses()
    assert "cannot be deleted while TerminationProtection is enabled" in destroy(protected)
    assert protected.statuses() == before
    (instance,) = protected.client("rds").describe_db_instances()["DBInstances"]
    assert (instance["DBInstanceIdentifier"], instance["DBInstanceStatus"]) == (DATABASE, "available")
    assert protected.spans() == spans


def test_destroyed_without_that_protection_it_keeps_its_data(protected: Rehearsal, spans: Spans) -> None:
    for name in protected.statuses():
        protected.client("cloudformation").update_termination_protection(
            StackName=name, EnableTerminationProtection=False
        )
    told = destroy(protected)
    assert protected.statuses() == {}, told
    (instance,) = protected.client("rds").describe_db_instances()["DBInstances"]
    assert (instance["DBInstanceIdentifier"], instance["DeletionProtection"]) == (DATABASE, True)
    assert protected.spans() == spans
    assert memories(protected) == [("isto fica",)]


def test_bucket_key_secrets_and_logs_are_kept_too(protected: Rehearsal) -> None:
    buckets = {bucket["Name"] for bucket in protected.client("s3").list_buckets()["Buckets"]}
    assert any(name.startswith("loglineos-archive-") for name in buckets)
    keys = protected.client("kms").list_keys()["Keys"]
    states = [protected.client("kms").describe_key(KeyId=key["KeyId"])["KeyMetadata"] for key in keys]
    assert any(key["Description"].endswith("of LogLineOS") and key["Enabled"] for key in states)
    secrets = {secret["Name"] for secret in protected.client("secretsmanager").list_secrets()["SecretList"]}
    assert secrets == {
        "loglineos-database-master",
        "loglineos-database-lambda-exec",
        "loglineos-database-readonly",
        "loglineos-memory-key",
        "loglineos-checkpoint-key",
    }
    assert any("deployed" in line for line in protected.logs("/aws/lambda/loglineos-db-deploy"))


def test_only_a_person_can_delete_the_instance(protected: Rehearsal) -> None:
    rds = protected.client("rds")
    rds.modify_db_instance(DBInstanceIdentifier=DATABASE, DeletionProtection=False, ApplyImmediately=True)
    rds.delete_db_instance(DBInstanceIdentifier=DATABASE, SkipFinalSnapshot=True)
    assert rds.describe_db_instances()["DBInstances"] == []
