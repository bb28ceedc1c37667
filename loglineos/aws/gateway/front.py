"""From a request to the function behind its route, and back."""

from __future__ import annotations

import base64
import fnmatch
import json
import logging
import os
import threading
import time
from concurrent.futures import Future
from typing import Any

from moto.apigatewayv2.models import Api as KeptApi
from moto.apigatewayv2.models import apigatewayv2_backends
from moto.awslambda.utils import get_backend

from ..addresses import ACCOUNT
from ..functions.invoke import Invoker
from ..functions.pool import Throttled
from ..functions.worker import Outcome
from . import access_log, cors
from .messages import Answer, Malformed, Place, Request, answer_of, event_of, message
from .routes import DEFAULT, find_route
from .throttle import Throttle

log = logging.getLogger(__name__)

PRINCIPAL = "apigateway.amazonaws.com"


class Refused(Exception):
    """The gateway answers by itself."""

    def __init__(self, status: int, text: str, reason: str = "") -> None:
        super().__init__(reason or text)
        self.answer = message(status, text)


class Front:
    """Serves the HTTP API that is deployed. With several, a request names one by its host: `<api id>.localhost`."""

    def __init__(self, invoker: Invoker, region: str) -> None:
        self._invoker, self._region, self._throttle = invoker, region, Throttle()

    def handle(self, request: Request) -> Answer:
        """The answer, whatever happens. It is written to the stage's access log."""
        at, request_id = time.time(), base64.b64encode(os.urandom(11)).decode()
        seen: dict[str, str] = {}
        api = self._api(request.header("host"))
        stage = _stage(api, request.path) if api else None
        if api is None or stage is None:
            return _named(message(404, "Not Found"), request_id)
        found = find_route((route.route_key for route in api.routes.values()), request.method, _below(stage, request))
        key, parameters = found or ("-", {})
        place = Place(ACCOUNT, api.api_id, stage.name, key, parameters, request_id, at)
        answer = cors.preflight(api.cors_configuration or {}, request)
        if answer is None:
            answer = self._answer(api, stage, request, place, seen)
            if api.cors_configuration:
                cors.allow(api.cors_configuration, request, answer)
        if stage.access_log_settings:
            context = access_log.context_of(request, place, answer, seen)
            access_log.write(stage.access_log_settings, ACCOUNT, self._region, context)
        return _named(answer, request_id)

    def _api(self, host: str) -> Any:
        apis = [
            api
            for api in apigatewayv2_backends[ACCOUNT][self._region].apis.values()
            if api.protocol_type == "HTTP" and not api.disable_execute_api_endpoint
        ]
        named = [api for api in apis if api.api_id == host.partition(".")[0]]
        found = named or apis
        return found[0] if len(found) == 1 else None

    def _answer(self, api: Any, stage: Any, request: Request, place: Place, seen: dict[str, str]) -> Answer:
        try:
            return self._from_function(api, stage, request, place, seen)
        except Refused as refused:
            seen["integrationErrorMessage" if "integration.latency" in seen else "error.message"] = str(refused)
            return refused.answer

    def _from_function(self, api: Any, stage: Any, request: Request, place: Place, seen: dict[str, str]) -> Answer:
        if place.route_key == "-":
            raise Refused(404, "Not Found")
        if not self._throttle.admits(api.api_id, stage, place.route_key):
            raise Refused(429, "Too Many Requests")
        integration = _integration(api, place.route_key)
        function = self._function(integration, place)
        event = json.dumps(event_of(request, place, stage.stage_variables or {})).encode()
        began = time.monotonic()
        try:
            outcome = self._invoke(function, event, integration.timeout_in_millis / 1000)
        finally:
            seen["integration.latency"] = str(int((time.monotonic() - began) * 1000))
        seen["integration.requestId"], seen["integration.status"] = outcome.request_id, "200"
        if outcome.failed:
            raise Refused(500, "Internal Server Error", "the function failed: its log says how")
        try:
            return answer_of(outcome.body)
        except Malformed as error:
            raise Refused(500, "Internal Server Error", f"the function's result is no answer: {error}") from error

    def _function(self, integration: Any, place: Place) -> Any:
        """The function, if the API may call it: nothing else of IAM is enforced here, but this is easily forgotten."""
        arn = integration.integration_uri.removesuffix("/invocations").rpartition("/functions/")[2]
        try:
            function = get_backend(ACCOUNT, self._region).get_function(arn)
        except Exception as error:
            raise Refused(500, "Internal Server Error", f"there is no function {arn}") from error
        called = place.route_key.replace(" ", "")
        source = f"arn:aws:execute-api:{self._region}:{ACCOUNT}:{place.api}/{place.stage}/{called}"
        statements = function.policy.statements if function.policy else []
        if not any(_lets_in(statement, source) for statement in statements):
            raise Refused(500, "Internal Server Error", f"the function's policy does not let {source} call it")
        return function

    def _invoke(self, function: Any, event: bytes, patience: float) -> Outcome:
        """Run it, after waiting for a free place if need be. Whoever takes longer is not waited for."""
        done: Future[Outcome] = Future()

        def work() -> None:
            try:
                done.set_result(self._invoker.run(function, event, patience))
            except BaseException as error:  # noqa: BLE001 - it is raised where the answer is waited for
                done.set_exception(error)

        threading.Thread(target=work, name="gateway", daemon=True).start()
        try:
            return done.result(timeout=patience)
        except TimeoutError:
            raise Refused(503, "Service Unavailable", "the integration timed out") from None
        except Throttled as error:
            raise Refused(503, "Service Unavailable", "all of the function's reserved concurrency is in use") from error
        except Exception as error:
            log.exception("invoking %s", function.function_name)
            raise Refused(500, "Internal Server Error", "the function could not be started") from error


def _stage(api: Any, path: str) -> Any:
    """The stage that the path begins with, or the one without a name in it."""
    return api.stages.get(path.split("/")[1]) or api.stages.get(DEFAULT)


def _below(stage: Any, request: Request) -> str:
    return request.path if stage.name == DEFAULT else request.path.removeprefix(f"/{stage.name}") or "/"


def _integration(api: Any, route_key: str) -> Any:
    route = next(route for route in api.routes.values() if route.route_key == route_key)
    integration = api.integrations.get((route.target or "").removeprefix("integrations/"))
    if integration is None or integration.integration_type != "AWS_PROXY":
        raise Refused(500, "Internal Server Error", "the route has no integration with a function")
    return integration


def _lets_in(statement: dict[str, Any], source: str) -> bool:
    principal = statement.get("Principal")
    service = principal.get("Service") if isinstance(principal, dict) else principal
    condition = statement.get("Condition", {})
    wanted = (condition.get("ArnLike") or condition.get("StringLike") or {}).get("AWS:SourceArn", source)
    return service == PRINCIPAL and fnmatch.fnmatchcase(source, wanted)


def _named(answer: Answer, request_id: str) -> Answer:
    answer.headers.append(("apigw-requestid", request_id))
    return answer


def install(url: str) -> None:
    """HTTP APIs say that they are at `url`."""
    create = KeptApi.__init__

    def created(self: Any, *given: Any, **named: Any) -> None:
        create(self, *given, **named)
        if self.protocol_type == "HTTP":
            self.api_endpoint = url

    KeptApi.__init__ = created  # type: ignore[method-assign]
