"""Errors in the functions' logs: of CloudWatch where there is one, else of the files of this machine."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import botocore.exceptions

from loglineos.backend import AwsBackend
from loglineos.health.finding import Finding
from loglineos.local.stack import LocalStack
from loglineos.routine.task import Outcome, Round

# Manual 5.1: `/ERROR/ or /Error:/`. A filter pattern's terms with `?` are alternatives.
PATTERN: Final = '?ERROR ?"Error:"'
MOST: Final = 10_000
SHOWN: Final = 10
GROUPS: Final = ("stage0-loader", "db-migration", "db-deploy")


def errors(round_: Round, days: int) -> Outcome:
    """The errors of the last `days`, alike ones counted together, the most frequent first."""
    since = round_.facts.now - timedelta(days=days)
    findings: list[Finding] = []
    lines: list[str] = []
    for thing in GROUPS:
        try:
            lines += _lines(round_, thing, since)
        except botocore.exceptions.ClientError as error:
            said = str(error.response.get("Error", {}).get("Message", error))
            findings.append(Finding(f"log of {thing}", "unknown", said, f"`aws logs tail {_group(round_, thing)}`"))
        except botocore.exceptions.BotoCoreError as error:
            findings.append(Finding(f"log of {thing}", "unknown", str(error), "Sign in to AWS, and ask again."))
    alike = Counter(_kind(line) for line in lines).most_common(SHOWN)
    details = [f"{count} × {kind}" for kind, count in alike]
    if lines:
        findings.append(Finding("logs", "warning", f"{len(lines)} errors, the most frequent: {alike[0][0]}",
                                _remedy(round_, days)))  # fmt: skip
    read = len(GROUPS) - sum(finding.level == "unknown" for finding in findings)
    said = f"{len(lines)} errors in {days * 24} h in {read} of {len(GROUPS)} logs"
    return Outcome("done" if read else "person", said, findings, details)


def _remedy(round_: Round, days: int) -> str:
    if round_.facts.deployed:
        return f"`aws logs filter-log-events --log-group-name {_group(round_, GROUPS[0])} --filter-pattern '{PATTERN}'`"
    return f"`grep -h ERROR .local/logs/*.log` shows those of the last {days * 24} h and earlier ones."


def _group(round_: Round, thing: str) -> str:
    return f"/aws/lambda/{round_.facts.resource(thing)}"


def _lines(round_: Round, thing: str, since: datetime) -> Iterator[str]:
    if isinstance(round_.backend, AwsBackend):
        return _of_cloudwatch(round_.backend, _group(round_, thing), since)
    return _of_file(thing, since)


def _of_cloudwatch(backend: AwsBackend, group: str, since: datetime) -> Iterator[str]:
    pages = backend.client("logs").get_paginator("filter_log_events").paginate(
        logGroupName=group, startTime=int(since.timestamp() * 1000), filterPattern=PATTERN,
        PaginationConfig={"MaxItems": MOST},
    )  # fmt: skip
    for page in pages:
        # Looked at again: of an emulator, or a pattern that means something else, comes more than was asked for.
        yield from (event["message"] for event in page["events"] if _is_error(event["message"]))


def _of_file(thing: str, since: datetime) -> Iterator[str]:
    path = LocalStack().log_file(f"loglineos-{thing}")
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if _is_error(line) and (at := _time(line)) is not None and at >= since:
                yield line


def _is_error(line: str) -> bool:
    return "ERROR" in line or "Error:" in line


def _parsed(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _time(line: str) -> datetime | None:
    stamp = str(_parsed(line).get("timestamp", ""))
    try:
        return datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S,%f%z")
    except ValueError:
        return None


def _kind(line: str) -> str:
    """What is the same in errors of one kind: the message and its reason, without ids and numbers."""
    found = _parsed(line)
    parts: Sequence[Any] = [found.get("message"), found.get("code"), found.get("error")] if found else [line.strip()]
    text = ": ".join(str(part) for part in parts if part)
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "<id>", text)
    return re.sub(r"\d{3,}", "<n>", text)[:160]
