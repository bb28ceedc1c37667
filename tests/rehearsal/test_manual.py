"""The manual's `aws` commands, as they are written there, run by bash against a deployed environment.

Only `KERNEL_ID` and `{...}` are filled in. What counts is what AWS's API and the database say afterwards.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest

from ledger.ids import MANIFEST_ID
from ledger.keys import KeyRing
from ledger.storage import storage_at
from loglineos.aws.schedules import fire
from tests.docs.pages import Block
from tests.rehearsal import original, typed
from tests.rehearsal.asked import DATABASE, instance, loglineos, queried, run, spans
from tests.rehearsal.kit import LOADER, MEMORY, PROMPT, Rehearsal, Release, released_rows
from tlog.checkpoint import open_checkpoint
from tlog.merkle import inclusion_path
from tlog.note import NoteKey
from tlog.proofs import InclusionProof
from tlog.tiles import Tree

# What RDS's own restore would leave at its defaults.
LIKE_THE_SOURCE = (
    *("DBInstanceClass", "IAMDatabaseAuthenticationEnabled", "MultiAZ", "StorageType", "MaxAllocatedStorage"),
    *("BackupRetentionPeriod", "PreferredBackupWindow", "PreferredMaintenanceWindow", "CACertificateIdentifier"),
    *("EnabledCloudwatchLogsExports", "MonitoringInterval", "MonitoringRoleArn", "PerformanceInsightsEnabled"),
    *("PerformanceInsightsKMSKeyId", "AutoMinorVersionUpgrade"),
)
# As the enrolment of an app leaves it.
APP = {
    "id": "00000000-0000-4000-8000-000000000901",
    "seq": 1,
    "entity_type": "app_registration",
    "who": "system",
    "did": "registered",
    "this": "app",
    "at": "2026-11-22T00:00:00Z",
    "status": "active",
    "name": "telegram",
    "metadata": {"app_name": "telegram", "app_version": "1.2"},
}


@pytest.fixture(scope="module")
def deployed(rehearsal: Rehearsal) -> Iterator[Rehearsal]:
    with typed.operated(rehearsal):
        Release(rehearsal.repository).row(**APP)
        rehearsal.deploy("first", sign_executions="true")
        rehearsal.remember("antes do manual")
        yield rehearsal


def test_boot_a_kernel(deployed: Rehearsal) -> None:
    given = '{"name":"welcome_message","variables":{"user_name":"Ana"}}'
    run(deployed, original.BOOT.replace("KERNEL_ID", PROMPT).replace("{...}", given))
    body = json.loads(deployed.response["body"])
    assert "Ana" in body["output"]["text"]
    executed = deployed.sql("SELECT output->>'text' FROM ledger.universal_registry WHERE id = %s", body["execution_id"])
    assert executed == [(body["output"]["text"],)]


def test_list_active_kernels(deployed: Rehearsal) -> None:
    rows = queried(deployed, original.ACTIVE_KERNELS)
    assert {(row["id"], row["seq"]) for row in rows} == released_rows(deployed.repository, "kernels").keys()
    assert {row["status"] for row in rows} == {"active"}
    assert [row["name"] for row in rows] == sorted(row["name"] for row in rows)


@pytest.mark.parametrize("command", [original.CURRENT_MANIFEST, original.CHECK_MANIFEST])
def test_look_at_the_manifest(deployed: Rehearsal, command: str) -> None:
    (row,) = queried(deployed, command)
    assert MEMORY in row["metadata"]["allowed_boot_ids"]
    assert row.get("seq", 4) == 4


def test_count_spans_by_type(deployed: Rehearsal) -> None:
    rows = queried(deployed, original.SPANS_BY_TYPE)
    counts = deployed.sql("SELECT entity_type, count(*) FROM ledger.universal_registry GROUP BY entity_type")
    assert {(row["entity_type"], row["count"]) for row in rows} == set(counts)
    assert [row["count"] for row in rows] == sorted((row["count"] for row in rows), reverse=True)


def test_list_registered_apps(deployed: Rehearsal) -> None:
    (row,) = queried(deployed, original.REGISTERED_APPS)
    assert row == {"id": APP["id"], "name": "telegram", "version": "1.2", "at": "2026-11-22T00:00:00.000000Z"}


def test_find_a_kernel(deployed: Rehearsal) -> None:
    assert queried(deployed, original.KERNEL_EXISTS.replace("KERNEL_ID", PROMPT)) == [
        {"id": PROMPT, "name": "prompt_fetch_kernel", "seq": 1}
    ]


def test_the_loader_is_reachable(deployed: Rehearsal) -> None:
    assert run(deployed, original.REACHABLE).text == "✅"


def test_snapshot(deployed: Rehearsal) -> None:
    run(deployed, original.SNAPSHOT)
    (found,) = deployed.client("rds").describe_db_snapshots(SnapshotType="manual")["DBSnapshots"]
    today = datetime.now(UTC)
    assert found["DBSnapshotIdentifier"].startswith(f"loglineos-manual-{today:%Y}")
    assert (found["Status"], found["Engine"], found["AllocatedStorage"]) == ("available", "postgres", 20)


def test_restore_to_a_point_in_time(deployed: Rehearsal) -> None:
    run(deployed, original.RESTORE)
    restored = instance(deployed, "loglineos-restored")
    assert restored["DBInstanceStatus"] == "available"
    assert restored["DBName"] == instance(deployed)["DBName"]
    assert restored["Endpoint"]["Address"] != instance(deployed)["Endpoint"]["Address"]


def test_loglineos_makes_a_snapshot_under_the_manuals_name(deployed: Rehearsal) -> None:
    rds = deployed.client("rds")
    for one in rds.describe_db_snapshots(SnapshotType="manual")["DBSnapshots"]:  # this minute's name may be taken
        rds.delete_db_snapshot(DBSnapshotIdentifier=one["DBSnapshotIdentifier"])
    made = json.loads(loglineos(deployed, "snapshot", "--wait", "--json"))
    assert re.fullmatch(r"loglineos-manual-\d{8}-\d{4}", made["name"])
    assert (made["kind"], made["status"], made["gigabytes"]) == ("manual", "available", 20)
    assert loglineos(deployed, "snapshot", "before-the-change").endswith("before-the-change is available.")
    listed = json.loads(loglineos(deployed, "snapshot", "list", "--json"))["snapshots"]
    assert {made["name"], "before-the-change"} <= {one["name"] for one in listed}
    taken = loglineos(deployed, "snapshot", "before-the-change", code=1)
    assert "no snapshot of loglineos-prod can be made" in taken


def test_loglineos_restores_to_a_point_in_time_within_the_same_network(deployed: Rehearsal) -> None:
    said = loglineos(deployed, "pitr", "--time", "latest", "--target", "loglineos-again", "--wait")
    assert 'loglineos era begin --reason "PITR to latest"' in said
    source, restored = instance(deployed), instance(deployed, "loglineos-again")
    groups = [[one["VpcSecurityGroupId"] for one in each["VpcSecurityGroups"]] for each in (source, restored)]
    assert groups[0] == groups[1] != []
    for name in LIKE_THE_SOURCE:
        assert restored[name] == source[name], name


def test_what_a_restore_cannot_set_is_named_without_a_wait(deployed: Rehearsal) -> None:
    said = loglineos(deployed, "pitr", "--time", "latest", "--target", "loglineos-soon")
    assert '"MonitoringInterval": 60' in said
    command = next(line for line in said.splitlines() if "modify-db-instance" in line)
    run(deployed, command.strip())
    assert all(instance(deployed, "loglineos-soon")[name] == instance(deployed)[name] for name in LIKE_THE_SOURCE)


@pytest.mark.parametrize(
    ("time", "said"),
    [
        ("2025-01-03T12:00:00Z", "can be restored to times from 20"),
        ("2025-01-03T12:00:00", "expected an RFC 3339 time with offset"),
        ("yesterday", "expected an RFC 3339 time with offset"),
    ],
)
def test_a_time_to_which_rds_cannot_go_back_is_refused(deployed: Rehearsal, time: str, said: str) -> None:
    assert said in loglineos(deployed, "pitr", "--time", time, "--target", "never", code=2)


def test_more_concurrency(deployed: Rehearsal) -> None:
    reserved = deployed.client("lambda").get_function_concurrency
    assert reserved(FunctionName=LOADER)["ReservedConcurrentExecutions"] == 10
    run(deployed, original.CONCURRENCY)
    assert reserved(FunctionName=LOADER)["ReservedConcurrentExecutions"] == 100


def test_a_larger_instance(deployed: Rehearsal) -> None:
    assert instance(deployed)["DBInstanceClass"] == "db.t4g.micro"
    run(deployed, original.LARGER_INSTANCE)
    assert instance(deployed)["DBInstanceClass"] == "db.t3.medium"
    assert deployed.found("manual") == ["antes do manual"]


def test_a_read_replica_has_the_rows_and_takes_none(deployed: Rehearsal) -> None:
    run(deployed, original.REPLICA)
    replica = instance(deployed, "loglineos-read-replica")
    assert replica["ReadReplicaSourceDBInstanceIdentifier"] == DATABASE
    assert instance(deployed)["ReadReplicaDBInstanceIdentifiers"] == ["loglineos-read-replica"]
    secret = deployed.client("secretsmanager").get_secret_value(SecretId="loglineos-database-lambda-exec")
    login, where = json.loads(secret["SecretString"]), replica["Endpoint"]
    with psycopg.connect(
        host=where["Address"],
        port=where["Port"],
        user=login["username"],
        password=login["password"],
        dbname="loglineos",
        autocommit=True,
    ) as connection:
        found = connection.execute("SELECT count(*) FROM ledger.visible_timeline WHERE entity_type = 'manifest'")
        assert found.fetchone() == (1,)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("INSERT INTO ledger.universal_registry DEFAULT VALUES")


# -- 7.4, as docs/admin-manual.md has it (docs/keys.md says more)


def test_rotate_the_loaders_key(deployed: Rehearsal) -> None:
    (seq,) = deployed.sql("SELECT max(seq) FROM ledger.universal_registry WHERE id = %s", MANIFEST_ID)[0]
    said = type_and_check(deployed, typed.named("7.4/1"))
    made = re.findall(r"public key +([0-9a-f]{64})", said)[0]
    # A new configuration starts new processes, which see what warm ones see after five minutes.
    functions = deployed.client("lambda")
    variables = functions.get_function_configuration(FunctionName=LOADER)["Environment"]["Variables"]
    functions.update_function_configuration(FunctionName=LOADER, Environment={"Variables": {**variables, "NEW": "1"}})
    deployed.remember("depois da troca")
    listed = json.loads(loglineos(deployed, "--env", "local", "keys", "list", "--json"))["keys"]
    loader = {key["public_key"]: key for key in listed if key["use"] == "loader"}
    (old,) = set(loader) - {made}
    assert loader[made]["state"] == "in force"
    assert loader[old]["trusted_by"] == loader[made]["trusted_by"] == f"manifest seq {seq + 1}"
    newest, *older = [span for span in spans(deployed) if span.entity_type == "execution"][::-1]
    ring = KeyRing.build({}, [span for span in spans(deployed) if span.id == MANIFEST_ID])
    assert (newest.public_key, {span.public_key for span in older}) == (made, {old})
    assert all(ring.verify(span, "loader") for span in (newest, *older))


# -- The log over the ledger (docs/checkpoints.md)


def test_the_schedule_seals_and_the_bucket_alone_proves_it(deployed: Rehearsal) -> None:
    deployed.remember("para selar")
    (answer,) = fire(deployed.endpoint, "loglineos-checkpoint")
    assert answer["body"]["ok"], answer
    newest, key = answer["body"]["newest"], NoteKey.parse(answer["body"]["public_key"])
    bucket = answer["body"]["log"]
    listed = deployed.shell(f"aws s3 ls {bucket}/ && aws s3 cp {bucket}/checkpoint checkpoint")
    assert listed.code == 0, listed.text
    assert {"checkpoint", "checkpoints/", "tile/"} <= set(listed.text.split())
    checkpoint = open_checkpoint((deployed.home / "checkpoint").read_text(), [key])
    assert (checkpoint.size, checkpoint.root.hex()) == (newest["size"], newest["root"])
    ledger = spans(deployed)
    last = ledger[checkpoint.size - 1]
    tree = Tree(storage_at(bucket, deployed.client("s3")), checkpoint.size)
    path = inclusion_path(checkpoint.size - 1, checkpoint.size, tree.subtree)
    note = (deployed.home / "checkpoint").read_text()
    proof = InclusionProof.parse(str(InclusionProof(checkpoint.size - 1, tuple(path), note)))
    assert proof.verify(bytes.fromhex(last.curr_hash or ""), [key]) == checkpoint
    (again,) = fire(deployed.endpoint, "loglineos-checkpoint")
    assert (again["body"]["sealed"], again["body"]["busy"]) == ([], False)


# -- docs/admin-manual.md, from section 4 on


def test_every_block_of_the_manual_is_typed_or_says_why_not() -> None:
    names = [block.name for block in typed.BLOCKS]
    assert sorted(names) == sorted([*typed.PRINTS, *typed.NOT_HERE, *typed.WITH_THE_ORIGINALS])


@pytest.fixture(scope="module")
def clone(deployed: Rehearsal) -> Rehearsal:
    """Where the manual is typed, with an empty database beside it and a release of one kernel to deploy."""
    with psycopg.connect(typed.server(deployed).url("rdsadmin", "postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE restored OWNER postgres")
    Release(deployed.repository).prompt_kernel(2)
    return deployed


def type_and_check(deployed: Rehearsal, block: Block) -> str:
    done = typed.type_block(deployed, block, typed.filled(deployed, block))
    assert done.code == 0, done.text
    assert re.search(typed.PRINTS[block.name], done.text), done.text
    return done.text


@pytest.mark.parametrize("block", typed.TO_TYPE, ids=lambda block: block.name)
def test_type_the_manual(clone: Rehearsal, block: Block) -> None:
    type_and_check(clone, block)
