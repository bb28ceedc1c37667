"""What is broken in a deployed stack before a runbook's page is typed, and how it is put back."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any, LiteralString

import httpx
import psycopg
from psycopg.sql import SQL, Composed, Identifier

from loglineos.client import enroll
from tests.rehearsal.kit import LOADER, PROMPT, WELCOME
from tests.rehearsal.operator_shell import Operator

DEPLOY, DATABASE = "loglineos-db-deploy", "loglineos-prod"
ENROLLMENT = "00000000-0000-4000-8000-000000000008"
RULES = ("loglineos-observer", "loglineos-request-worker", "loglineos-policy-agent")
GUARDS = ("ur_append_only", "ur_append_only_row")
LAMBDA_EXEC, READONLY = "loglineos-database-lambda-exec", "loglineos-database-readonly"
Step = Callable[[Operator], None]


def nothing(_: Operator) -> None:
    """No harm is done."""


# -- functions


def _configure(operator: Operator, **values: Any) -> None:
    operator.rehearsal.client("lambda").update_function_configuration(FunctionName=LOADER, **values)


def break_the_handler(operator: Operator) -> None:
    _configure(operator, Handler="gone.handler")


def mend_the_handler(operator: Operator) -> None:
    _configure(operator, Handler="stage0_loader.handler.handler", MemorySize=512)


def invoke_broken(operator: Operator) -> None:
    break_the_handler(operator)
    answer = operator.rehearsal.client("lambda").invoke(FunctionName=LOADER, Payload=b"{}")
    assert "FunctionError" in answer


def concurrency(places: int) -> Step:
    def put(operator: Operator) -> None:
        operator.rehearsal.client("lambda").put_function_concurrency(
            FunctionName=LOADER, ReservedConcurrentExecutions=places
        )

    return put


def leave_a_dead_letter(operator: Operator) -> None:
    """A boot that fails in all its tries, because the function cannot be loaded; then it can again."""
    break_the_handler(operator)
    boot = {"action": "boot", "boot_function_id": PROMPT, "input": WELCOME}
    operator.rehearsal.client("lambda").invoke(FunctionName=LOADER, InvocationType="Event", Payload=json.dumps(boot))
    queues = operator.rehearsal.client("sqs")
    url = queues.get_queue_url(QueueName=f"{LOADER}-dead-letters")["QueueUrl"]
    for _ in range(300):
        found = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
        if found["Attributes"]["ApproximateNumberOfMessages"] == "1":
            break
        time.sleep(0.1)
    mend_the_handler(operator)


def misconfigure(operator: Operator) -> None:
    """A setting that the loader refuses: one line of level ERROR. And the trace of an execution that failed."""
    variables = _variables(operator)
    _configure(operator, Environment={"Variables": {**variables, "TRUSTED_ROW_KEYS": "no key"}})
    operator.rehearsal.client("lambda").invoke(FunctionName=LOADER, Payload=b'{"action": "health"}')
    _configure(operator, Environment={"Variables": variables})
    (trace,) = operator.rehearsal.sql(
        "SELECT trace_id FROM ledger.universal_registry WHERE entity_type = 'execution' AND status = 'timeout' LIMIT 1"
    )[0]
    operator.filled["TRACE_ID"] = trace


def _variables(operator: Operator) -> dict[str, str]:
    found = operator.rehearsal.client("lambda").get_function_configuration(FunctionName=LOADER)
    variables: dict[str, str] = found["Environment"]["Variables"]
    return variables


def answer_500_over_https(operator: Operator) -> None:
    """And have a device that can be revoked."""
    url = operator.rehearsal.endpoint.api_url
    code = operator.rehearsal.boot(ENROLLMENT, {"action": "invite"})["output"]["code"]
    device = enroll(url, code, app_name="flood", app_version="1", fingerprint="a machine that floods")
    operator.filled |= {"USER_ID": "ana", "TENANT_ID": device.tenant_id, "DEVICE_ID": device.device_id}
    break_the_handler(operator)
    assert httpx.get(f"{url}/health", trust_env=False).status_code == 500
    mend_the_handler(operator)


# -- sessions of the database


def session_at(statement: LiteralString, secret: str) -> Step:
    """A session that is at this statement until somebody ends it: PID."""

    def begin(operator: Operator) -> None:
        session = operator.connect(secret)
        operator.filled["PID"] = str(session.info.backend_pid)

        def work() -> None:
            with session:
                try:
                    session.execute(statement)
                except psycopg.Error:
                    return

        threading.Thread(target=work, daemon=True).start()
        _wait_for(
            operator, "SELECT FROM pg_stat_activity WHERE pid = %s AND state = 'active'", session.info.backend_pid
        )

    return begin


def _wait_for(operator: Operator, statement: LiteralString, pid: int) -> None:
    for _ in range(300):
        if operator.rehearsal.sql(statement, pid):
            return
        time.sleep(0.05)
    raise AssertionError(statement)


def block_a_session(operator: Operator) -> None:
    """One session holds a lock and does nothing, another waits for it; PID is the first."""
    idle_in_transaction("SELECT pg_advisory_lock(701)")(operator)
    holding = operator.filled["PID"]
    session_at("SELECT pg_advisory_lock(701)", LAMBDA_EXEC)(operator)
    operator.filled["PID"] = holding


def idle_in_transaction(statement: LiteralString = "SELECT 'left open'") -> Step:
    def begin(operator: Operator) -> None:
        session = operator.connect(LAMBDA_EXEC)
        session.autocommit = False
        session.execute(statement)
        operator.filled["PID"] = str(session.info.backend_pid)
        operator.open_sessions.append(session)

    return begin


def is_ended(operator: Operator) -> None:
    """The session of PID."""
    _wait_for(
        operator, "SELECT WHERE NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s)", int(operator.filled["PID"])
    )


def former_size(operator: Operator) -> None:
    operator.rehearsal.client("rds").modify_db_instance(
        DBInstanceIdentifier=DATABASE, DBInstanceClass="db.t4g.micro", ApplyImmediately=True
    )


# -- spans


def seal(operator: Operator) -> None:
    """Seal all that is there, and keep the log's key and its newest checkpoint outside, as an auditor does."""
    aws = operator.rehearsal.client
    answer = aws("lambda").invoke(FunctionName=DEPLOY, Payload=b'{"action": "checkpoint"}')
    said = json.loads(answer["Payload"].read())
    assert said["ok"], said
    bucket = said["log"].removeprefix("s3://").partition("/")[0]
    note = aws("s3").get_object(Bucket=bucket, Key="log/checkpoint")["Body"].read()
    outside = operator.rehearsal.home / "checkpoint-of-an-auditor"
    outside.write_bytes(note)
    operator.filled |= {"KEY": said["public_key"], "LOG_LOCATION": said["log"], "CHECKPOINT_FILE": str(outside)}


