"""provider_exec_kernel: asks a provider's language model, and keeps request and answer as a span of the caller."""

from __future__ import annotations

import math
import random
import re
import time
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from uuid import UUID

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, StrictStr, ValidationError

from ledger.errors import LedgerError

if TYPE_CHECKING:
    from ledger.span import Span
    from stage0_loader.context import Context
    from stage0_loader.http import HttpAnswer

MAX_REQUEST_BYTES: Final = 400_000  # of messages; with MAX_STORED_BYTES it fits into one span
MAX_STORED_BYTES: Final = 500_000
MAX_ATTEMPTS: Final = 4
FIRST_PAUSE_S: Final = 0.25  # doubled for each attempt
LEAST_S: Final = 0.5  # with less, another attempt would only hide what the last one said
RESERVE_S: Final = 1.0  # of the kernel's own time, to append its span and answer
BY_NAME_SQL: Final = """
SELECT id FROM ledger.current_span
WHERE visibility = 'public' AND entity_type = 'provider' AND owner_id = 'system' AND name = %s
ORDER BY id
"""

Word = Annotated[StrictStr, Field(min_length=1, max_length=200)]
Count = Annotated[int, Field(ge=0, lt=2**53)]


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Literal["system", "user", "assistant"]
    content: StrictStr


class Input(BaseModel):
    """Which provider, by id or name, and what to ask: `prompt` is one message of the user."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    provider_id: Annotated[UUID, BeforeValidator(str)] | None = None
    name: StrictStr | None = None
    messages: Annotated[list[Message], Field(min_length=1, max_length=1000)] | None = None
    prompt: Annotated[StrictStr, Field(min_length=1)] | None = None
    model: Word | None = None
    temperature: Annotated[float, Field(strict=True, ge=0, le=2)] | None = None
    max_tokens: Annotated[StrictInt, Field(ge=1, le=1_000_000)] | None = None


class Provider(BaseModel):
    """A provider span's metadata. `secret` names the API key; without one none is sent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["openai", "ollama"]
    base_url: Word
    model: Word
    secret: Annotated[str, Field(pattern="^loglineos-[a-z0-9-]+$")] | None = None


class Reply(BaseModel):
    """What a model said, whichever protocol it came by."""

    text: str
    usage: dict[str, int] | None
    model: str
    finish_reason: str | None
    refusal: str | None = None


class OpenAiUsage(BaseModel):
    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count


class OpenAiMessage(BaseModel):
    content: str | None = None
    refusal: str | None = None


class OpenAiChoice(BaseModel):
    message: OpenAiMessage
    finish_reason: Word | None = None


class OpenAiAnswer(BaseModel):
    """OpenAI's `CreateChatCompletionResponse`, as far as it is read; compatible servers leave out `usage`."""

    model: Word
    choices: Annotated[list[OpenAiChoice], Field(min_length=1)]
    usage: OpenAiUsage | None = None

    def reply(self) -> Reply:
        first, usage = self.choices[0], self.usage
        return Reply(
            text=first.message.content or "",
            usage=usage if usage is None else _usage(usage.prompt_tokens, usage.completion_tokens, usage.total_tokens),
            model=self.model,
            finish_reason=first.finish_reason,
            refusal=first.message.refusal,
        )


class OllamaMessage(BaseModel):
    content: str


class OllamaAnswer(BaseModel):
    """Ollama's `ChatResponse` with `stream: false`; a count of zero is left out of it."""

    model: Word
    message: OllamaMessage
    done: Literal[True]
    done_reason: Word | None = None
    prompt_eval_count: Count | None = None
    eval_count: Count | None = None

    def reply(self) -> Reply:
        counted = self.prompt_eval_count is not None or self.eval_count is not None
        read, written = self.prompt_eval_count or 0, self.eval_count or 0
        return Reply(
            text=self.message.content,
            usage=_usage(read, written, read + written) if counted else None,
            model=self.model,
            finish_reason=self.done_reason,
        )


def _usage(read: int, written: int, total: int) -> dict[str, int]:
    return {"input_tokens": read, "output_tokens": written, "total_tokens": total}


PROTOCOLS: Final[dict[str, tuple[str, type[OpenAiAnswer] | type[OllamaAnswer]]]] = {
    "openai": ("/chat/completions", OpenAiAnswer),
    "ollama": ("/api/chat", OllamaAnswer),
}


class Failure(Exception):
    """An attempt failed: with which of the five codes, and is another attempt of use?"""

    def __init__(self, code: str, message: str, *, retry: bool = False, **details: Any) -> None:
        super().__init__(message)
        self.code, self.message, self.retry, self.details = code, message, retry, details


