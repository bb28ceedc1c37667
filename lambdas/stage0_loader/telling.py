"""What operators are told beyond the ledger: metrics in CloudWatch, and messages to the alarm topic."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aws_lambda_powertools import Logger

METRIC_VALUES: Final = 100  # of one metric in one line (CloudWatch's embedded metric format)
MAX_TEXT: Final = 100_000  # SNS takes 256 KB, a mail reader less


def log_metric(
    log: Logger, namespace: str, name: str, values: Sequence[float], unit: str, dimensions: Mapping[str, str]
) -> None:
    """Write the values into the log in CloudWatch's embedded metric format: Lambda's log is read for it."""
    about = {"Namespace": namespace, "Dimensions": [list(dimensions)], "Metrics": [{"Name": name, "Unit": unit}]}
    for start in range(0, len(values), METRIC_VALUES):
        stamp = {"Timestamp": time.time_ns() // 1_000_000, "CloudWatchMetrics": [about]}
        fields: dict[str, Any] = {**dimensions, name: list(values[start : start + METRIC_VALUES]), "_aws": stamp}
        log.info("metric", **fields)


def publish(log: Logger, topic: str | None, subject: str, text: str) -> None:
    """Tell whoever subscribed to the alarm topic. What fails is in the log; nothing waits for it."""
    if not topic:
        log.info("no alarm topic is configured", subject=subject)
        return
    try:
        import boto3  # slow to import, and only needed here
        from botocore.config import Config

        quick = Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 1})
        shown = text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}\n…"
        boto3.client("sns", config=quick).publish(TopicArn=topic, Subject=subject[:100], Message=shown)
    except Exception as problem:  # noqa: BLE001 - of a network, of an account: the reports are in the ledger
        log.error("ERROR the alarm topic was not told", subject=subject, error=f"{type(problem).__name__}: {problem}")