def _as_superuser(operator: Operator, *statements: LiteralString | Composed) -> None:
    server = operator.rehearsal.postgres.running()
    assert server is not None
    with psycopg.connect(server.url("rdsadmin", "loglineos"), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def past_the_guards(operator: Operator, statement: LiteralString, *values: Any) -> None:
    """As a superuser who has turned the triggers off, and leaves them so."""
    off = SQL("ALTER TABLE ledger.universal_registry DISABLE TRIGGER {}")
    _as_superuser(operator, *(off.format(Identifier(guard)) for guard in GUARDS))
    assert operator.rehearsal.sql(statement + " RETURNING id", *values)


def guard_again(operator: Operator) -> None:
    """As the release has it."""
    on = SQL("ALTER TABLE ledger.universal_registry ENABLE ALWAYS TRIGGER {}")
    _as_superuser(operator, *(on.format(Identifier(guard)) for guard in GUARDS))


CHANGE: LiteralString = "UPDATE ledger.universal_registry SET code = code || '#' WHERE id = %s"
RENAME: LiteralString = "UPDATE ledger.universal_registry SET this = %s WHERE entity_type = 'memory' AND this = %s"
PUT_BACK: LiteralString = "UPDATE ledger.universal_registry SET code = rtrim(code, '#') WHERE id = %s"


def change_a_kernel(operator: Operator) -> None:
    seal(operator)
    past_the_guards(operator, CHANGE, PROMPT)
    refused = operator.rehearsal.boot(PROMPT, WELCOME)
    assert refused["error"]["code"] == "verification_failed", refused
    operator.filled["SPAN_ID"] = PROMPT


def put_the_kernel_back(operator: Operator) -> None:
    """A deployment would publish the next version; the ledger of these tests goes on without the change."""
    past_the_guards(operator, PUT_BACK, PROMPT)
    guard_again(operator)


def leave_a_transaction_open(operator: Operator) -> None:
    """Which the notary has to wait for, while its rule is off and spans are appended."""
    seal(operator)
    operator.rehearsal.client("events").disable_rule(Name="loglineos-checkpoint")
    idle_in_transaction("SELECT pg_current_xact_id()")(operator)
    operator.rehearsal.remember("not sealed yet")


def is_sealed_again(operator: Operator) -> None:
    is_ended(operator)
    assert operator.rehearsal.client("events").describe_rule(Name="loglineos-checkpoint")["State"] == "ENABLED"


def lose_what_was_sealed(operator: Operator) -> None:
    """A backup, then more that is sealed; and an empty database to restore into."""
    rehearsal, folder = operator.rehearsal, operator.rehearsal.home / "backup"
    operator.bash(f"loglineos backup {folder}")
    rehearsal.remember("after the backup")
    seal(operator)
    server, secret = rehearsal.postgres.running(), operator.login("loglineos-database-master")
    assert server is not None
    _as_superuser(operator, "CREATE DATABASE lost OWNER postgres")
    url = f"postgresql://{secret['username']}:{secret['password']}@{server.host}:{server.port}/lost"
    operator.filled |= {
        "BACKUP_FOLDER": str(folder), "EMPTY_DATABASE_URL": url, "RESTORED_DATABASE_URL": url,
    }  # fmt: skip


def rename(old: str, new: str) -> Step:
    def renamed(operator: Operator) -> None:
        operator.rehearsal.client("rds").modify_db_instance(
            DBInstanceIdentifier=old, NewDBInstanceIdentifier=new, ApplyImmediately=True
        )

    return renamed


def switch_back(operator: Operator) -> None:
    """To the instance that the emulator has a database for."""
    rename(DATABASE, "loglineos-restored")(operator)
    rename("loglineos-prod-lost", DATABASE)(operator)


def forget_the_restored(operator: Operator) -> None:
    concurrency(10)(operator)
    _as_superuser(operator, "DROP DATABASE lost WITH (FORCE)")
    operator.rehearsal.client("rds").delete_db_instance(
        DBInstanceIdentifier="loglineos-restored", SkipFinalSnapshot=True
    )


def edit_a_memory(operator: Operator) -> None:
    operator.rehearsal.remember("it was Monday")
    seal(operator)
    past_the_guards(operator, RENAME, "memorY", "memory")


def edit_it_back(operator: Operator) -> None:
    past_the_guards(operator, RENAME, "memory", "memorY")
    guard_again(operator)


# -- rules


def stop_the_writers(operator: Operator) -> None:
    for rule in RULES:
        operator.rehearsal.client("events").disable_rule(Name=rule)
    concurrency(0)(operator)


def know_ana(operator: Operator) -> None:
    operator.rehearsal.remember("found by its owner")
    operator.filled |= {"KERNEL_ID": PROMPT, "USER_ID": "ana", "TENANT_ID": "acme"}


def ring(operator: Operator) -> None:
    operator.rehearsal.client("cloudwatch").set_alarm_state(
        AlarmName="loglineos-no-boot", StateValue="ALARM", StateReason="15 datapoints were less than the threshold"
    )