def main(ctx: Context) -> dict[str, Any]:
    """Ask, and answer `{text, usage, model, finish_reason, provider, span_id}`."""
    request = ctx.parse(Input)
    asked = _asked(ctx, request)
    span = _provider_span(ctx, request)
    call = Call(ctx, span, asked)
    started = time.monotonic()
    output, error = None, None
    try:
        reply = call.run()
        output = reply.model_dump(exclude={"refusal"} if reply.refusal is None else None)
    except Failure as failure:
        error = {"code": failure.code, "message": failure.message, **failure.details, "attempts": call.attempts}
    stored = output
    if output and len(orjson.dumps(output)) > MAX_STORED_BYTES:
        stored = {"omitted": "larger than a span may be"}
    ctx.log.info(
        "provider called", provider=span.name, attempts=call.attempts, result=error["code"] if error else "complete"
    )
    provider = {"id": str(span.id), "name": span.name, "seq": span.seq}
    kept = ctx.ledger.append(
        entity_type="provider_execution",
        who=ctx.user_id,
        did="asked",
        this=span.this,
        name=span.name,
        status="error" if error else "complete",
        related_to=[span.id],
        input=asked,
        output=stored,
        error=error,
        duration_ms=round((time.monotonic() - started) * 1000),
        metadata={
            "provider": provider,
            "model": output["model"] if output else asked.get("model"),
            "usage": output and output["usage"],
            "latency_ms": call.latency_ms,
            "attempts": call.attempts,
        },
    )
    if error:
        raise ctx.failed(**error, provider=span.name, span_id=str(kept.id))
    return {**(output or {}), "provider": provider, "span_id": str(kept.id)}


def _asked(ctx: Context, request: Input) -> dict[str, Any]:
    """The request as spans keep it: messages and what was chosen for them."""
    if (request.messages is None) == (request.prompt is None):
        raise ctx.rejected("messages: expected either messages or prompt", field="messages")
    messages = request.messages or [Message(role="user", content=request.prompt or "")]
    asked = {"messages": [message.model_dump() for message in messages]}
    if len(orjson.dumps(asked)) > MAX_REQUEST_BYTES:
        field = "messages" if request.prompt is None else "prompt"
        raise ctx.rejected(f"{field}: at most {MAX_REQUEST_BYTES} bytes as JSON", field=field)
    return asked | request.model_dump(include={"model", "temperature", "max_tokens"}, exclude_none=True)


def _provider_span(ctx: Context, request: Input) -> Span:
    if (request.provider_id is None) == (request.name is None):
        raise ctx.rejected("provider_id: expected either provider_id or name", field="provider_id")
    provider_id = request.provider_id
    if provider_id is None:
        rows = ctx.ledger.query(BY_NAME_SQL, [request.name])
        provider_id = rows[0]["id"] if rows else None
    span = ctx.system_span(provider_id, "provider") if provider_id else None
    if span is None:
        field = "provider_id" if request.name is None else "name"
        raise ctx.rejected(f"{field}: there is no such provider", field=field)
    return span


