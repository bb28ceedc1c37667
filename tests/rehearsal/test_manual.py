"""The manual's `aws` commands, as they are written there, run by bash against a deployed environment.

Only `KERNEL_ID` and `{...}` are filled in. What counts is what AWS's API and the database say afterwards.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from ledger.connection import Target, connect
from ledger.ids import MANIFEST_ID
from ledger.keys import KeyRing
from ledger.read import span_of
from ledger.span import Span
from ledger.storage import storage_at
from loglineos.aws.schedules import fire
from tests.rehearsal.kit import LOADER, MEMORY, PROMPT, Done, Rehearsal, Release, released_rows
from tlog.checkpoint import open_checkpoint
from tlog.merkle import inclusion_path
from tlog.note import NoteKey
from tlog.proofs import InclusionProof
from tlog.tiles import Tree

DATABASE = "loglineos-prod"

BOOT = r"""
aws lambda invoke \
  --function-name loglineos-stage0-loader \
  --payload '{"action":"boot","boot_function_id":"KERNEL_ID","input":{...}}' \
  response.json
"""  # 3
ACTIVE_KERNELS = r"""
aws lambda invoke \
  --function-name loglineos-db-migration \
  --payload '{"action":"query","sql":"SELECT id, name, seq, status FROM ledger.visible_timeline WHERE entity_type='\''function'\'' ORDER BY name, seq DESC"}' \
  response.json && cat response.json
"""  # 4.2  # noqa: E501
CURRENT_MANIFEST = r"""
aws lambda invoke \
  --function-name loglineos-db-migration \
  --payload '{"action":"query","sql":"SELECT seq, metadata FROM ledger.visible_timeline WHERE entity_type='\''manifest'\'' ORDER BY seq DESC LIMIT 1"}' \
  response.json && cat response.json
"""  # 4.2  # noqa: E501
SPANS_BY_TYPE = r"""
aws lambda invoke \
  --function-name loglineos-db-migration \
  --payload '{"action":"query","sql":"SELECT entity_type, count(*) FROM ledger.visible_timeline GROUP BY entity_type ORDER BY count DESC"}' \
  response.json && cat response.json
"""  # 4.2  # noqa: E501
REGISTERED_APPS = r"""
aws lambda invoke \
  --function-name loglineos-db-migration \
  --payload '{"action":"query","sql":"SELECT id, metadata->>'\''app_name'\'' as name, metadata->>'\''app_version'\'' as version, at FROM ledger.visible_timeline WHERE entity_type='\''app_registration'\'' ORDER BY at DESC"}' \
  response.json
"""  # 4.3  # noqa: E501
SNAPSHOT = r"""
aws rds create-db-snapshot \
  --db-instance-identifier loglineos-prod \
  --db-snapshot-identifier loglineos-manual-$(date +%Y%m%d-%H%M)
"""  # 6.1
RESTORE = r"""
aws rds restore-db-instance-to-point-in-time \
  --source-db-instance-identifier loglineos-prod \
  --target-db-instance-identifier loglineos-restored \
  --restore-time 2025-01-03T12:00:00Z
"""  # 6.4
CHECK_MANIFEST = r"""
aws lambda invoke --function-name loglineos-db-migration \
  --payload '{"action":"query","sql":"SELECT metadata FROM ledger.visible_timeline WHERE entity_type='\''manifest'\'' ORDER BY seq DESC LIMIT 1"}' \
  response.json
"""  # 8.1  # noqa: E501
KERNEL_EXISTS = r"""
aws lambda invoke --function-name loglineos-db-migration \
  --payload '{"action":"query","sql":"SELECT id, name, seq FROM ledger.visible_timeline WHERE id='\''KERNEL_ID'\''"}' \
  response.json
"""  # 8.1
REACHABLE = r"""
aws lambda get-function --function-name loglineos-stage0-loader > /dev/null 2>&1 && echo "✅" || echo "❌"
"""  # 8.3
CONCURRENCY = r"""
aws lambda put-function-concurrency \
  --function-name loglineos-stage0-loader \
  --reserved-concurrent-executions 100
"""  # 10.2
LARGER_INSTANCE = r"""
aws rds modify-db-instance \
  --db-instance-identifier loglineos-prod \
  --db-instance-class db.t3.medium \
  --apply-immediately
