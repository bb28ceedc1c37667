"""Wrong events are answered by the field that is wrong; and no secret is ever answered or logged."""

from __future__ import annotations

from typing import Any

import pytest

from db_migration import handler as handler_module
from db_migration.handler import answer, handler
from tests.conftest import ROW_KEY, TestLedger

WRONG: list[tuple[Any, str, str]] = [
    (None, "event", "JSON object"),
    ([], "event", "JSON object"),
    ("migrate", "event", "JSON object"),
    ({}, "action", "migrate, seed, query, queue, keys"),
    ({"action": None}, "action", "migrate, seed, query, queue, keys"),
    ({"action": "drop"}, "action", "migrate, seed, query, queue, keys"),
    ({"action": ["migrate"]}, "action", "migrate, seed, query, queue, keys"),
    ({"action": "migrate", "phase": "during"}, "phase", "'pre' or 'post'"),
    ({"action": "migrate", "dry_run": "yes"}, "dry_run", "boolean"),
    ({"action": "migrate", "dryrun": True}, "dryrun", "dry_run"),
    ({"action": "seed", "force": True}, "force", "unknown field"),
    ({"action": "query"}, "sql", "required"),
    ({"action": "query", "sql": ""}, "sql", "at least 1"),
    ({"action": "query", "sql": 5}, "sql", "text"),
    ({"action": "query", "sql": "SELECT '\x00'"}, "sql", "NUL"),
    ({"action": "query", "sql": "SELECT '\ud800'"}, "sql", "surrogate"),
    ({"action": "query", "sql": "SELECT 1", "params": {}}, "params", "list"),
    ({"action": "query", "sql": "SELECT 1", "params": [1] * 1001}, "params", "1000"),
    ({"action": "query", "sql": "SELECT 1", "role": "admin"}, "role", "sql"),
    ({"action": "queue", "rebuild": "yes"}, "rebuild", "boolean"),
    ({"action": "queue", "limit": 5}, "limit", "rebuild"),
    ({"action": "archive", "older_than_days": -1}, "older_than_days", "greater than or equal to 0"),
    ({"action": "archive", "older_than_days": "365"}, "older_than_days", "integer"),
    ({"action": "archive", "older_than_days": 36_501}, "older_than_days", "less than or equal to 36500"),
    ({"action": "archive", "seconds": 800}, "seconds", "less than or equal to 720"),
    ({"action": "archive", "before": "2025-01-01"}, "before", "older_than_days, seconds"),
]


@pytest.mark.parametrize(("event", "field", "expected"), WRONG)
def test_a_wrong_event_is_named_by_its_field(event: Any, field: str, expected: str) -> None:
    result = answer(event, {})
    assert result["ok"] is False
    assert (result["error"]["code"], result["error"]["field"]) == ("invalid_input", field)
    assert expected in result["error"]["message"]


PASSWORD = "never-show-this-word"
UNREACHABLE = {"DATABASE_URL": f"postgresql://postgres:{PASSWORD}@127.0.0.1:1/x"}


@pytest.mark.parametrize("action", ["migrate", "seed", "query", "queue"])
@pytest.mark.parametrize(
    "url",
    [
        UNREACHABLE["DATABASE_URL"],
        f"postgresql://postgres:{PASSWORD}@127.0.0.1:1/x?bogus=1",
        f"host=127.0.0.1 port=1 password={PASSWORD}",
        f"host=127.0.0.1 port=1 password='{PASSWORD}",
        "{wrong}",
        "",
    ],
)
def test_no_password_is_answered_or_logged(
    shared: TestLedger, action: str, url: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    if url == "{wrong}":
        url = f"postgresql://lambda_exec:{PASSWORD}@{shared.server.host}:{shared.server.port}/{shared.name}"
    seed = bytes(ROW_KEY).hex()
    event = {"action": action, "sql": "SELECT 1"} if action == "query" else {"action": action}
    result = answer(event, {"DATABASE_URL": url, "ROW_SIGNING_KEY_HEX": seed})
    assert result["error"]["code"] == (
        "misconfigured" if not url or "bogus" in url or "='" in url else "ledger_unavailable"
    )
    captured = capfd.readouterr()
    for text in (str(result), captured.out, captured.err, caplog.text, *(str(r.__dict__) for r in caplog.records)):
        assert PASSWORD not in text
        assert seed not in text


def test_what_a_query_reads_is_not_logged(
    shared: TestLedger, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    event = {"action": "query", "params": [PASSWORD], "sql": f"SELECT '{PASSWORD}' AS v, $1::text AS w"}
    assert answer(event, shared.environment)["rows"] == [{"v": PASSWORD, "w": PASSWORD}]
    assert (
        answer(event | {"sql": "SELECT 1 / 0, $1::text"}, shared.environment)["error"]["message"] == "division by zero"
    )
    # PostgreSQL's sentence quotes the value: for the caller, who has a right to it, and not for the log.
    failing = {"action": "query", "sql": "SELECT $1::int", "params": [PASSWORD]}
    assert PASSWORD in answer(failing, shared.environment)["error"]["message"]
    captured = capfd.readouterr()
    records = [str(record.__dict__) for record in caplog.records]
    logged = "".join([captured.out, captured.err, caplog.text, *records])
    assert "request" in logged
    assert PASSWORD not in logged


def test_an_unforeseen_error_is_answered_without_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError(PASSWORD)

    monkeypatch.setattr(handler_module, "perform", fail)
    result = answer({"action": "seed"}, {})
    assert result == {"ok": False, "error": {"code": "internal", "message": "RuntimeError; see the log"}}


def test_the_entry_point_reads_the_environment(shared: TestLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in shared.environment.items():
        monkeypatch.setenv(name, value)
    result = handler({"action": "query", "sql": "SELECT current_database() AS name"})
    assert result["rows"] == [{"name": shared.name}]
    assert handler({"action": "migrate"}, None)["applied"] == []
