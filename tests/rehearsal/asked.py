"""What a deployment answers: to a shell, to AWS's API, to SQL."""

from __future__ import annotations

import shlex
import sys
from typing import Any

from ledger.connection import Target, connect
from ledger.read import span_of
from ledger.span import Span
from tests.rehearsal.kit import Done, Rehearsal

DATABASE = "loglineos-prod"


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


def spans(deployed: Rehearsal) -> list[Span]:
    """All of the ledger, in its order."""
    server = deployed.postgres.running()
    assert server is not None
    with connect(Target(role=None, url=server.url("rdsadmin", "loglineos"))) as connection:
        rows = connection.execute("SELECT * FROM ledger.universal_registry ORDER BY era, xid, position").fetchall()
    return [span_of(row) for row in rows]