"""  # 10.2
REPLICA = r"""
aws rds create-db-instance-read-replica \
  --db-instance-identifier loglineos-read-replica \
  --source-db-instance-identifier loglineos-prod
"""  # 10.2

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
def deployed(rehearsal: Rehearsal) -> Rehearsal:
    Release(rehearsal.repository).row(**APP)
    rehearsal.deploy("first", sign_executions="true")
    rehearsal.remember("antes do manual")
    return rehearsal


def run(deployed: Rehearsal, command: str) -> Done:
    done = deployed.shell(command)
    assert done.code == 0, done.text
    return done


def queried(deployed: Rehearsal, command: str) -> list[dict[str, Any]]:
    """The rows that db-migration answered to a command."""
    run(deployed, command)
    answer = deployed.response
    assert answer["ok"], answer
    rows: list[dict[str, Any]] = answer["rows"]
    return rows


def instance(deployed: Rehearsal, name: str = DATABASE) -> dict[str, Any]:
    found: dict[str, Any] = deployed.client("rds").describe_db_instances(DBInstanceIdentifier=name)["DBInstances"][0]
    return found


def test_boot_a_kernel(deployed: Rehearsal) -> None:
    given = '{"name":"welcome_message","variables":{"user_name":"Ana"}}'
    run(deployed, BOOT.replace("KERNEL_ID", PROMPT).replace("{...}", given))
    body = json.loads(deployed.response["body"])
    assert "Ana" in body["output"]["text"]
    executed = deployed.sql("SELECT output->>'text' FROM ledger.universal_registry WHERE id = %s", body["execution_id"])
    assert executed == [(body["output"]["text"],)]


def test_list_active_kernels(deployed: Rehearsal) -> None:
    rows = queried(deployed, ACTIVE_KERNELS)
    assert {(row["id"], row["seq"]) for row in rows} == released_rows(deployed.repository, "kernels").keys()
    assert {row["status"] for row in rows} == {"active"}
    assert [row["name"] for row in rows] == sorted(row["name"] for row in rows)


@pytest.mark.parametrize("command", [CURRENT_MANIFEST, CHECK_MANIFEST])
def test_look_at_the_manifest(deployed: Rehearsal, command: str) -> None:
    (row,) = queried(deployed, command)
    assert MEMORY in row["metadata"]["allowed_boot_ids"]
    assert row.get("seq", 4) == 4


def test_count_spans_by_type(deployed: Rehearsal) -> None:
    rows = queried(deployed, SPANS_BY_TYPE)
    counts = deployed.sql("SELECT entity_type, count(*) FROM ledger.universal_registry GROUP BY entity_type")
    assert {(row["entity_type"], row["count"]) for row in rows} == set(counts)
    assert [row["count"] for row in rows] == sorted((row["count"] for row in rows), reverse=True)


def test_list_registered_apps(deployed: Rehearsal) -> None:
    (row,) = queried(deployed, REGISTERED_APPS)
    assert row == {"id": APP["id"], "name": "telegram", "version": "1.2", "at": "2026-11-22T00:00:00.000000Z"}


def test_find_a_kernel(deployed: Rehearsal) -> None:
    assert queried(deployed, KERNEL_EXISTS.replace("KERNEL_ID", PROMPT)) == [
        {"id": PROMPT, "name": "prompt_fetch_kernel", "seq": 1}
    ]


def test_the_loader_is_reachable(deployed: Rehearsal) -> None:
    assert run(deployed, REACHABLE).text == "✅"


def test_snapshot(deployed: Rehearsal) -> None:
    run(deployed, SNAPSHOT)
    (found,) = deployed.client("rds").describe_db_snapshots(SnapshotType="manual")["DBSnapshots"]
    today = datetime.now(UTC)
    assert found["DBSnapshotIdentifier"].startswith(f"loglineos-manual-{today:%Y}")
    assert (found["Status"], found["Engine"], found["AllocatedStorage"]) == ("available", "postgres", 20)


def test_restore_to_a_point_in_time(deployed: Rehearsal) -> None:
    run(deployed, RESTORE)
    restored = instance(deployed, "loglineos-restored")
    assert restored["DBInstanceStatus"] == "available"
    assert restored["DBName"] == instance(deployed)["DBName"]
    assert restored["Endpoint"]["Address"] != instance(deployed)["Endpoint"]["Address"]


def loglineos(deployed: Rehearsal, *words: str, code: int = 0, **variables: str) -> str:
    """The command line of the deployed repository; what it printed."""
    given = {
        "PYTHONPATH": f"{deployed.repository}:{deployed.repository}/lambdas",
        "LOGLINEOS_DIRECTORY": str(deployed.home),
        **variables,
    }
    start = [
        sys.executable,
        "-P",
        "-c",
        "import sys; from loglineos.cli import main; sys.argv[0] = 'loglineos'; main()",
    ]
    done = deployed.shell(shlex.join(["env", *(f"{name}={value}" for name, value in given.items()), *start, *words]))
    assert done.code == code, done.text
    return done.text


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
    for name in ("DBInstanceClass", "IAMDatabaseAuthenticationEnabled", "MultiAZ"):
        assert restored[name] == source[name], name


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
    run(deployed, CONCURRENCY)
    assert reserved(FunctionName=LOADER)["ReservedConcurrentExecutions"] == 100


def test_a_larger_instance(deployed: Rehearsal) -> None:
    assert instance(deployed)["DBInstanceClass"] == "db.t4g.micro"
    run(deployed, LARGER_INSTANCE)
    assert instance(deployed)["DBInstanceClass"] == "db.t3.medium"
    assert deployed.found("manual") == ["antes do manual"]


def test_a_read_replica_has_the_rows_and_takes_none(deployed: Rehearsal) -> None:
    run(deployed, REPLICA)
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


# -- 7.4, by `loglineos keys` (docs/keys.md)


def seed(deployed: Rehearsal) -> None:
    """What the next deployment does with the rows of the repository; of this environment they are not signed."""
    api, server = deployed.client("secretsmanager"), deployed.postgres.running()
    assert server is not None
    login = json.loads(api.get_secret_value(SecretId="loglineos-database-master")["SecretString"])
    url = f"postgresql://{login['username']}:{login['password']}@{server.host}:{server.port}/loglineos"
    loglineos(deployed, "seed", DATABASE_URL=url, TRUSTED_ROW_KEYS="", ROW_SIGNING_KEY_HEX="")


def test_rotate_the_loaders_key(deployed: Rehearsal) -> None:
    rotate = ["--env", "local", "keys", "rotate", "--use", "loader", "--new", "loader.key"]
    made = json.loads(loglineos(deployed, "keys", "new", "--use", "loader", "--out", "loader.key", "--json"))
    seq = deployed.sql("SELECT max(seq) FROM ledger.universal_registry WHERE id = %s", MANIFEST_ID)[0][0]
    assert f"manifest seq {seq + 1} (not signed" in loglineos(deployed, *rotate)
    assert f"the ledger's is seq {seq}" in loglineos(deployed, *rotate, code=1), "not before it is deployed"
    seed(deployed)
    assert "within five minutes" in loglineos(deployed, *rotate)
    # A new configuration starts new processes, which see what warm ones see after five minutes.
    functions = deployed.client("lambda")
    variables = functions.get_function_configuration(FunctionName=LOADER)["Environment"]["Variables"]
    functions.update_function_configuration(FunctionName=LOADER, Environment={"Variables": {**variables, "NEW": "1"}})
    deployed.remember("depois da troca")
    listed = json.loads(loglineos(deployed, "--env", "local", "keys", "list", "--json"))["keys"]
    loader = {key["public_key"]: key for key in listed if key["use"] == "loader"}
    (old,) = set(loader) - {made["public_key"]}
    assert loader[made["public_key"]]["state"] == "in force"
    assert loader[old]["trusted_by"] == loader[made["public_key"]]["trusted_by"] == f"manifest seq {seq + 1}"
    newest, *older = [span for span in spans(deployed) if span.entity_type == "execution"][::-1]
    ring = KeyRing.build({}, [span for span in spans(deployed) if span.id == MANIFEST_ID])
    assert (newest.public_key, {span.public_key for span in older}) == (made["public_key"], {old})
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


def spans(deployed: Rehearsal) -> list[Span]:
    """All of the ledger, in its order."""
    server = deployed.postgres.running()
    assert server is not None
    with connect(Target(role=None, url=server.url("rdsadmin", "loglineos"))) as connection:
        rows = connection.execute("SELECT * FROM ledger.universal_registry ORDER BY era, xid, position").fetchall()
    return [span_of(row) for row in rows]
