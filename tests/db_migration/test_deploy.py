"""The custom resource, as CloudFormation calls it: requests in, answers at the pre-signed URL."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from db_migration import deploy
from db_migration import handler as migration_handler
from db_migration.rows import read_rows
from ledger.settings import asset_directory
from tests.conftest import TestLedger

SIGNATURE = "X-Amz-Signature=do-not-log-me"


class Context:
    log_stream_name = "2026/11/22/[$LATEST]abc"

    def __init__(self, remaining_ms: int = 60_000) -> None:
        self.remaining_ms = remaining_ms

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining_ms


@dataclass
class CloudFormation:
    """Takes answers, and refuses the first `failures` of them."""

    url: str
    answers: list[dict[str, Any]] = field(default_factory=list)
    content_types: list[str | None] = field(default_factory=list)
    failures: int = 0

    def send(self, kind: str, context: Context | None = None, **more: Any) -> dict[str, Any]:
        event = {
            "RequestType": kind, "ResponseURL": f"{self.url}?{SIGNATURE}", "StackId": "stack", "RequestId": "request",
            "LogicalResourceId": "LedgerDeployment", "ResourceProperties": {"DeploymentId": "1"}, **more,
        }  # fmt: skip
        assert deploy.handler(event, context or Context()) is None
        return self.answers[-1]


@pytest.fixture
def cloudformation() -> Iterator[CloudFormation]:
    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            refused, service.failures = service.failures > 0, service.failures - 1
            if not refused:
                service.answers.append(json.loads(body))
                service.content_types.append(self.headers["Content-Type"])
            self.send_response(500 if refused else 200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    service = CloudFormation(f"http://127.0.0.1:{server.server_port}/")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield service
    server.shutdown()
    server.server_close()


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[TestLedger], TestLedger]:
    """Give the function the ledger's settings, as the stack does by environment variables."""

    def apply(ledger: TestLedger) -> TestLedger:
        for name, value in ledger.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("LAMBDA_EXEC_DATABASE_URL", ledger.url("lambda_exec"))
        return ledger

    return apply


Use = Callable[[TestLedger], TestLedger]


