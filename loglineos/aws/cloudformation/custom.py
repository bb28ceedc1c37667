"""Custom resources: the request to their function, and its answer to the response URL."""

from __future__ import annotations

import json
import queue
import threading
import uuid
from typing import Any

from ..resources.base import Made, Model, Place, Properties
from .dynamic import expand
from .errors import ResourceFailed

RESPONSE_PATH = "/_cloudformation/response/"
_LONGEST_ANSWER = 4096
_LONGEST_WAIT = 3600  # AWS's, where the template has no ServiceTimeout


class Mailbox:
    """Where answers of custom resources arrive, each under the secret path of its request."""

    def __init__(self) -> None:
        self._waiting: dict[str, queue.SimpleQueue[bytes]] = {}
        self._lock = threading.Lock()

    def open(self) -> tuple[str, queue.SimpleQueue[bytes]]:
        token, box = uuid.uuid4().hex, queue.SimpleQueue[bytes]()
        with self._lock:
            self._waiting[token] = box
        return token, box

    def close(self, token: str) -> None:
        with self._lock:
            self._waiting.pop(token, None)

    def deliver(self, token: str, body: bytes) -> bool:
        """Hand over an answer; False if nobody waits for it (any more)."""
        with self._lock:
            box = self._waiting.get(token)
        if box is None:
            return False
        box.put(body)
        return True


class CustomResource(Model):
    """`Custom::*`: whatever its function does on Create, Update and Delete."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    def check(self, kind: str, properties: Properties) -> None:
        if ":lambda:" not in str(properties.get("ServiceToken")):
            raise ResourceFailed(f"{kind}: the ServiceToken has to be a function's ARN")

    def replaces(self, changed: set[str]) -> bool:  # noqa: ARG002
        """Never: its function decides, by the physical id that it answers."""
        return False

    def create(self, place: Place, properties: Properties) -> Made:
        return self._ask(place, "Create", properties)

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        return self._ask(place, "Update", properties, made, old)

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        self._ask(place, "Delete", properties, made)

    def _ask(
        self,
        place: Place,
        kind: str,
        properties: Properties,
        made: Made | None = None,
        old: Properties | None = None,
    ) -> Made:
        token, box = self._mailbox.open()
        event = {
            "RequestType": kind,
            "ServiceToken": properties["ServiceToken"],
            "ResponseURL": f"{place.api.url}{RESPONSE_PATH}{token}",
            "StackId": place.stack_id,
            "RequestId": str(uuid.uuid4()),
            "LogicalResourceId": place.logical_id,
            "ResourceType": place.type,
            "ResourceProperties": strings(expand(place.api, properties)),
        }
        if made is not None:
            event["PhysicalResourceId"] = made.physical_id
        if old is not None:
            event["OldResourceProperties"] = strings(old)
        try:
            place.api(
                "lambda",
                "invoke",
                FunctionName=properties["ServiceToken"],
                InvocationType="Event",
                Payload=json.dumps(event).encode(),
            )
            body = box.get(timeout=float(properties.get("ServiceTimeout", _LONGEST_WAIT)))
        except queue.Empty:
            raise ResourceFailed(
                "CloudFormation did not receive a response from your Custom Resource. "
                f"Please check your logs for requestId [{event['RequestId']}].",
                made.physical_id if made else place.name(),
            ) from None
        finally:
            self._mailbox.close(token)
        return _answer(event, body, made.physical_id if made else place.name())


def _answer(event: dict[str, Any], body: bytes, assumed: str) -> Made:
    """What the function answered; `assumed` names the resource where a failure doesn't."""
    if len(body) > _LONGEST_ANSWER:
        raise ResourceFailed("Response object is too long.", assumed)
    try:
        answer = json.loads(body)
        status = answer["Status"]
    except (ValueError, TypeError, KeyError):
        raise ResourceFailed("Invalid response object: it has no Status", assumed) from None
    physical_id = answer.get("PhysicalResourceId")
    if status != "SUCCESS":
        reason = answer.get("Reason") or "no reason given"
        raise ResourceFailed(
            f"Received response status [FAILED] from custom resource. Message returned: {reason} "
            f"(RequestId: {event['RequestId']})",
            physical_id or assumed,
        )
    for name in ("StackId", "RequestId", "LogicalResourceId"):
        if answer.get(name) != event[name]:
            raise ResourceFailed(f"Invalid response object: {name} is not the request's", assumed)
    if not physical_id:
        raise ResourceFailed("Invalid PhysicalResourceId", assumed)
    return Made(physical_id, answer.get("Data") or {})


def strings(value: Any) -> Any:
    """Properties as a custom resource receives them: every scalar is a string."""
    if isinstance(value, dict):
        return {key: strings(item) for key, item in value.items()}
    if isinstance(value, list):
        return [strings(item) for item in value]
    return value if isinstance(value, str) else json.dumps(value)
