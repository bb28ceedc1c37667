"""API actions that moto lacks and that a deployment, the CDK, or the ledger's operator asks for."""

from __future__ import annotations

import json
import time
import uuid
from datetime import datetime
from typing import Any

from moto.athena.responses import AthenaResponse
from moto.cloudtrail.responses import CloudTrailResponse
from moto.core.responses import ActionResult
from moto.logs.responses import LogsResponse
from moto.s3.exceptions import S3ClientError
from moto.s3.responses import S3Response


class QueryDefinitions:
    """CloudWatch's saved queries: kept and listed. Running one is not what they are for here."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}

    def put(self, request: Any) -> str:
        identifier = request._get_param("queryDefinitionId") or str(uuid.uuid4())
        kept = {
            "queryDefinitionId": identifier,
            "name": request._get_param("name"),
            "queryString": request._get_param("queryString"),
            "logGroupNames": request._get_param("logGroupNames") or [],
            "lastModified": int(time.time() * 1000),
        }
        self._here(request)[identifier] = kept
        return json.dumps({"queryDefinitionId": identifier})

    def describe(self, request: Any) -> str:
        prefix = request._get_param("queryDefinitionNamePrefix") or ""
        found = [item for item in self._here(request).values() if item["name"].startswith(prefix)]
        return json.dumps({"queryDefinitions": found})

    def delete(self, request: Any) -> str:
        gone = self._here(request).pop(request._get_param("queryDefinitionId"), None)
        return json.dumps({"success": gone is not None})

    def _here(self, request: Any) -> dict[str, dict[str, Any]]:
        return self._kept.setdefault((request.current_account, request.region), {})


def install() -> None:
    saved = QueryDefinitions()
    _add(LogsResponse, put_query_definition=saved.put)
    _add(LogsResponse, describe_query_definitions=saved.describe)
    _add(LogsResponse, delete_query_definition=saved.delete)
    _add(AthenaResponse, delete_named_query=_delete_named_query)
    # After a failure the CDK looks for more about it in CloudTrail, again and again if that has no answer.
    _add(CloudTrailResponse, lookup_events=lambda _: '{"Events": []}')
    _add_retention()


def _add_retention() -> None:
    """GetObjectRetention: until when an archived object cannot be removed."""
    answer = S3Response._key_response_get

    def answered(self: S3Response, query: dict[str, Any], key_name: str) -> Any:
        return _retention(self) if "retention" in query else answer(self, query, key_name)

    S3Response._key_response_get = answered  # type: ignore[method-assign]


class NoSuchObjectLockConfiguration(S3ClientError):
    def __init__(self) -> None:
        super().__init__(
            "NoSuchObjectLockConfiguration", "The specified object does not have a ObjectLock configuration"
        )


def _retention(self: S3Response) -> Any:
    key, _ = self._get_key()
    if not key.lock_mode or not key.lock_until:
        raise NoSuchObjectLockConfiguration
    self.data["Action"] = "GetObjectRetention"
    until = datetime.fromisoformat(key.lock_until)
    return self.serialized(ActionResult({"Retention": {"Mode": key.lock_mode, "RetainUntilDate": until}}))


def _delete_named_query(request: Any) -> str:
    request.athena_backend.named_queries.pop(request._get_param("NamedQueryId"), None)
    return "{}"


def _add(service: type, **actions: Any) -> None:
    for name, action in actions.items():
        # A function of its own, since moto looks for functions among a service's members.
        setattr(service, name, lambda self, action=action: action(self))
