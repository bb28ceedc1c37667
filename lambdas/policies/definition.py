"""A policy: a span whose code has `on(span)`, and whose metadata says which spans it watches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError

from ledger.database import Identity
from ledger.errors import InvalidInput
from ledger.span import Name, Span, first_problem

AGENT: Final = "edge:policy_agent"
SYSTEM: Final = Identity("system", "system")


class Definition(BaseModel):
    """What a policy's metadata says; other keys are its author's.

    `on_demand`: evaluated when it is named, not in turn. `facts`: the span comes with the manifest's limits and the
    tenant's executions of the day. `since`: a new policy begins with the ledger, not after itself.
    """

    model_config = ConfigDict(frozen=True)

    watches: Annotated[list[Name], Field(min_length=1, max_length=20)]
    on_demand: StrictBool = False
    facts: StrictBool = False
    since: Literal["beginning"] | None = None


@dataclass(frozen=True)
class Policy:
    """A policy that may be believed. Without a `definition` it cannot be evaluated; `problem` says why."""

    span: Span
    definition: Definition | None
    problem: str = ""

    @property
    def name(self) -> str:
        """What to call it: short, since every span that comes of it says so."""
        return (self.span.name or str(self.span.id))[:200]

    @property
    def system(self) -> bool:
        """Is it the system's? Then it watches every tenant, and acts as the owner of what it sees."""
        return Identity(self.span.owner_id, self.span.tenant_id) == SYSTEM

    @property
    def keeper(self) -> Identity:
        """Whose its cursor is: its owner, who is also the one that a tenant's policy reads and acts as."""
        return Identity(AGENT, "system") if self.system else Identity(self.span.owner_id, self.span.tenant_id)

    def acts_as(self, span: Span) -> Identity:
        """Whose the effects are that a span has."""
        return Identity(span.owner_id, span.tenant_id) if self.system else self.keeper


def parse_policy(span: Span) -> Policy:
    """The policy that a span is."""
    if span.language != "python" or not span.code:
        return Policy(span, None, "language: expected 'python', with code that has on(span)")
    try:
        return Policy(span, check_definition(span.metadata or {}, "metadata"))
    except InvalidInput as error:
        return Policy(span, None, error.message)


def check_definition(metadata: Mapping[str, Any], path: str) -> Definition:
    """What a policy's metadata says. Raises InvalidInput, naming the field."""
    try:
        return Definition.model_validate(metadata)
    except ValidationError as error:
        raise first_problem(error, path) from None