def _assets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A copy of migrations and rows that a test may change."""
    for name in ("migrations", "row"):
        source = asset_directory(name)
        for file in source.rglob("*"):
            target = tmp_path / name / file.relative_to(source)
            if file.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(file.read_bytes())
    monkeypatch.setattr(migration_handler, "asset_directory", lambda name: tmp_path / name)
    return tmp_path


def test_create_migrates_seeds_and_reads_the_manifest_back(
    cloudformation: CloudFormation, empty: TestLedger, use: Use
) -> None:
    use(empty)
    first = cloudformation.send("Create")
    assert first["Status"] == "SUCCESS", first
    released = sum(map(len, read_rows(asset_directory("row")).values()))
    assert (first["PhysicalResourceId"], first["Data"]["inserted"]) == ("loglineos-ledger", released)
    assert cloudformation.content_types == [""]
    again = cloudformation.send("Update", PhysicalResourceId="loglineos-ledger", OldResourceProperties={})
    assert (again["Status"], again["Data"]["inserted"], again["Data"]["unchanged"]) == ("SUCCESS", 0, released)
    assert again["PhysicalResourceId"] == first["PhysicalResourceId"]


def test_delete_touches_nothing(cloudformation: CloudFormation, ledger: TestLedger, use: Use) -> None:
    use(ledger)
    spans = "SELECT id, seq, curr_hash FROM ledger.universal_registry ORDER BY 1, 2"
    before = ledger.execute("rdsadmin", spans)
    assert cloudformation.send("Delete", PhysicalResourceId="loglineos-ledger")["Status"] == "SUCCESS"
    assert ledger.execute("rdsadmin", spans) == before


def test_a_failing_migration_fails_the_deployment_in_one_line_and_leaves_nothing(
    cloudformation: CloudFormation, ledger: TestLedger, use: Use, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use(ledger)
    directory = _assets(monkeypatch, tmp_path)
    bad = directory / "migrations" / "9999_bad.sql"
    bad.write_text("-- phase: pre\nCREATE TABLE app.half (n int);\nSELECT nonsense;\n")
    failed = cloudformation.send("Update", PhysicalResourceId="loglineos-ledger")
    assert failed["Status"] == "FAILED"
    assert failed["Reason"] == (
        '9999_bad.sql, line 3: column "nonsense" does not exist. Nothing of it was applied. '
        "(log stream 2026/11/22/[$LATEST]abc)"
    )
    assert ledger.execute("rdsadmin", "SELECT to_regclass('app.half') AS t")[0]["t"] is None
    bad.write_text("-- phase: pre\nCREATE TABLE app.whole (n int);\n")
    assert cloudformation.send("Update", PhysicalResourceId="loglineos-ledger")["Data"]["applied"] == 1


@pytest.mark.parametrize(("breaking", "status"), [(False, "SUCCESS"), (True, "FAILED")])
def test_a_rollback_runs_older_code_on_the_newer_database(
    cloudformation: CloudFormation, ledger: TestLedger, use: Use, breaking: bool, status: str
) -> None:
    use(ledger)
    row = "INSERT INTO app.schema_migration (name, sha256, phase, breaking) VALUES ('9999_newer.sql', 'x', 'pre', %s)"
    ledger.execute("postgres", row, [breaking])
    answered = cloudformation.send("Update", PhysicalResourceId="loglineos-ledger")
    assert answered["Status"] == status
    assert "ahead" in (answered["Reason"] or answered["Data"]["warning"])


def test_rows_that_no_trusted_key_signed_are_not_deployed(
    cloudformation: CloudFormation, empty: TestLedger, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(empty)
    monkeypatch.delenv("ROW_SIGNING_KEY_HEX")
    failed = cloudformation.send("Create")
    assert (failed["Status"], "Span verification failed" in failed["Reason"]) == ("FAILED", True)
    assert empty.execute("rdsadmin", "SELECT count(*) AS n FROM ledger.universal_registry") == [{"n": 0}]


def test_an_unreachable_database_is_a_readable_reason(
    cloudformation: CloudFormation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://postgres:hunter2@127.0.0.1:1/loglineos")
    failed = cloudformation.send("Create")
    assert failed["Reason"].startswith("Ledger unavailable (connection failed")
    assert "hunter2" not in failed["Reason"]


def test_it_answers_before_the_function_runs_out_of_time(
    cloudformation: CloudFormation, ledger: TestLedger, use: Use
) -> None:
    use(ledger)
    with ledger.connect("postgres") as other:
        other.execute("SELECT pg_advisory_lock(%s)", [0x6C6F676C])  # another migration goes on and on
        failed = cloudformation.send("Update", Context(remaining_ms=10_500), PhysicalResourceId="loglineos-ledger")
    assert "took longer than the function may" in failed["Reason"]


def test_an_answer_is_sent_again_and_the_url_never_logged(
    cloudformation: CloudFormation, ledger: TestLedger, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(ledger)
    printed = io.StringIO()
    monkeypatch.setattr(deploy.logger.registered_handler, "stream", printed)
    cloudformation.failures = 2
    assert cloudformation.send("Update", PhysicalResourceId="loglineos-ledger")["Status"] == "SUCCESS"
    cloudformation.failures = 3
    cloudformation.send("Delete", PhysicalResourceId="loglineos-ledger")
    assert len(cloudformation.answers) == 1
    assert "could not be answered" in printed.getvalue()
    assert "X-Amz-Signature" not in printed.getvalue()


def test_other_events_are_the_actions_of_db_migration(ledger: TestLedger, use: Use) -> None:
    use(ledger)
    answered = deploy.handler({"action": "query", "sql": "SELECT 1 AS one"}, Context())
    assert answered is not None
    assert answered["rows"] == [{"one": 1}]
