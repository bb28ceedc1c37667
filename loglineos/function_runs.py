"""`loglineos function run` and `logs`: run a function, now or by the queue, and see what its runs came to."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from nacl.signing import SigningKey

from ledger.ids import new_id
from ledger.override import sign_override
from ledger.proof import parse_signing_key
from ledger.span import format_instant
from loglineos.arguments import identity_options, json_option, read_json, read_text
from loglineos.backend import choose_backend
from loglineos.caller import BEGINNING, Caller, SpanBody, place_of
from loglineos.errors import CommandFailed
from loglineos.functions import FunctionFailed, id_of
from loglineos.http_backend import HttpBackend
from loglineos.output import Output, cell
from loglineos.spans import proof_of

RUN_CODE = "00000000-0000-4000-8000-000000000001"
WORKER = "request_worker_kernel"
FORCED_FOR = timedelta(hours=1)  # a queued run has to wait its turn
ENDED = ("complete", "error", "dead")
SHOWN = 200  # characters of a value in a table
COLUMNS = ["at", "status", "ms", "output or error", "printed", "proof", "execution"]

# What can be done about a run's error, by its code; for the others the sentence itself says it.
_SANDBOX = ("compile", "unsupported", "runtime", "timeout", "memory", "recursion", "output_too_large")
NEXT = {
    **dict.fromkeys(_SANDBOX, "Mend it with `loglineos function test FILE`, then append it again."),
    "no_function": "`loglineos function list` shows yours.",
    "quota_exceeded": "Wait until then, or run it with --force-key FILE.",
    "busy": "Wait for one of its runs to end, or leave it to the queue with --queue.",
    "request_in_progress": "Ask again when that run has ended.",
    "version_conflict": "That --request-id has been used for another run: take a new one.",
}


def caller_of(user: str, tenant: str) -> Caller:
    """Who writes and runs functions: a user of a tenant of their own."""
    backend = choose_backend()
    if isinstance(backend, HttpBackend):
        return Caller(backend, *backend.identity(user, tenant))
    if tenant == "system":
        raise click.UsageError(
            "functions belong to a tenant, and those of tenant system come with a release:"
            " say whose with --tenant and --user, or set LOGLINEOS_TENANT and LOGLINEOS_USER."
        )
    return Caller(backend, user, tenant)


@click.command()
@click.argument("function", metavar="NAME|ID")
@click.option(
    "--input", "input_", metavar="JSON|@FILE|-", help="What `main` is given. [default: the input in its span]"
)
@click.option("--request-id", type=click.UUID, help="Makes the run idempotent: a repeat answers the stored result.")
@click.option("--queue", is_flag=True, help="Leave it to the request worker, which tries again if a worker dies.")
@click.option("--wait", is_flag=True, help="With --queue: follow the request until its run has ended.")
@click.option("--force-key", metavar="FILE", help="Run over quota: the file holds the override key, 64 hex digits.")
@identity_options
@json_option
def run(
    function: str, input_: str | None, request_id: UUID | None, queue: bool, wait: bool, force_key: str | None,
    user: str, tenant: str, as_json: bool,
) -> None:  # fmt: skip
    """Run a function and print what it answers."""
    if wait and not queue:
        raise click.UsageError("--wait follows a request: give --queue too.")
    given = {"input": read_json(input_, "--input")} if input_ is not None else {}
    key = _override_key(force_key) if force_key else None
    output, caller = Output(as_json), caller_of(user, tenant)
    function_id = id_of(caller, function)
    if key is not None:
        request_id = request_id or new_id()
        given |= {"metadata": {"force": _force(key, caller, function_id, request_id)}}
    try:
        if queue:
            _queue(output, caller, function_id, given, request_id or new_id(), wait=wait)
        else:
            _run(output, caller, function_id, given, request_id)
    except CommandFailed as error:
        answer = error.details.get("answer") or {}
        if as_json and answer:
            output.json(answer)
        missing = error.details.get("field") == "function_id"
        kind = "no_function" if missing else answer.get("error", {}).get("code", error.code)
        raise FunctionFailed(kind, error.message, NEXT.get(kind, "")) from error


def _run(output: Output, caller: Caller, function_id: str, given: dict[str, Any], request_id: UUID | None) -> None:
    fields = {"request_id": str(request_id)} if request_id else {}
    body = caller.ask("boot", boot_function_id=RUN_CODE, input={"function_id": function_id, **given}, **fields)
    if output.as_json:
        output.json(body)
        return
    done = body["output"]
    replayed = ", replayed" if body.get("replayed") else ""
    show_printed(done["printed"])
    output.json(done["output"])
    click.echo(f"{done['duration_ms']} ms, {done['status']}{replayed}, execution {done['execution_id']}", err=True)


def _queue(
    output: Output, caller: Caller, function_id: str, given: dict[str, Any], request_id: UUID, *, wait: bool
) -> None:
    asked = {"entity_type": "request", "did": "requested", "this": "run_code", "status": "scheduled"}
    request = caller.append(**asked, **given, id=str(request_id), parent_id=function_id)
    if not wait:
        if output.as_json:
            output.json({"request": request})
            return
        output.line(f"Request {request['id']} is scheduled; the request worker takes it within a minute.")
        output.line(f"At once: loglineos boot {WORKER}. What came of it: loglineos function logs {function_id}")
        return
    ended = _followed(output, caller, request)
    execution = _execution_of(caller, (ended.get("metadata") or {}).get("execution_id"))
    if output.as_json:
        output.json({"request": ended, "execution": execution})
    elif execution is not None and ended["status"] == "complete":
        show_printed((execution.get("metadata") or {}).get("printed", ""))
        output.json(execution.get("output"))
    if ended["status"] != "complete":
        error = ended.get("error") or {}
        kind, message = error.get("code", "dead"), error.get("message", "no worker could end it")
        raise FunctionFailed(kind, message, NEXT.get(kind, ""))


def _followed(output: Output, caller: Caller, request: SpanBody) -> SpanBody:
    """The request's last version, once there is nothing more to come; its states are told as they come."""
    _tell(output, request)
    for span in caller.follow("request", place_of(request)):
        if span["id"] == request["id"]:
            _tell(output, span)
            if span["status"] in ENDED:
                return span
    raise AssertionError("a timeline that is followed does not end")


