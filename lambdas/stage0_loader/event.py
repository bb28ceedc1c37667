"""What the loader may be asked (kernels.md, "The loader's event"), and who asks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, ValidationError

from ledger.canonical import check
from ledger.database import Identity
from ledger.errors import InvalidInput
from ledger.ids import new_id
from ledger.read import MAX_PAGE
from ledger.span import JsonObject, SpanId, Word, first_problem

DEFAULT_USER, DEFAULT_TENANT = "edge:stage0", "system"
Name = Annotated[Word, Field(max_length=200)]


class Event(BaseModel):
    """Fields that every action shares. Identity comes from here on direct invocation only: IAM decided who may."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    user_id: Name = DEFAULT_USER
    tenant_id: Name = DEFAULT_TENANT
    trace_id: Name = Field(default_factory=lambda: new_id().hex)

    @property
    def identity(self) -> Identity:
        """Who acts."""
        return Identity(self.user_id, self.tenant_id)


class Boot(Event):
    """Boot a kernel. `request_id` makes it idempotent for this user and tenant."""

    action: Literal["boot"]
    boot_function_id: SpanId
    input: JsonObject = {}
    request_id: SpanId | None = None


class Append(Event):
    """Append one span or a list, as the caller."""

    action: Literal["append"]
    span: JsonObject | None = None
    spans: Annotated[list[JsonObject], Field(min_length=1)] | None = None

    @property
    def drafts(self) -> list[dict[str, Any]]:
        """The spans asked for; exactly one of the two fields holds them."""
        if (self.span is None) == (self.spans is None):
            raise InvalidInput("span", "expected either span (one) or spans (a list)")
        return [self.span] if self.span is not None else list(self.spans or [])


class Timeline(Event):
    """A page: newest first from `before`, or in commit order from `after` (`beginning`, or a page's cursor).

    `latest`: newest first, and only the latest version of each span, unless that is a tombstone.
    """

    action: Literal["timeline"]
    limit: Annotated[StrictInt, Field(ge=1, le=MAX_PAGE)] = 50
    entity_type: Name | None = None
    before: Name | None = None
    after: Name | None = None
    latest: StrictBool = False


class Health(Event):
    """Is the ledger reachable, and are the manifest and its kernels in order?"""

    action: Literal["health"]


Request = Boot | Append | Timeline | Health
ACTIONS: dict[str, type[Boot] | type[Append] | type[Timeline] | type[Health]] = {
    "boot": Boot,
    "append": Append,
    "timeline": Timeline,
    "health": Health,
}


def parse_event(event: object) -> Request:
    """A valid request of a direct invocation. Raises InvalidInput that names the field and what was expected."""
    if not isinstance(event, dict):
        raise InvalidInput("event", "expected a JSON object with an action")
    action = event.get("action")
    kind = ACTIONS.get(action) if isinstance(action, str) else None
    if kind is None:
        raise InvalidInput("action", f"expected one of {', '.join(ACTIONS)}; got {action!r:.60}")
    try:
        request = kind.model_validate(event)
    except ValidationError as error:
        raise first_problem(error, "", tuple(kind.model_fields)) from None
    if request.user_id == "system":
        raise InvalidInput("user_id", "expected a user other than system, which is the seeder's name")
    if isinstance(request, Boot):
        check(request.input, "input")
    return request
