"""Lambda's API on moto, with invocations that really run.

moto keeps functions, versions, aliases, layers and permissions. Here its `invoke` is replaced, and what
moto forgets of a function's configuration is kept.
"""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
from pathlib import Path
from typing import Any

from moto.awslambda.models import LambdaFunction
from moto.awslambda.utils import get_backend
from moto.core.exceptions import ServiceException
from moto.logs.models import logs_backends

from ..api import Api
from .package import runtime_directory, search_path, unpacked
from .pool import Pool, Throttled
from .worker import Outcome, Setting

log = logging.getLogger(__name__)

# What moto drops of a configuration, although the API has it.
_FORGOTTEN = ("DeadLetterConfig", "LoggingConfig", "RecursiveLoop", "RuntimeManagementConfig")
_ASYNC_ATTEMPTS = 3  # as AWS, but at once: it waits a minute, then two
_TAIL = 4096


class InvalidRequestContent(ServiceException):
    code = "InvalidRequestContentException"


class TooManyRequests(ServiceException):
    code = "TooManyRequestsException"


class UnsupportedRuntime(ServiceException):
    code = "InvalidParameterValueException"


class Invoker:
    """Runs moto's functions in a pool of processes and writes their logs."""

    def __init__(self, pool: Pool, directory: Path, url: str) -> None:
        self._pool, self._directory, self._url = pool, directory, url
        self._runtime = runtime_directory(directory)

    def setting(self, function: Any) -> Setting:
        backend = get_backend(function.account_id, function.region)
        versions = [backend.layers_versions_by_arn(layer["Arn"]) for layer in function.layers]
        layers = [unpacked(self._directory, one.code_bytes, one.code_sha_256) for one in versions if one]
        task = unpacked(self._directory, function.code_bytes, function.code_sha_256)
        variables = {key: str(value) for key, value in (function.environment_vars or {}).items()}
        return Setting(
            arn=function.function_arn,
            name=function.function_name,
            version=str(function.version),
            runtime=function.run_time,
            handler=function.handler,
            timeout=float(function.timeout),
            memory=int(function.memory_size),
            region=function.region,
            log_group=_log_group(function),
            path=tuple(search_path(task, layers, self._runtime)),
            environment=tuple(sorted({**_logging(function), **variables}.items())),
        )

    def run(self, function: Any, payload: bytes, patience: float = 0.0) -> Outcome:
        """Invoke once. Raises Throttled if for `patience` seconds no place of its reserved concurrency is free."""
        reserved = function.reserved_concurrency
        limit = None if reserved is None else int(reserved)
        outcome, stream = self._pool.run(self.setting(function), payload, limit, patience)
        _write_logs(function, stream, outcome.logs)
        return outcome

    def run_later(self, function: Any, payload: bytes) -> None:
        """An asynchronous invocation: tried again when it fails, then left to the dead-letter queue."""
        config = function.event_invoke_config[0].config if function.event_invoke_config else {}
        retries = config.get("MaximumRetryAttempts")
        attempts = _ASYNC_ATTEMPTS if retries is None else 1 + int(retries)

        def work() -> None:
            try:
                for attempt in range(attempts):
                    outcome = self._run_when_free(function, payload)
                    if not outcome.failed:
                        return
                    log.info("%s: asynchronous attempt %d failed", function.function_name, attempt + 1)
                self._bury(function, payload, outcome, config)
            except Exception:
                log.exception("asynchronous invocation of %s", function.function_name)

        threading.Thread(target=work, name=f"async-{function.function_name}", daemon=True).start()

    def _run_when_free(self, function: Any, payload: bytes) -> Outcome:
        while True:
            try:
                return self.run(function, payload)
            except Throttled:
                time.sleep(0.2)  # AWS keeps the event and tries again

    def _bury(self, function: Any, payload: bytes, outcome: Outcome, config: dict[str, Any]) -> None:
        failure = (config.get("DestinationConfig") or {}).get("OnFailure") or {}
        target = failure.get("Destination") or _kept(function).get("DeadLetterConfig", {}).get("TargetArn")
        if not target:
            return
        api = Api(self._url, function.region)
        said = json.loads(outcome.body or b"{}")
        attributes = {
            "RequestID": {"DataType": "String", "StringValue": outcome.request_id},
            "ErrorCode": {"DataType": "Number", "StringValue": "200"},
            "ErrorMessage": {
                "DataType": "String",
                "StringValue": str(said.get("errorMessage", ""))[:1024] or "-",
            },
        }
        if ":sqs:" in target:
            url = api("sqs", "get_queue_url", QueueName=target.rsplit(":", 1)[-1])["QueueUrl"]
            api(
                "sqs",
                "send_message",
                QueueUrl=url,
                MessageBody=payload.decode(),
                MessageAttributes=attributes,
            )
        else:
            api("sns", "publish", TopicArn=target, Message=payload.decode(), MessageAttributes=attributes)