def _tell(output: Output, request: SpanBody) -> None:
    if not output.as_json:
        click.echo(f"Request {request['id']}: {request['status']}", err=True)


def _execution_of(caller: Caller, execution_id: str | None) -> SpanBody | None:
    if execution_id is None:
        return None
    return next((span for span in caller.newest("execution") if span["id"] == execution_id), None)


def show_printed(text: str) -> None:
    """What a function printed goes to standard error: standard output holds its answer alone."""
    if text:
        click.echo(text, err=True, nl=not text.endswith("\n"))


def _override_key(file: str) -> SigningKey:
    return parse_signing_key(read_text(Path(file), "--force-key").strip(), "--force-key")


def _force(key: SigningKey, caller: Caller, function_id: str, request_id: UUID) -> dict[str, str]:
    expires_at = format_instant(datetime.now(UTC) + FORCED_FOR)
    signature = sign_override(
        key, tenant_id=caller.tenant, function_id=UUID(function_id), request_id=request_id, expires_at=expires_at
    )
    return {"signature": signature, "expires_at": expires_at}


@click.command()
@click.argument("function", metavar="NAME|ID")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.option("--follow", is_flag=True, help="Go on with what is committed, until interrupted.")
@identity_options
@json_option
def logs(function: str, limit: int, follow: bool, user: str, tenant: str, as_json: bool) -> None:
    """Show a function's runs, newest first.

    Those that the user may see. With --follow the newest comes last; with --json too, one JSON object a line.
    """
    output, caller = Output(as_json), caller_of(user, tenant)
    function_id = id_of(caller, function)
    found: list[SpanBody] = []
    for span in caller.newest("execution"):
        if span.get("parent_id") == function_id:
            found.append(span)
            if len(found) == limit:
                break
    if follow:
        _follow(output, caller, function_id, found[::-1])
    elif as_json:
        output.json({"executions": [{**span, "proof": proof_of(span)} for span in found]})
    elif found:
        _show(output, found)
    else:
        output.line(f"{caller.user} of {caller.tenant} has not run it yet: loglineos function run {function}")


def _follow(output: Output, caller: Caller, function_id: str, found: list[SpanBody]) -> None:
    """What was found, oldest first, then what comes. A run that was committed out of turn among them is not missed."""
    _show(output, found)
    shown = {span["id"] for span in found}
    for span in caller.follow("execution", place_of(found[0]) if found else BEGINNING):
        if span.get("parent_id") == function_id and span["id"] not in shown:
            _show(output, [span], header=False)


def _show(output: Output, spans: list[SpanBody], *, header: bool = True) -> None:
    """A table, or with JSON a line for each."""
    if output.as_json:
        for span in spans:
            click.echo(json.dumps({**span, "proof": proof_of(span)}, ensure_ascii=False))
    else:
        output.table(COLUMNS if header else [""] * len(COLUMNS), [_row(span) for span in spans])


def _row(span: SpanBody) -> tuple[Any, ...]:
    error = span.get("error")
    result = (
        f"{error['code']}: {error['message']}" if error else _cut(json.dumps(span.get("output"), ensure_ascii=False))
    )
    printed = (span.get("metadata") or {}).get("printed", "")
    return (
        span["at"][:23], span.get("status"), span.get("duration_ms"), result, _cut(printed), proof_of(span), span["id"]
    )  # fmt: skip


def _cut(text: str) -> str:
    text = cell(text.strip())
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
