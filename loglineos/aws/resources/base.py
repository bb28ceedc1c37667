"""What a resource model is: how one CloudFormation type is created, updated and deleted."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..api import Api

Properties = dict[str, Any]


@dataclass(frozen=True)
class Made:
    """A resource that exists: what Ref and GetAtt answer for it."""

    physical_id: str
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where a resource stands: the API to reach it by, and its place in its stack."""

    api: Api
    region: str
    account: str
    stack_name: str
    stack_id: str
    logical_id: str
    type: str

    def name(self, limit: int = 64, *, lower: bool = False) -> str:
        """A physical name as CloudFormation makes them up: stack, logical name, something random."""
        tail = f"-{uuid.uuid4().hex[:12].upper()}"
        name = f"{self.stack_name}-{self.logical_id}"[: limit - len(tail)].rstrip("-") + tail
        return name.lower() if lower else name

    def arn(self, service: str, resource: str) -> str:
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"


class NotModelled(Exception):
    """The emulator would have to guess: a type or a property that nobody has modelled."""


class Model:
    """One resource type. A subclass names every property that it acts on.

    A property that it doesn't name fails the deployment. `unread` names those which it takes without
    any API to read them back from, each with the reason: this list is what the documentation shows.
    """

    properties: ClassVar[frozenset[str]] = frozenset()
    immutable: ClassVar[frozenset[str]] = frozenset()  # a change makes a new resource
    unread: ClassVar[dict[str, str]] = {}

    def check(self, kind: str, properties: Properties) -> None:
        unknown = properties.keys() - self.properties - self.unread.keys()
        if unknown:
            names = ", ".join(sorted(unknown))
            raise NotModelled(f"The emulator does not model these properties of {kind}: {names}")

    def create(self, place: Place, properties: Properties) -> Made:
        raise NotImplementedError

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        """Bring it to `properties`. By default a new one; the engine deletes the old one afterwards."""
        return self.create(place, properties)

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        raise NotImplementedError

    def retire(self, place: Place, made: Made, properties: Properties) -> None:
        """DeletionPolicy Snapshot: a type with snapshots takes one; the others are deleted."""
        self.delete(place, made, properties)

    def replaces(self, changed: set[str]) -> bool:
        """Whether a change of these properties makes a new resource."""
        return bool(changed & self.immutable) or type(self).update is Model.update


MODELS: dict[str, Model] = {}


def model(*types: str) -> Callable[[type[Model]], type[Model]]:
    """Make a class the model of these CloudFormation types."""

    def register(cls: type[Model]) -> type[Model]:
        MODELS.update((kind, cls()) for kind in types)
        return cls

    return register


def names(text: str) -> frozenset[str]:
    return frozenset(text.split())