def install(invoker: Invoker) -> None:
    """Put `invoker` in the place of moto's own invocation."""

    def invoke(self: Any, body: Any, request_headers: Any, response_headers: Any) -> bytes:
        payload = body if isinstance(body, bytes) else (body or "").encode()
        kind = request_headers.get("x-amz-invocation-type", "RequestResponse")
        _check_payload(payload)
        if not str(self.run_time).startswith("python3"):
            raise UnsupportedRuntime(f"The emulator runs Python functions only, not {self.run_time}")
        if kind == "DryRun":
            return b""
        if kind == "Event":
            invoker.run_later(self, payload or b"{}")
            return b""
        try:
            outcome = invoker.run(self, payload or b"{}")
        except Throttled as throttled:
            raise TooManyRequests(str(throttled)) from throttled
        response_headers["x-amz-executed-version"] = str(self.version)
        if outcome.failed:
            response_headers["x-amz-function-error"] = "Unhandled"
        tail = "\n".join(outcome.logs).encode()[-_TAIL:]
        response_headers["x-amz-log-result"] = base64.b64encode(tail).decode()
        return outcome.body

    LambdaFunction.invoke = invoke  # type: ignore[method-assign]
    _remember_configuration()


def _check_payload(payload: bytes) -> None:
    if payload:
        try:
            json.loads(payload)
        except ValueError as error:
            raise InvalidRequestContent(f"Could not parse request body into json: {error}") from error


def _kept(function: Any) -> dict[str, Any]:
    found: dict[str, Any] = function.__dict__.setdefault("loglineos_kept", {})
    return found


def _remember_configuration() -> None:
    """Keep and show those settings of a function that moto drops."""
    create, update, show = (
        LambdaFunction.__init__,
        LambdaFunction.update_configuration,
        LambdaFunction.get_configuration,
    )

    def created(self: Any, account_id: str, spec: dict[str, Any], *rest: Any, **named: Any) -> None:
        create(self, account_id, spec, *rest, **named)
        _kept(self).update({key: spec[key] for key in _FORGOTTEN if spec.get(key)})

    def updated(self: Any, changes: dict[str, Any]) -> dict[str, Any]:
        _kept(self).update({key: changes[key] for key in _FORGOTTEN if key in changes})
        if "TracingConfig" in changes:
            self.tracing_config = changes["TracingConfig"]
        if "EphemeralStorage" in changes:
            self.ephemeral_storage = changes["EphemeralStorage"]["Size"]
        if "KMSKeyArn" in changes:
            self.kms_key_arn = changes["KMSKeyArn"]
        return update(self, changes)

    def shown(self: Any, on_create: bool = False) -> dict[str, Any]:
        default = {"LoggingConfig": {"LogFormat": "Text", "LogGroup": self.logs_group_name}}
        return {**show(self, on_create), **default, **_kept(self)}

    LambdaFunction.__init__ = created  # type: ignore[method-assign]
    LambdaFunction.update_configuration = updated  # type: ignore[method-assign,assignment]
    LambdaFunction.get_configuration = shown  # type: ignore[method-assign]


def _log_group(function: Any) -> str:
    return str(_kept(function).get("LoggingConfig", {}).get("LogGroup") or function.logs_group_name)


def _logging(function: Any) -> dict[str, str]:
    config = _kept(function).get("LoggingConfig", {})
    found = {
        "AWS_LAMBDA_LOG_FORMAT": config.get("LogFormat"),
        "AWS_LAMBDA_LOG_LEVEL": config.get("ApplicationLogLevel"),
    }
    return {key: value for key, value in found.items() if value}


def _write_logs(function: Any, stream: str, lines: list[str]) -> None:
    """To CloudWatch Logs, where `aws logs tail` and Insights find them."""
    backend = logs_backends[function.account_id][function.region]
    group = _log_group(function)
    backend.ensure_log_group(group)
    if stream not in backend.groups[group].streams:
        backend.create_log_stream(group, stream)
    at = int(time.time() * 1000)
    backend.put_log_events(group, stream, [{"timestamp": at, "message": line} for line in lines])
