"""Bringing a stack to a template: in order, one resource at a time, and back when one fails."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from ..kept.spared import sparing
from ..resources.base import Made, Model, NotModelled, Place
from .dynamic import expand
from .errors import ResourceFailed, ValidationError
from .intrinsics import Scope, text
from .stack import Output, Resource, Stack
from .template import dependencies, imports, order

log = logging.getLogger(__name__)

_RETAINED = ("Retain", "RetainExceptOnCreate")


@dataclass
class Undo:
    """What an operation has done so far."""

    created: list[str] = field(default_factory=list)
    # A resource before its update (tried or done), and what it had by then been asked to become.
    updated: list[tuple[Resource, dict[str, Any]]] = field(default_factory=list)
    # Resources that something newer has taken the place of; deleted once the operation stands.
    replaced: list[Resource] = field(default_factory=list)


def explain(error: Exception) -> str:
    """An exception as a stack event shows it."""
    if isinstance(error, ClientError):
        found = error.response.get("Error", {})
        service = error.operation_name
        return (
            f'Resource handler returned message: "{found.get("Message")}" '
            f"(Operation: {service}, Error Code: {found.get('Code')})"
        )
    return str(error) or type(error).__name__


class Engine:
    """Applies one template to one stack."""

    def __init__(self, stack: Stack, scope: Scope, place: Place, models: Mapping[str, Model], custom: Model) -> None:
        self.stack, self.scope, self._place = stack, scope, place
        self._models, self._custom = models, custom
        self.undo = Undo()
        scope.resources = stack.resources

    def apply(self) -> None:
        """Create and update what the template asks for. Raises ResourceFailed at the first failure."""
        wanted = self.scope.template["Resources"]
        active = {name: item for name, item in wanted.items() if self.scope.active(item)}
        needs = dependencies(active)
        for name in order(needs):
            definition = active[name]
            current = self.stack.resources.get(name)
            if current is not None and current.type != definition["Type"]:
                raise ResourceFailed(f"Update of resource type is not permitted: {name} is a {current.type}")
            try:
                properties = self.scope.resolve(definition.get("Properties", {}))
            except ValidationError as error:
                self.stack.happened(name, definition["Type"], "CREATE_FAILED", reason=error.message)
                raise ResourceFailed(f"[{name}] {error.message}") from error
            if current is None:
                self._create(name, definition, properties, needs[name])
            else:
                self._change(current, definition, properties, needs[name])
        self._set_aside(active.keys())
        self.stack.imports = {text(self.scope.resolve(item)) for item in imports(active)}

    def outputs(self) -> dict[str, Output]:
        found = {}
        for name, output in (self.scope.template.get("Outputs") or {}).items():
            if self.scope.active(output):
                export = output.get("Export")
                found[name] = Output(
                    text(self.scope.resolve(output["Value"])),
                    output.get("Description"),
                    text(self.scope.resolve(export["Name"])) if export else None,
                )
        return found

    def clean_up(self) -> None:
        """Delete what has been replaced or is no longer in the template. The stack stands either way."""
        needs = {item.logical_id: item.needs for item in self.undo.replaced}
        gone = sorted(self.undo.replaced, key=lambda item: _rank(needs, item.logical_id), reverse=True)
        for item in gone:
            key = "DeletionPolicy" if item.logical_id not in self.stack.resources else "UpdateReplacePolicy"
            self._delete(item, item.definition.get(key, _default_policy(item)), forgive=True)

    def roll_back(self) -> None:
        """As if the operation had never been: old properties again, what is new deleted."""
        for before, asked in self.undo.updated:
            self._restore(before, asked)
        for before in self.undo.replaced:  # left the template, not yet deleted: it stays
            self.stack.resources.setdefault(before.logical_id, before)
        self.undo.replaced = [item for item in self.undo.replaced if item not in self.stack.resources.values()]
        created = [name for name in self.undo.created if name in self.stack.resources]
        for name in reversed(created):
            item = self.stack.resources[name]
            keep = item.definition.get("DeletionPolicy") == "Retain"
            with sparing(item.physical_id):
                self._delete(item, "Retain" if keep else "Delete")

    def delete_all(self) -> None:
        """Everything in the stack, last made first. Raises ResourceFailed once the rest is gone."""
        needs = {name: item.needs & self.stack.resources.keys() for name, item in self.stack.resources.items()}
        blocked: set[str] = set()
        failed: list[str] = []
        for name in reversed(order(needs)):
            item = self.stack.resources[name]
            if name in blocked:
                blocked |= item.needs
                continue
            try:
                self._delete(item, item.definition.get("DeletionPolicy", _default_policy(item)))
            except ResourceFailed:
                failed.append(name)
                blocked |= item.needs
        if failed:
            raise ResourceFailed(f"The following resource(s) failed to delete: [{', '.join(failed)}]. ")

    def _create(self, name: str, definition: dict[str, Any], properties: dict[str, Any], needs: set[str]) -> None:
        kind = definition["Type"]
        self.stack.happened(name, kind, "CREATE_IN_PROGRESS")
        try:
            model = self.model(kind)
            model.check(kind, properties)
            made = model.create(self._at(name, kind), expand(self._place.api, properties))
        except Exception as error:  # noqa: BLE001  whatever it was, the stack rolls back and says so
            self._failed(name, kind, "CREATE_FAILED", error, definition, properties, needs)
        self.stack.resources[name] = Resource(name, kind, made, properties, definition, needs)
        self.undo.created.append(name)
        self.stack.happened(name, kind, "CREATE_COMPLETE")

    def _failed(
        self,
        name: str,
        kind: str,
        status: str,
        error: Exception,
        definition: dict[str, Any],
        properties: dict[str, Any],
        needs: set[str],
    ) -> None:
        reason = explain(error)
        log.log(logging.INFO if isinstance(error, ResourceFailed) else logging.WARNING, "%s: %s", name, reason)
        left = error.physical_id if isinstance(error, ResourceFailed) else None
        if left and status == "CREATE_FAILED":  # it may have made something: it is told to delete it
            self.stack.resources[name] = Resource(name, kind, Made(left), properties, definition, needs)
            self.undo.created.append(name)
        self.stack.happened(name, kind, status, left or "", reason)
        raise ResourceFailed(f"The following resource(s) failed to {status[:6].lower()}: [{name}]. ") from error

    def _change(
        self, current: Resource, definition: dict[str, Any], properties: dict[str, Any], needs: set[str]
    ) -> None:
        if properties == current.properties:
            current.definition, current.needs = definition, needs
            return
        before = Resource(**vars(current))
        self.undo.updated.append((before, properties))
        name, kind = current.logical_id, current.type
        self.stack.happened(name, kind, "UPDATE_IN_PROGRESS")
        try:
            made = self._update(current, properties)
        except Exception as error:  # noqa: BLE001  whatever it was, the stack rolls back and says so
            self._failed(name, kind, "UPDATE_FAILED", error, definition, properties, needs)
        self._became(before, Resource(name, kind, made, properties, definition, needs))
        self.stack.happened(name, kind, "UPDATE_COMPLETE")

    def _update(self, current: Resource, properties: dict[str, Any]) -> Made:
        model, place = self.model(current.type), self._at(current.logical_id, current.type)
        model.check(current.type, properties)
        changed = {
            key for key in {*current.properties, *properties} if current.properties.get(key) != properties.get(key)
        }
        new = expand(place.api, properties)
        # What didn't change is the same secret; what did may be gone, and nobody needs it.
        old = {key: value if key in changed else new[key] for key, value in current.properties.items()}
        if model.replaces(changed):
            return model.create(place, new)
        return model.update(place, current.made, new, old)

    def _became(self, before: Resource, after: Resource) -> None:
        self.stack.resources[after.logical_id] = after
        if before.physical_id != after.physical_id:
            self.undo.replaced.append(before)

    def _restore(self, before: Resource, asked: dict[str, Any]) -> None:
        """Undo one update, also one that failed half way."""
        name, kind = before.logical_id, before.type
        now = self.stack.resources[name]
        tried = Resource(name, kind, now.made, asked, before.definition, before.needs)
        if before in self.undo.replaced and kind in self._models:
            # The old one still exists: it only has to be pointed at again.
            self.undo.replaced.remove(before)
            self.undo.replaced.append(tried)
            self.stack.resources[name] = before
            self.stack.happened(name, kind, "UPDATE_COMPLETE")
            return
        self.stack.happened(name, kind, "UPDATE_IN_PROGRESS")
        try:
            made = self._update(tried, before.properties)
        except Exception as error:
            self.stack.happened(name, kind, "UPDATE_FAILED", reason=explain(error))
            raise ResourceFailed(f"The following resource(s) failed to update: [{name}]. ") from error
        self.undo.replaced = [item for item in self.undo.replaced if item.physical_id != made.physical_id]
        self._became(tried, Resource(name, kind, made, before.properties, before.definition, before.needs))
        self.stack.happened(name, kind, "UPDATE_COMPLETE")

    def _set_aside(self, active: Any) -> None:
        for name in [name for name in self.stack.resources if name not in active]:
            self.undo.replaced.append(self.stack.resources.pop(name))

    def _delete(self, item: Resource, policy: str, *, forgive: bool = False) -> None:
        name, kind = item.logical_id, item.type
        listed = self.stack.resources.get(name)
        if policy in _RETAINED:
            self.stack.happened(name, kind, "DELETE_SKIPPED", item.physical_id)
        else:
            self.stack.happened(name, kind, "DELETE_IN_PROGRESS", item.physical_id)
            model, place = self.model(kind), self._at(name, kind)
            try:
                remove = model.retire if policy == "Snapshot" else model.delete
                remove(place, item.made, item.properties)
            except Exception as error:
                self.stack.happened(name, kind, "DELETE_FAILED", item.physical_id, explain(error))
                log.warning("%s: %s", name, explain(error))
                if forgive:
                    return
                raise ResourceFailed(f"The following resource(s) failed to delete: [{name}]. ") from error
            self.stack.happened(name, kind, "DELETE_COMPLETE", item.physical_id)
        if listed is not None and listed.physical_id == item.physical_id:
            del self.stack.resources[name]

    def model(self, kind: str) -> Model:
        if kind.startswith("Custom::") or kind == "AWS::CloudFormation::CustomResource":
            return self._custom
        if kind not in self._models:
            raise NotModelled(f"The emulator does not model the resource type {kind}")
        return self._models[kind]

    def _at(self, name: str, kind: str) -> Place:
        place = self._place
        return Place(place.api, place.region, place.account, place.stack_name, place.stack_id, name, kind)


def _default_policy(item: Resource) -> str:
    """AWS snapshots a DB instance that the template says nothing about."""
    lone = item.type == "AWS::RDS::DBInstance" and "DBClusterIdentifier" not in item.properties
    return "Snapshot" if lone and "SourceDBInstanceIdentifier" not in item.properties else "Delete"


def _rank(needs: Mapping[str, set[str]], name: str, depth: int = 0) -> int:
    """How deep a resource stands on others: what stands on more goes first."""
    return max((_rank(needs, other, depth + 1) for other in needs[name] if other in needs), default=0) + 1
