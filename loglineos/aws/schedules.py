"""Fires a rule of EventBridge: by hand where nothing must move by itself, else `clock.py` does."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from typing import Any

from .addresses import ACCOUNT
from .api import Api
from .emulator import Endpoint


def fire(endpoint: Endpoint, rule: str) -> list[dict[str, Any]]:
    """Invoke the functions that an EventBridge rule has for targets, with its input; their answers."""
    api = Api(endpoint.url, endpoint.region)
    found = api("events", "describe_rule", Name=rule)
    if found["State"] != "ENABLED":
        return []
    answers = []
    for target in api("events", "list_targets_by_rule", Rule=rule)["Targets"]:
        if ":lambda:" in target["Arn"]:
            payload = target.get("Input") or json.dumps(_scheduled(endpoint.region, found["Arn"]))
            answer = api("lambda", "invoke", FunctionName=target["Arn"], Payload=payload.encode())
            said = {"error": answer["FunctionError"]} if "FunctionError" in answer else {}
            answers.append({"target": target["Arn"], "body": json.loads(answer["Payload"].read()), **said})
    return answers


def _scheduled(region: str, rule: str) -> dict[str, Any]:
    """What EventBridge sends where a target has no input of its own."""
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": ACCOUNT,
        "time": dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": region,
        "resources": [rule],
        "detail": {},
    }
