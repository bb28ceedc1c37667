"""What CloudFormation remembers: stacks, their resources, their events, their change sets."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from dataclasses import dataclass, field
from typing import Any

from ..resources.base import Made
from .template import Template


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@dataclass
class Resource:
    """One resource that exists, and what it was made from."""

    logical_id: str
    type: str
    made: Made
    properties: dict[str, Any]  # resolved, but for dynamic references: secrets are not kept here
    definition: dict[str, Any]  # as in the template, for its policies
    needs: set[str] = field(default_factory=set)
    status: str = "CREATE_COMPLETE"
    reason: str | None = None
    updated: dt.datetime = field(default_factory=now)

    @property
    def physical_id(self) -> str:
        return self.made.physical_id

    @property
    def attributes(self) -> dict[str, Any]:
        return self.made.attributes


@dataclass(frozen=True)
class Event:
    """A line of the stack's history: the only place where an operator reads why."""

    stack_id: str
    stack_name: str
    logical_id: str
    physical_id: str
    type: str
    status: str
    reason: str | None
    token: str | None
    operation: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    at: dt.datetime = field(default_factory=now)


@dataclass(frozen=True)
class Output:
    value: str
    description: str | None = None
    export: str | None = None


@dataclass(frozen=True)
class Wanted:
    """A state to bring a stack to: what a change set holds."""

    text: str
    template: Template
    given: dict[str, str]  # parameters as they were passed
    tags: dict[str, str] = field(default_factory=dict)
    role: str | None = None


@dataclass
class ChangeSet:
    id: str
    name: str
    stack_id: str
    stack_name: str
    kind: str
    wanted: Wanted
    changes: list[dict[str, Any]]
    description: str | None = None
    status: str = "CREATE_COMPLETE"
    reason: str | None = None
    execution: str = "AVAILABLE"
    created: dt.datetime = field(default_factory=now)


@dataclass
class Stack:
    id: str
    name: str
    wanted: Wanted | None = None  # what was last applied with success
    status: str = "REVIEW_IN_PROGRESS"
    reason: str | None = None
    resources: dict[str, Resource] = field(default_factory=dict)
    outputs: dict[str, Output] = field(default_factory=dict)
    imports: set[str] = field(default_factory=set)
    events: list[Event] = field(default_factory=list)
    change_sets: list[ChangeSet] = field(default_factory=list)
    protected: bool = False
    created: dt.datetime = field(default_factory=now)
    updated: dt.datetime | None = None
    deleted: dt.datetime | None = None
    operation: str = field(default_factory=lambda: str(uuid.uuid4()))
    token: str | None = None
    busy: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, status: str, token: str | None) -> None:
        """A new operation: its events carry the caller's token."""
        self.operation, self.token, self.updated = str(uuid.uuid4()), token, now()
        self.record(status, "User Initiated")

    def record(self, status: str, reason: str | None = None) -> None:
        """The stack itself changes state."""
        self.status, self.reason = status, reason
        self._event(self.name, self.id, "AWS::CloudFormation::Stack", status, reason)

    def happened(
        self, logical_id: str, kind: str, status: str, physical_id: str = "", reason: str | None = None
    ) -> None:
        """One of its resources changes state."""
        resource = self.resources.get(logical_id)
        if resource is not None and not physical_id:
            physical_id = resource.physical_id
        if resource is not None and resource.physical_id == physical_id:
            resource.status, resource.reason, resource.updated = status, reason, now()
        self._event(logical_id, physical_id, kind, status, reason)

    def _event(self, logical_id: str, physical_id: str, kind: str, status: str, reason: str | None) -> None:
        self.events.append(
            Event(self.id, self.name, logical_id, physical_id, kind, status, reason, self.token, self.operation)
        )
