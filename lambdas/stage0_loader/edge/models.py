"""What calls take and answer, as types: requests are validated by them, and docs/openapi.json is made from them."""

from __future__ import annotations

from copy import copy
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StrictInt, create_model

from ledger.read import MAX_PAGE
from ledger.span import ASSIGNED_COLUMNS, PROOF_COLUMNS, Instant, JsonObject, Name, Span, SpanId, Text

from ..trust import Throttle

Limit = Annotated[int, Field(ge=1, le=MAX_PAGE, description="At most so many spans")]
Place = Annotated[Name, Field(description="A cursor that an earlier page gave")]
Proof = Annotated[Literal["signed", "unsigned"], Field(description="Whether a trusted key signed what ran")]


# Nobody has proved anything yet, and what is sent is kept: no more than an enrolment needs.
Short = Annotated[Text, Field(max_length=200)]


class Given(BaseModel):
    """A query or a body: unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Nothing(Given):
    """No parameters."""


class NewestFirst(Given):
    """A page, newest first."""

    limit: Limit = 50
    entity_type: Name | None = None
    before: Place | None = None
    latest: Annotated[bool, Field(description="Only the latest version of each span, unless it is deleted")] = False


class CommitOrder(Given):
    """A page in commit order. `after`: `beginning`, or a page's cursor."""

    limit: Limit = 50
    entity_type: Name | None = None
    after: Place = "beginning"


class Versions(Given):
    """Versions of a span, newest first."""

    limit: Limit = 50
    before_seq: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None


class BootBody(Given):
    """Boot a kernel that the manifest and the app's scopes let it boot."""

    boot_function_id: SpanId
    input: JsonObject = {}


class RunBody(Given):
    """The function's argument; without it the function gets the input of its own span."""

    input: Any = None


class EnrollBody(Given):
    """A code taken up. `signature`: Ed25519 by `pubkey`, over the code in UTF-8; both in hexadecimal."""

    code: Short
    app_name: Short
    app_version: Short
    device_fingerprint: Short
    pubkey: Annotated[Text, Field(pattern="^[0-9a-f]{64}$")]
    signature: Annotated[Text, Field(pattern="^[0-9a-f]{128}$")]


NOT_GIVEN: Final = (*PROOF_COLUMNS, *ASSIGNED_COLUMNS, "who", "owner_id", "tenant_id")
_FILLED_IN: Final = {"id": SpanId, "at": Instant}


def _draft_fields() -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, field in Span.model_fields.items():
        if name in _FILLED_IN:
            fields[name] = (_FILLED_IN[name] | None, None)
        elif name not in NOT_GIVEN:
            fields[name] = (field.annotation, copy(field))
    return fields


# A span's columns without what the ledger gives; id and at are filled in where they are left out.
Draft: type[BaseModel] = create_model("Draft", __base__=Given, __doc__="A span to append.", **_draft_fields())


class SpansBody(Given):
    """Exactly one of the two."""

    span: Draft | None = None  # type: ignore[valid-type]
    spans: Annotated[list[Draft], Field(min_length=1)] | None = None  # type: ignore[valid-type]


class Answer(BaseModel):
    """What every success has."""

    ok: Literal[True]
    trace_id: Annotated[str, Field(description="Joins answer, spans and log lines")]


class Booted(Answer):
    """A finished boot."""

    span_id: Annotated[UUID, Field(description="Its boot_event")]
    execution_id: UUID
    output: Any
    error: None
    duration_ms: int
    proof: Proof
    replayed: Annotated[bool, Field(description="The stored result of an earlier call with this key")] = False


class AppendedSpan(Span):
    """A span as sealed."""

    inserted: Annotated[bool, Field(description="False: it was there already, identical")]


class Appended(Answer):
    """The spans in the order in which they were given."""

    spans: list[AppendedSpan]


class Page(Answer):
    """Spans, and where to go on."""

    spans: list[Span]
    cursor: str


class SpanFound(Answer):
    """A span's latest version, and its versions, newest first."""

    span: Span
    versions: list[Span]
    next_before_seq: Annotated[int | None, Field(description="`before_seq` of the next page")]


class Quota(BaseModel):
    """A daily limit of the caller's tenant."""

    limit: int
    used: int
    resets_at: Instant


class Quotas(BaseModel):
    """The daily limits."""

    executions: Quota
    appends: Quota


class Metrics(Answer):
    """The caller's own figures; counts are of the last 24 hours, of what the caller may see."""

    quota: Quotas
    executions: Annotated[dict[str, int], Field(description="By status")]
    spans: Annotated[dict[str, int], Field(description="By type")]
    complete: Annotated[bool, Field(description="False: there were more than are counted")]


class Manifest(Answer):
    """What the caller's app may boot, and the limits that hold."""

    manifest_id: UUID
    seq: int
    proof: Proof
    kernels: Annotated[dict[str, UUID], Field(description="Name and id")]
    throttle: Throttle


class Healthy(Answer):
    """The loader answers, and its ledger."""

    status: Literal["ok"]


class Document(BaseModel):
    """An OpenAPI 3.1 document."""

    model_config = ConfigDict(extra="allow")

    openapi: str
    info: JsonObject
    paths: JsonObject
    components: JsonObject


class ProblemError(BaseModel):
    """The error as a direct invocation has it, with fields of its own."""

    model_config = ConfigDict(extra="allow")

    code: str
    message: str


class Problem(BaseModel):
    """RFC 9457, with the same `ok`, `error` and `trace_id` as a direct invocation's answer."""

    type: str
    title: str
    status: Annotated[StrictInt, Field(ge=400, le=599)]
    detail: str
    instance: str
    ok: Literal[False]
    error: ProblemError
    trace_id: str
