"""The span: what it consists of, which values are valid, and its canonical bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, ValidationError
from pydantic_core import PydanticCustomError

from . import canonical
from .errors import InvalidInput

MAX_SPAN_BYTES = 1024 * 1024  # canonical bytes


def _text(value: object) -> object:
    if not isinstance(value, str):
        raise PydanticCustomError("text", "text")
    try:
        canonical.check_text(value, "")
    except InvalidInput as error:
        raise PydanticCustomError("text", error.details["expected"]) from error
    return value


def _instant(value: object) -> object:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            value = None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise PydanticCustomError("instant", "an RFC 3339 time with offset, such as 2026-01-31T12:00:00Z")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("instant", "an RFC 3339 time with offset, in the years 1 to 9999 of UTC") from None


def _uuid(value: object) -> object:
    try:
        return value if isinstance(value, UUID) else UUID(value)  # type: ignore[arg-type]
    except (ValueError, AttributeError, TypeError):
        raise PydanticCustomError("uuid", "a UUID") from None


def _object(value: object) -> object:
    if not isinstance(value, dict):
        raise PydanticCustomError("object", "a JSON object")
    return value


Text = Annotated[str, BeforeValidator(_text)]
Word = Annotated[str, BeforeValidator(_text), Field(min_length=1)]
Name = Annotated[str, BeforeValidator(_text), Field(min_length=1, max_length=200)]  # stands in an index
Instant = Annotated[datetime, BeforeValidator(_instant)]
SpanId = Annotated[UUID, BeforeValidator(_uuid)]
JsonObject = Annotated[dict[str, Any], BeforeValidator(_object)]
Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Visibility = Literal["private", "tenant", "public"]
Seq = Annotated[StrictInt, Field(ge=0, le=2**31 - 1)]


class Span(BaseModel):
    """One version of one thing in the ledger (ledger.md, "Span"). Times are UTC, durations milliseconds.

    `curr_hash`, `signature` and `public_key` prove it; `era`, `xid` and `position` are given by the database.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: SpanId
    seq: Seq = 0
    entity_type: Name
    who: Word
    did: Word
    this: Word
    at: Instant
    parent_id: SpanId | None = None
    related_to: list[SpanId] | None = None
    owner_id: Name
    tenant_id: Name | None = None
    visibility: Visibility = "private"
    status: Text | None = None
    is_deleted: StrictBool = False
    name: Text | None = None
    description: Text | None = None
    code: Text | None = None
    language: Text | None = None
    runtime: Text | None = None
    input: Any = None
    output: Any = None
    error: Any = None
    metadata: JsonObject | None = None
    duration_ms: Annotated[StrictInt, Field(ge=0, le=2**31 - 1)] | None = None
    trace_id: Annotated[Text, Field(max_length=200)] | None = None  # every version repeats it
    prev_hash: Hash | None = None
    curr_hash: Hash | None = None
    signature: Annotated[str, Field(pattern="^[0-9a-f]{128}$")] | None = None
    public_key: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    era: int | None = None
    xid: int | None = None
    position: int | None = None

    def columns(self) -> dict[str, Any]:
        """Its values by column, as Python objects."""
        return dict(self.__dict__)

    def with_values(self, **changes: Any) -> Span:
        """A copy with other values, which the caller vouches for (they are not validated again)."""
        return self.model_copy(update=changes)


JSON_COLUMNS = ("input", "output", "error", "metadata")
PROOF_COLUMNS = ("curr_hash", "signature", "public_key")
ASSIGNED_COLUMNS = ("era", "xid", "position")
COLUMNS = tuple(Span.model_fields)
WRITTEN_COLUMNS = tuple(name for name in COLUMNS if name not in ASSIGNED_COLUMNS)
HASHED_COLUMNS = tuple(name for name in WRITTEN_COLUMNS if name not in PROOF_COLUMNS)


def parse_span(values: Mapping[str, Any], path: str = "span") -> Span:
    """A validated span from untrusted values.

    Raises:
        InvalidInput: names the first wrong field and what was expected, unknown columns included.
    """
    try:
        span = Span.model_validate(values)
    except ValidationError as error:
        raise first_problem(error, path, COLUMNS) from None
    for column in JSON_COLUMNS:
        canonical.check(getattr(span, column), f"{path}.{column}")
    return span


def first_problem(error: ValidationError, path: str, known: tuple[str, ...] = ()) -> InvalidInput:
    """Pydantic's first finding as this project's error: the path of the field and what belongs there."""
    problem = error.errors(include_url=False, include_input=False)[0]
    field = ".".join([path, *(str(part) for part in problem["loc"])]) if path else ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        expected = "unknown field" + (f"; the known ones are {', '.join(known)}" if known else "")
    elif problem["type"] == "missing":
        expected = "is required"
    else:
        expected = _expectation(problem["msg"])
    return InvalidInput(field or "input", expected)


_KINDS = {"String": "text", "List": "a list", "Dictionary": "an object", "Input": "a value", "Value": "a value"}


def _expectation(message: str) -> str:
    """`String should have at least 1 character` as `expected text with at least 1 character`."""
    found = re.match(r"(\w+) should (be|have|match) (.*?)( after validation, not \d+)?$", message)
    if found is None:
        return f"expected {message}"
    kind, verb, what = _KINDS.get(found[1], "a value"), found[2], found[3]
    return {"be": f"expected {what}", "have": f"expected {kind} with {what}"}.get(verb, f"expected {kind} of {what}")


def canonical_span(values: Mapping[str, Any]) -> bytes:
    """The bytes that are hashed: RFC 8785 of the hashed columns, nulls left out (ledger.md)."""
    return canonical.canonical_bytes(hashed_values(values))


def hashed_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """The hashed columns that are not null, as the JSON values whose RFC 8785 form is hashed."""
    return {name: _plain(values[name]) for name in HASHED_COLUMNS if values[name] is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return format_instant(value)
    if isinstance(value, list) and value and isinstance(value[0], UUID):
        return [str(item) for item in value]
    return value


def format_instant(at: datetime) -> str:
    """RFC 3339 in UTC with microseconds: `2026-01-31T12:00:00.000000Z`."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
