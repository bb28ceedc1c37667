"""The five policies of the manual's section 2: the agent shows each of them real spans."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from moto import mock_aws

from ledger.database import Identity
from ledger.ids import derived_id
from ledger.span import Span
from tests.conftest import TestLedger
from tests.row.policy_kit import NAMES, boot_agent, put, run_agent, seen_by
from tests.stage0_loader.stage import Stage, manifest

SLOW, DURATION, ROLLUP = (NAMES[n] for n in ("slow_exec_policy", "metrics_exec_duration", "daily_exec_rollup"))
REPORT, THROTTLE = NAMES["error_report_policy"], NAMES["throttle_policy"]


def about(stage: Stage, span: Span, entity_type: str) -> list[Span]:
    """What was appended because of a span."""
    return [found for found in stage.spans(entity_type=entity_type) if span.id in (found.related_to or [])]


def spend(stage: Stage, tenant: str, runs: int) -> None:
    """Count runs of functions towards the tenant's quota, as run_code_kernel does."""
    sql = "SELECT ledger.spend_quota('exec.per_tenant.daily', %s, 1000)"
    stage.ledger.execute("lambda_exec", sql, [runs], Identity("alice", tenant))


def test_a_slow_execution_is_marked_once(stage: Stage, tenant: str) -> None:
    marked = {"did": "marked", "this": "execution", "status": "slow", "entity_type": "status_patch"}
    quick, slow, known = put(stage, {"duration_ms": 5000}, {"duration_ms": 5001}, {"duration_ms": 9999}, tenant=tenant)
    untimed, *_ = put(stage, {}, {**marked, "id": derived_id("status_patch", str(known.id), "slow")}, tenant=tenant)
    run_agent(stage)
    (mark,) = about(stage, slow, "status_patch")
    assert (mark.status, mark.parent_id, mark.this) == ("slow", slow.id, "slow_exec_policy")
    assert (mark.owner_id, mark.tenant_id, mark.visibility) == ("alice", tenant, "private")
    for other in (quick, known, untimed):  # run_code_kernel had marked `known` already
        assert not about(stage, other, "status_patch")


def test_what_is_slow_is_for_the_manifest_to_say(own: Stage) -> None:
    own.seed(manifest(1001, policy={"slow_ms": 100}))
    _, slow = put(own, {"duration_ms": 100}, {"duration_ms": 101})
    run_agent(own)
    assert seen_by(own, SLOW, "status_patch") == [slow.id]


def test_durations_are_metrics_in_the_ledger_and_in_cloudwatch(own: Stage) -> None:
    drafts = [{"duration_ms": n, "status": "complete"} for n in (7, 8)]
    drafts += [{"duration_ms": 9, "status": "made up", "this": "some_kernel"}, {"status": "complete"}]
    spans = put(own, *drafts)
    answer = boot_agent(own, {"policy_id": str(DURATION)})
    metrics = own.spans(entity_type="metric")
    values = {metric.parent_id: (metric.metadata or {})["value"] for metric in metrics}
    assert values == dict(zip([span.id for span in spans[:3]], [7, 8, 9], strict=True))
    assert {(metric.owner_id, metric.visibility) for metric in metrics} == {("alice", "private")}
    lines = [line for line in answer.lines if "_aws" in line]
    shown = sorted((sorted(line["ExecutionDuration"]), line["kind"], line["status"]) for line in lines)
    assert shown == [([7.0, 8.0], "function", "complete"), ([9.0], "kernel", "other")]
    for line in lines:
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "LogLineOS"
        assert directive["Dimensions"] == [["kind", "status"]]
        assert directive["Metrics"] == [{"Name": "ExecutionDuration", "Unit": "Milliseconds"}]
        assert line["_aws"]["Timestamp"] > 1_700_000_000_000


def sums(stage: Stage, tenant: str) -> dict[tuple[str, str], dict[str, int]]:
    """The rollups of a tenant as the ledger's views show them to one of its users."""
    sql = "SELECT metadata FROM ledger.current_span WHERE entity_type = 'rollup' AND tenant_id = %s"
    rows = stage.ledger.execute("lambda_exec", sql, [tenant], Identity("anybody", tenant))
    found = [row["metadata"] for row in rows]
    return {(each["day"], each["key"]["status"]): each["sums"] for each in found}


def test_executions_are_rolled_up_by_tenant_day_and_status(own: Stage) -> None:
    put(own, {"status": "complete", "duration_ms": 5}, {"status": "error", "duration_ms": 7}, {"status": "complete"})
    put(own, {"status": "complete", "duration_ms": 11}, user="bob")
    put(own, {"status": "complete", "duration_ms": 2, "at": "2026-11-22T23:59:59Z"})
    put(own, {"status": "complete", "duration_ms": 1000}, tenant="other")
    assert str(ROLLUP) not in run_agent(own)  # it is booted at night, by its name
    assert run_agent(own, ROLLUP)[str(ROLLUP)]["evaluated"] == 6
    first = {
        ("2026-11-23", "complete"): {"count": 3, "duration_ms": 16},
        ("2026-11-23", "error"): {"count": 1, "duration_ms": 7},
        ("2026-11-22", "complete"): {"count": 1, "duration_ms": 2},
    }
    assert sums(own, "acme") == first
    put(own, {"status": "error", "duration_ms": 1})
    run_agent(own, ROLLUP)
    assert sums(own, "acme") == {**first, ("2026-11-23", "error"): {"count": 2, "duration_ms": 8}}
    assert sums(own, "other") == {("2026-11-23", "complete"): {"count": 1, "duration_ms": 1000}}
    versions = [span for span in own.spans(entity_type="rollup") if (span.metadata or {})["key"] == {"status": "error"}]
    assert [span.seq for span in versions] == [0, 1]
    assert {(span.owner_id, span.visibility) for span in versions} == {("edge:policy_agent", "tenant")}