class Call:
    """One request of a provider, in as many attempts as its time and MAX_ATTEMPTS allow.

    No key is in what it answers or raises, not even one that the provider repeats.
    """

    def __init__(self, ctx: Context, span: Span, asked: dict[str, Any]) -> None:
        self._ctx, self._span, self._asked = ctx, span, asked
        self._key = ""
        self.attempts = 0
        self.latency_ms = 0

    def run(self) -> Reply:
        """What the model said. Raises Failure."""
        try:
            provider = _described(self._span)
            self._key = self._read_key(provider.secret) if provider.secret else ""
            reply = self._repeat(provider)
        except Failure as failure:
            raise Failure(failure.code, self._clean(failure.message), **failure.details) from None
        texts = {name: value for name, value in reply if isinstance(value, str)}
        return reply.model_copy(update={name: self._clean(value) for name, value in texts.items()})

    def _read_key(self, name: str) -> str:
        try:
            key = self._ctx.secret(name) if name != "loglineos-memory-key" else None
        except LedgerError as error:
            self._ctx.log.error("ERROR a provider's key cannot be read", error=error.message)
            raise Failure("auth", f"the secret {name} cannot be read; the log says why") from None
        if not key:
            raise Failure(
                "auth",
                f"the secret {name} is not set; run: aws secretsmanager create-secret --name {name} --secret-string …",
            )
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise Failure("auth", f"the secret {name} is no API key: expected it as it is, without quotes or spaces")
        return key

    def _repeat(self, provider: Provider) -> Reply:
        while True:
            self.attempts += 1
            try:
                return self._attempt(provider)
            except Failure as failure:
                pause_s = self._pause_s(failure)
                if pause_s is None:
                    raise
                time.sleep(pause_s)

    def _pause_s(self, failure: Failure) -> float | None:
        """Seconds until the next attempt; None if there is none."""
        if not failure.retry or self.attempts >= MAX_ATTEMPTS:
            return None
        # Spread, so that those who were refused together do not come back together.
        backoff = FIRST_PAUSE_S * 2 ** (self.attempts - 1) * random.uniform(0.5, 1)  # noqa: S311 - no secret
        pause_s = max(float(failure.details.get("retry_after", 0)), backoff)
        return pause_s if pause_s + LEAST_S < self._left_s() else None

    def _left_s(self) -> float:
        return self._ctx.deadline.left_s() - RESERVE_S

    def _attempt(self, provider: Provider) -> Reply:
        if self._left_s() <= 0:
            raise Failure("timeout", f"{self._span.name}: no time is left to ask it")
        path, schema = PROTOCOLS[provider.type]
        headers = {"authorization": f"Bearer {self._key}"} if self._key else {}
        body, began = _body(provider, self._asked), time.monotonic()
        try:
            answer = self._ctx.http.post(self._span, path, body, headers=headers, timeout_s=self._left_s())
        except LedgerError as error:
            if error.code not in ("timeout", "unavailable"):
                raise
            raise Failure(
                error.code, f"{self._span.name}: {error.message}", retry=getattr(error, "retry", False)
            ) from None
        finally:
            self.latency_ms = round((time.monotonic() - began) * 1000)
        if not 200 <= answer.status < 300:
            raise self._refusal(answer, provider)
        return self._parsed(answer, schema)

    def _parsed(self, answer: HttpAnswer, schema: type[OpenAiAnswer] | type[OllamaAnswer]) -> Reply:
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            shown = self._clean(kind)[:60] or "no content-type"
            raise Failure("unavailable", f"{self._span.name} answered {shown} where JSON was expected")
        try:
            return schema.model_validate(orjson.loads(answer.body)).reply()
        except orjson.JSONDecodeError:
            raise Failure("unavailable", f"{self._span.name} answered JSON that cannot be read") from None
        except ValidationError as error:
            problem = _problem(error)
            raise Failure("unavailable", f"{self._span.name} answered what is no chat completion: {problem}") from None

    def _refusal(self, answer: HttpAnswer, provider: Provider) -> Failure:
        """A status other than 2xx as one of the five codes."""
        status, (sentence, reason) = answer.status, _sentence(answer.body)
        sentence = self._clean(sentence)[:500]  # cleaned first: half a key would not be found
        details: dict[str, Any] = {"http_status": status}
        if (wait_s := self._retry_after_s(answer)) is not None:
            details["retry_after"] = wait_s
        if status in (401, 403):
            # What it says stays out: it may repeat parts of the key.
            secret = f"the secret {provider.secret}" if provider.secret else "its row, which names no secret"
            return Failure("auth", f"{self._span.name} answered {status}: check {secret}", **details)
        message = f"{self._span.name} answered {status}" + (f": {sentence}" if sentence else "")
        if status == 429:  # a bill that is not paid won't be by waiting
            return Failure("rate_limited", message, retry=reason != "insufficient_quota", **details)
        if status >= 500 or status == 408:
            return Failure("unavailable", message, retry=True, **details)
        return Failure("bad_request", message, **details)

    def _retry_after_s(self, answer: HttpAnswer) -> int | None:
        """`Retry-After`, in seconds or as an HTTP date (RFC 9110, 10.2.3)."""
        value = answer.headers.get("retry-after", "").strip()
        if re.fullmatch(r"[0-9]{1,9}", value):
            return int(value)
        try:
            at = parsedate_to_datetime(value)
        except ValueError:
            return None
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return max(0, math.ceil((at - self._ctx.now()).total_seconds()))

    def _clean(self, text: str) -> str:
        """Text that can be kept: without the key, and without NUL, which no span can hold."""
        if self._key:
            text = re.sub(re.escape(self._key), "***", text, flags=re.IGNORECASE)
        return text.replace("\0", "\ufffd")


def _described(span: Span) -> Provider:
    try:
        return Provider.model_validate(span.metadata)
    except ValidationError as error:
        raise Failure("unavailable", f"the provider span {span.name} is not valid: {_problem(error)}") from None


def _body(provider: Provider, asked: dict[str, Any]) -> dict[str, Any]:
    body = {"model": asked.get("model", provider.model), "messages": asked["messages"], "stream": False}
    chosen: dict[str, Any] = {name: asked[name] for name in ("temperature", "max_tokens") if name in asked}
    if provider.type == "openai":
        return body | chosen
    if "max_tokens" in chosen:
        chosen["num_predict"] = chosen.pop("max_tokens")
    return body | ({"options": chosen} if chosen else {})


def _problem(error: ValidationError) -> str:
    """The first finding, without the value that was found."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def _sentence(body: bytes) -> tuple[str, str]:
    """What an error says, and its code: OpenAI's `{"error": {"message", "code"}}`, Ollama's `{"error": "…"}`."""
    try:
        error = orjson.loads(body)["error"]
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
        return "", ""
    if isinstance(error, dict):
        return str(error.get("message", "")), str(error.get("code", ""))
    return str(error), ""
