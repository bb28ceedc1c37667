"""The access log of a stage: one line for each request, in the format that the stage gives."""

from __future__ import annotations

import json
import re
import time
from typing import Any

from moto.logs.models import logs_backends

from .messages import Answer, Place, Request, request_time


def context_of(request: Request, place: Place, answer: Answer, seen: dict[str, str]) -> dict[str, str]:
    """The `$context` variables of a request that has been answered. `seen`: what its integration is known by."""
    return {
        "accountId": place.account,
        "apiId": place.api,
        "stage": place.stage,
        "requestId": place.request_id,
        "requestTime": request_time(place.at),
        "requestTimeEpoch": str(int(place.at)),
        "identity.sourceIp": request.source_ip,
        "identity.userAgent": request.header("user-agent"),
        "httpMethod": request.method,
        "routeKey": place.route_key,
        "path": request.path,
        "protocol": request.protocol,
        "domainName": request.header("host").partition(":")[0],
        "status": str(answer.status),
        "responseLength": str(len(answer.body)),
        "responseLatency": str(int((time.time() - place.at) * 1000)),
        **seen,
    }


def write(settings: dict[str, Any], account: str, region: str, context: dict[str, str]) -> None:
    """To the log group of the stage's settings."""
    group = settings["destinationArn"].split(":log-group:")[1].removesuffix(":*")
    backend = logs_backends[account][region]
    if group not in backend.groups:
        return  # the stack is being deleted
    stream = f"{context['apiId']}-{time.strftime('%Y-%m-%d', time.gmtime())}"
    if stream not in backend.groups[group].streams:
        backend.create_log_stream(group, stream)
    line = formatted(settings.get("format", ""), context)
    backend.put_log_events(group, stream, [{"timestamp": int(time.time() * 1000), "message": line}])


def formatted(template: str, context: dict[str, str]) -> str:
    """The line; a variable without a value is `-`. Values are escaped, so that JSON stays JSON."""

    def value(found: re.Match[str]) -> str:
        return json.dumps(context.get(found[1]) or "-", ensure_ascii=False)[1:-1]

    return re.sub(r"\$context\.([A-Za-z]+(?:\.[A-Za-z]+)*)", value, template)