def test_a_rollup_that_did_not_get_through_goes_on_in_turn(own: Stage) -> None:
    put(own, *[{"status": "complete", "duration_ms": 1}] * 250)
    assert run_agent(own, ROLLUP, limit=120)[str(ROLLUP)]["more"]
    assert run_agent(own)[str(ROLLUP)]["evaluated"] >= 130
    assert sums(own, "acme") == {("2026-11-23", "complete"): {"count": 250, "duration_ms": 250}}
    put(own, {"status": "complete"})
    assert str(ROLLUP) not in run_agent(own)


FAILURES: list[tuple[dict[str, Any], str | None]] = [
    ({"status": "error", "error": {"code": "runtime", "message": "my secret"}}, "runtime"),
    ({"status": "timeout", "error": {"code": "timeout"}, "this": "memory_store_kernel"}, "timeout"),
    ({"status": "timeout"}, "timeout"),
    ({"status": "error", "error": "text"}, "error"),
    ({"status": "error", "error": {"code": "quota_exceeded"}}, None),
    ({"status": "rejected", "error": {"code": "rejected"}}, None),
    ({"status": "error", "error": {"code": "runtime", "execution_id": "of the function's own"}}, None),
    ({"status": "complete"}, None),
]


@pytest.mark.parametrize(("draft", "code"), FAILURES)
def test_what_failed_critically_is_reported(stage: Stage, tenant: str, draft: dict[str, Any], code: str | None) -> None:
    (execution,) = put(stage, draft, tenant=tenant)
    run_agent(stage)
    reports = about(stage, execution, "error_report")
    assert [report.status for report in reports] == (["open"] if code else [])
    for report in reports:
        assert (report.owner_id, report.visibility, report.parent_id) == ("alice", "private", execution.id)
        assert str(report.description).endswith(f": {code}")
        assert "my secret" not in str(report.description)


@contextmanager
def subscribed(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Any]]:
    """An account with a topic; the ARN, and what reads what it was told."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        topic = boto3.client("sns").create_topic(Name="alarms")["TopicArn"]
        queue = boto3.client("sqs").create_queue(QueueName="inbox")["QueueUrl"]
        attributes = boto3.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]
        boto3.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=attributes["QueueArn"])
        yield (
            topic,
            lambda: boto3.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []),
        )


def test_operators_are_told_once_for_a_boot(ledger: TestLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    with subscribed(monkeypatch) as (topic, inbox):
        stage = Stage(ledger, ALARM_TOPIC_ARN=topic)
        stage.seed(manifest())
        put(stage, *[{"status": "error", "error": {"code": "runtime", "message": "my secret"}}] * 3)
        run_agent(stage)
        reports = stage.spans(entity_type="error_report")
        (message,) = inbox()
        assert "LogLineOS: 3 error reports" in message["Body"]
        assert all(str(report.id) in message["Body"] for report in reports)
        assert "my secret" not in message["Body"]
        run_agent(stage)
        assert inbox() == []
        stage.close()


def test_a_topic_that_cannot_be_told_loses_nothing(ledger: TestLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    with subscribed(monkeypatch) as (topic, _):
        stage = Stage(ledger, ALARM_TOPIC_ARN=topic + "-gone")
        stage.seed(manifest())
        put(stage, {"status": "timeout"})
        answer = boot_agent(stage)
        assert answer.status == 200
        assert [line["message"] for line in answer.errors] == ["ERROR the alarm topic was not told"]
        assert len(stage.spans(entity_type="error_report")) == 1
        stage.close()


def test_a_used_up_quota_is_recorded_once_a_day(stage: Stage, tenant: str) -> None:
    spend(stage, tenant, 99)
    put(stage, {}, tenant=tenant)
    run_agent(stage)
    assert stage.spans(entity_type="policy_violation", tenant_id=tenant) == []
    spend(stage, tenant, 1)
    put(stage, {}, {}, tenant=tenant)
    run_agent(stage)
    put(stage, {}, tenant=tenant, user="bob")
    run_agent(stage)
    violation = stage.one(entity_type="policy_violation", tenant_id=tenant)
    metadata = violation.metadata or {}
    assert (metadata["kind"], metadata["limit"], metadata["used"]) == ("quota.exec.per_tenant.daily", 100, 100)
    assert (violation.owner_id, violation.visibility) == ("edge:policy_agent", "tenant")


def test_a_policy_of_the_seed_that_was_tampered_with_does_not_run_and_the_others_do(own: Stage) -> None:
    own.tamper("code = 'def on(span):\n    return None'", SLOW)
    put(own, {"duration_ms": 6000, "status": "complete"})
    answer = boot_agent(own)
    assert answer.status == 409
    assert answer.error["span_id"] == str(SLOW)
    assert len(own.spans(entity_type="metric")) == 1
    assert own.spans(entity_type="status_patch") == []
    assert len(own.spans(entity_type="security_alert")) == 1
