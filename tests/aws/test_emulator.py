"""The emulator's own life: in the background, one for a directory, found again, gone when stopped."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
from botocore.exceptions import EndpointConnectionError

from loglineos.aws import Emulator, EmulatorError, Endpoint, write_environment
from loglineos.local.postgres import LocalPostgres, Server


@pytest.fixture
def own(tmp_path: Path, postgres: LocalPostgres) -> Iterator[Emulator]:
    emulator = Emulator(tmp_path / "aws", postgres)
    yield emulator
    emulator.stop()


def client(endpoint: Endpoint, service: str) -> Any:
    return boto3.session.Session().client(
        service,
        endpoint_url=endpoint.url,
        region_name=endpoint.region,
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )


def database(rds: Any) -> None:
    rds.create_db_instance(
        DBInstanceIdentifier="lasting",
        DBInstanceClass="db.t4g.micro",
        Engine="postgres",
        DBName="lasting",
        MasterUsername="postgres",
        MasterUserPassword="lasting-password",
        AllocatedStorage=20,
    )


def test_it_runs_until_it_is_stopped_and_keeps_its_port(own: Emulator, tmp_path: Path, server: Server) -> None:
    assert own.running() is None
    first = own.start()
    assert own.start() == first == own.running()
    assert Emulator(tmp_path / "aws", LocalPostgres(tmp_path / "unused")).running() == first
    database(client(first, "rds"))
    with psycopg.connect(server.url("rdsadmin", "lasting"), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS it")

    assert own.stop() is True
    assert own.running() is None
    assert own.stop() is False
    with pytest.raises(EndpointConnectionError):
        client(first, "sts").get_caller_identity()

    # Started again it remembers its port and nothing else of AWS; PostgreSQL has kept the data.
    second = own.start()
    assert second == first
    rds = client(second, "rds")
    assert rds.describe_db_instances()["DBInstances"] == []
    database(rds)
    with psycopg.connect(server.url("rdsadmin", "lasting")) as connection:
        assert connection.execute("SELECT it FROM kept").fetchone() == (1,)
    rds.delete_db_instance(DBInstanceIdentifier="lasting", SkipFinalSnapshot=True)


def test_a_killed_emulator_is_not_running_and_can_be_started(own: Emulator, tmp_path: Path) -> None:
    first = own.start()
    pid = json.loads((tmp_path / "aws" / "emulator.json").read_text())["pid"]
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while own.running() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert own.running() is None
    assert own.start() == first


def test_the_superuser_is_on_no_command_line(own: Emulator, tmp_path: Path, server: Server) -> None:
    own.start()
    pid = json.loads((tmp_path / "aws" / "emulator.json").read_text())["pid"]
    shown = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
    assert "loglineos.aws.daemon" in shown
    password = server.url("rdsadmin").split(":")[2].split("@")[0]
    assert password not in shown


def test_a_failed_start_shows_the_log(own: Emulator, tmp_path: Path) -> None:
    (tmp_path / "aws").mkdir()
    (tmp_path / "aws" / "functions").write_text("in the way of the functions' folder")
    with pytest.raises(EmulatorError, match=r"emulator\.log:\n(.|\n)*FileExistsError"):
        own.start()
    (tmp_path / "aws" / "functions").unlink()
    assert own.start() == own.running()


def test_the_environment_file_is_private_and_exact(tmp_path: Path) -> None:
    path = tmp_path / "env"
    write_environment(Endpoint("http://localhost:1", "http://localhost:2"), path, NOTE="it's")
    assert path.stat().st_mode & 0o777 == 0o600
    shown = os.popen(f"AWS_PROFILE=mine; . {path}; echo $AWS_ENDPOINT_URL $AWS_REGION $NOTE ${{AWS_PROFILE-none}}")
    assert shown.read().split() == ["http://localhost:1", "us-east-2", "it's", "none"]


@pytest.fixture(scope="module")
def documented(aws: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """What the manual's commands find: a function and an instance by their names."""
    aws("""
        mkdir -p code && echo 'handler = lambda event, context: event' > code/index.py
        python -c 'import shutil; shutil.make_archive("code", "zip", "code")'
        aws iam create-role --role-name manual --assume-role-policy-document '{}'
        aws lambda create-function --function-name loglineos-stage0-loader --runtime python3.13 \
            --handler index.handler --role arn:aws:iam::123456789012:role/manual --zip-file fileb://code.zip
        aws rds create-db-instance --db-instance-identifier loglineos-prod --db-instance-class db.t4g.micro \
            --engine postgres --db-name manual --master-username postgres --master-user-password a-password \
            --allocated-storage 20
    """)
    yield aws
    aws("""
        aws lambda delete-function --function-name loglineos-stage0-loader
        aws iam delete-role --role-name manual
        for instance in loglineos-read-replica loglineos-restored loglineos-prod; do
            aws rds delete-db-instance --db-instance-identifier $instance --skip-final-snapshot
        done
    """)


def test_invoke_with_the_payload_as_the_manual_writes_it(documented: Callable[..., Any]) -> None:
    shown = documented(r"""
        aws lambda invoke \
          --function-name loglineos-stage0-loader \
          --payload '{"action":"query","sql":"SELECT 1 WHERE entity_type='\''function'\''"}' \
          response.json > answer.json && cat response.json
    """)
    assert shown == {"action": "query", "sql": "SELECT 1 WHERE entity_type='function'"}


def test_snapshot_restore_scale_and_replicate_as_the_manual_writes_it(documented: Callable[..., Any]) -> None:
    snapshot = documented(r"""
        aws rds create-db-snapshot \
          --db-instance-identifier loglineos-prod \
          --db-snapshot-identifier loglineos-manual-$(date +%Y%m%d-%H%M)
    """)
    assert snapshot["DBSnapshot"]["DBInstanceIdentifier"] == "loglineos-prod"
    restored = documented(r"""
        aws rds restore-db-instance-to-point-in-time \
          --source-db-instance-identifier loglineos-prod \
          --target-db-instance-identifier loglineos-restored \
          --restore-time 2025-01-03T12:00:00Z
    """)
    assert restored["DBInstance"]["DBInstanceIdentifier"] == "loglineos-restored"
    scaled = documented(r"""
        aws rds modify-db-instance \
          --db-instance-identifier loglineos-prod \
          --db-instance-class db.t3.medium \
          --apply-immediately
    """)
    assert scaled["DBInstance"]["DBInstanceClass"] == "db.t3.medium"
    replica = documented(r"""
        aws rds create-db-instance-read-replica \
          --db-instance-identifier loglineos-read-replica \
          --source-db-instance-identifier loglineos-prod
    """)
    assert replica["DBInstance"]["ReadReplicaSourceDBInstanceIdentifier"] == "loglineos-prod"


def test_concurrency_as_the_manual_writes_it(documented: Callable[..., Any]) -> None:
    set_ = documented(r"""
        aws lambda put-function-concurrency \
          --function-name loglineos-stage0-loader \
          --reserved-concurrent-executions 100
    """)
    assert set_ == {"ReservedConcurrentExecutions": 100}
    found = documented("aws lambda get-function --function-name loglineos-stage0-loader")
    assert found["Concurrency"] == {"ReservedConcurrentExecutions": 100}


def test_a_missing_function_is_rc_255_and_said(documented: Callable[..., Any]) -> None:
    shown = documented("aws lambda get-function --function-name loglineos-nobody", returncode=255)
    assert "ResourceNotFoundException" in shown
