"""loglineos-db-deploy: migrate and seed on every deploy, as a CloudFormation custom resource.

CloudFormation waits for an answer at a pre-signed URL, so one is always sent; the URL is a credential and never
logged. The physical id never changes, since a new one would make CloudFormation delete the old "resource".
"""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from aws_lambda_powertools import Logger
from psycopg import sql

from ledger.connection import Target, connect
from ledger.database import Database, Identity
from ledger.errors import LedgerError, LedgerUnavailable
from ledger.ids import MANIFEST_ID
from ledger.keys import KeyRing
from ledger.proof import parse_public_keys
from ledger.read import versions
from ledger.secret import secrets_manager_value

from .event import Migrate, Seed
from .handler import answer, perform

PHYSICAL_ID: Final = "loglineos-ledger"
RUNTIME_ROLES: Final = ("lambda_exec", "readonly")
MAX_REASON: Final = 1000  # CloudFormation takes 4 kB in all
RESERVE_S: Final = 10.0
TRIES: Final = 3
RETRY_PAUSE_S: Final = 1.0

logger = Logger(service="loglineos-db-deploy")


class DeploymentFailed(LedgerError):
    """The deployment cannot be completed; nothing that was there before has changed."""

    code = "deployment_failed"


def handler(event: Any, context: Any) -> dict[str, Any] | None:
    """A CloudFormation request, answered at its URL; any other event is one of db-migration's actions."""
    if not isinstance(event, dict) or "RequestType" not in event:
        return answer(event, os.environ, logger)
    logger.info("deployment", request=event["RequestType"], properties=event.get("ResourceProperties"))
    data, reason = {}, ""
    try:
        with _time_left(context):
            # Delete touches no data: the ledger outlives its deployments.
            data = {} if event["RequestType"] == "Delete" else deploy(os.environ)
    except LedgerError as error:
        hint = f" ({error.reason})" if isinstance(error, LedgerUnavailable) and error.reason else ""
        reason = f"{error.message}{hint}"
    except Exception as error:
        logger.exception("ERROR deployment failed")
        reason = f"{type(error).__name__}: {error}"
    if reason:
        logger.error("ERROR deployment failed", error=reason)
    _respond(event, data, reason, getattr(context, "log_stream_name", ""))
    return None


def deploy(environment: Mapping[str, str]) -> dict[str, Any]:
    """Migrate, let the runtime roles sign in, seed, and prove it as the loader would. Raises LedgerError.

    On a rollback this is the older code on the newer database: rows that are older than the ledger's are skipped,
    and migrations it does not know are a warning, unless one of them is breaking.
    """
    migrated = perform(Migrate(action="migrate"), environment)
    _set_passwords(environment)
    seeded = perform(Seed(action="seed"), environment)
    _sign_in_as_loader(environment)
    counts = {name: len(seeded[name]) for name in ("inserted", "unchanged", "skipped")}
    done = {"applied": len(migrated["applied"]), **counts, "warning": migrated.get("warning", "")}
    logger.info("deployed", **done)
    return done


def _set_passwords(environment: Mapping[str, str]) -> None:
    """Where there is no sign-in by IAM token, the roles' secrets are their passwords."""
    secrets = {role: environment.get(f"{role.upper()}_DATABASE_SECRET") for role in RUNTIME_ROLES}
    with connect(Target.from_environment(environment, role=None)) as connection:
        for role, arn in secrets.items():
            if arn:
                password = json.loads(secrets_manager_value(arn))["password"]
                # The verifier is made here: the server, and its log, never see the password.
                verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
                statement = sql.SQL("ALTER ROLE {} PASSWORD {}")
                connection.execute(statement.format(sql.Identifier(role), sql.Literal(verifier.decode())))


def _sign_in_as_loader(environment: Mapping[str, str]) -> None:
    database = Database(Target.from_environment(environment, role="lambda_exec", prefix="LAMBDA_EXEC_"))
    try:
        manifests = versions(database, Identity("edge:stage0", "system"), MANIFEST_ID)
    finally:
        database.close()
    if not manifests:
        raise DeploymentFailed("lambda_exec can sign in but sees no manifest: check the policies of the migrations")
    roots = parse_public_keys(environment.get("TRUSTED_ROW_KEYS", ""), "TRUSTED_ROW_KEYS")
    KeyRing.build({"row": roots}, manifests).verify(manifests[-1], "row")


@contextmanager
def _time_left(context: Any) -> Iterator[None]:
    """Fail while there is still time to say so."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise DeploymentFailed("the deployment took longer than the function may; see its log for how far it came")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(0.1, context.get_remaining_time_in_millis() / 1000 - RESERVE_S))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _respond(event: Mapping[str, Any], data: Mapping[str, Any], reason: str, log_stream: str) -> None:
    body = {
        "Status": "FAILED" if reason else "SUCCESS",
        "Reason": f"{' '.join(reason.split())[:MAX_REASON]} (log stream {log_stream})" if reason else "",
        "PhysicalResourceId": event.get("PhysicalResourceId") or PHYSICAL_ID,
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
        "Data": data,
    }
    # S3's pre-signed URL was signed without a content type.
    request = urllib.request.Request(  # noqa: S310 - CloudFormation's own URL
        event["ResponseURL"], data=json.dumps(body).encode(), method="PUT", headers={"Content-Type": ""}
    )
    for attempt in range(1, TRIES + 1):
        try:
            with urllib.request.urlopen(request, timeout=10):  # noqa: S310
                return
        except OSError as error:
            # Not the exception itself: it may hold the URL.
            logger.warning("CloudFormation did not take the answer", attempt=attempt, error=type(error).__name__)
            time.sleep(RETRY_PAUSE_S)
    logger.error("ERROR CloudFormation could not be answered; it will give up after its service time-out")
