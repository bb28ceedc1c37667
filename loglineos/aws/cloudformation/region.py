"""CloudFormation in one region: its stacks, and the operations that run on them."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from ..addresses import ACCOUNT
from ..api import Api
from ..resources.base import Model, Place
from . import parameters
from .changes import nothing, planned
from .custom import CustomResource, Mailbox
from .engine import Engine
from .errors import ChangeSetNotFound, ResourceFailed, ValidationError
from .intrinsics import Scope
from .stack import ChangeSet, Output, Stack, Wanted, now

log = logging.getLogger(__name__)

_SETTLED = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "REVIEW_IN_PROGRESS")

# An operation that is done by then is over when its request is answered: the CDK looks only every five seconds.
_SOON = 8.0


class Region:
    """All stacks of one region. Requests come from many threads; an operation is a thread of its own."""

    def __init__(self, api: Api, models: Mapping[str, Model], mailbox: Mailbox) -> None:
        self.api = api
        self.stacks: list[Stack] = []
        self._models, self._custom = models, CustomResource(mailbox)
        self._lock = threading.Lock()

    # -- what exists

    def find(self, name: str) -> Stack:
        """A stack by its name, or by its id, which finds it even after its deletion."""
        for stack in reversed(self.stacks):
            if name == stack.id or (name == stack.name and stack.deleted is None):
                return stack
        raise ValidationError(f"Stack with id {name} does not exist")

    def living(self) -> Iterator[Stack]:
        return (stack for stack in list(self.stacks) if stack.deleted is None)

    def exports(self) -> dict[str, tuple[Stack, Output]]:
        return {
            output.export: (stack, output)
            for stack in self.living()
            for output in list(stack.outputs.values())
            if output.export
        }

    def importers(self, export: str) -> list[Stack]:
        return [stack for stack in self.living() if export in stack.imports]

    def change_set(self, name: str, stack_name: str | None) -> ChangeSet:
        for stack in reversed(self.stacks):
            if stack_name is None or stack_name in (stack.name, stack.id):
                for found in reversed(stack.change_sets):
                    if name in (found.id, found.name):
                        return found
        raise ChangeSetNotFound(f"ChangeSet [{name}] does not exist")

    # -- operations

    def create_change_set(self, stack_name: str, name: str, kind: str, wanted: Wanted) -> ChangeSet:
        with self._lock:
            stack = self._subject(stack_name, kind)
            changes = planned(stack, wanted, self._models)
            found = ChangeSet(self._arn("changeSet", name), name, stack.id, stack.name, kind, wanted, changes)
            if nothing(stack, wanted, changes):
                found.status, found.execution = "FAILED", "UNAVAILABLE"
                found.reason = (
                    "The submitted information didn't contain changes. "
                    "Submit different information to create a change set."
                )
            stack.change_sets.append(found)
            return found

    def _subject(self, name: str, kind: str) -> Stack:
        """The stack that a change set is for: a new one, empty and under review, for a CREATE."""
        try:
            stack = self.find(name)
        except ValidationError:
            if kind != "CREATE":
                raise ValidationError(f"Stack [{name}] does not exist") from None
            stack = Stack(self._arn("stack", name), name)
            stack.record("REVIEW_IN_PROGRESS", "User Initiated")
            self.stacks.append(stack)
        if kind == "CREATE" and stack.status != "REVIEW_IN_PROGRESS":
            raise ValidationError(f"Stack [{name}] already exists and cannot be created again")
        if stack.status not in _SETTLED:
            raise ValidationError(f"Stack:{stack.id} is in {stack.status} state and can not be updated.")
        return stack

    def execute(self, change_set: ChangeSet, token: str | None) -> None:
        stack = self.find(change_set.stack_id)
        with self._lock:
            if change_set.execution != "AVAILABLE" or stack.status not in _SETTLED:
                raise ValidationError(f"ChangeSet [{change_set.id}] cannot be executed in its current state")
            verb = "CREATE" if stack.status == "REVIEW_IN_PROGRESS" else "UPDATE"
            change_set.execution = "EXECUTE_COMPLETE"
            stack.change_sets.remove(change_set)
            stack.begin(f"{verb}_IN_PROGRESS", token)
        self._start(self._bring, stack, change_set.wanted, verb)

    def delete(self, name: str, token: str | None) -> None:
        try:
            stack = self.find(name)
        except ValidationError:
            return  # as AWS: nothing to delete is no error
        with self._lock:
            if stack.deleted is not None:
                return
            for export in [output.export for output in stack.outputs.values() if output.export]:
                if users := self.importers(export):
                    raise ValidationError(f"Export {export} cannot be deleted as it is in use by {users[0].name}")
            if stack.protected:
                raise ValidationError(f"Stack [{stack.name}] cannot be deleted while TerminationProtection is enabled")
            if stack.status.endswith("_IN_PROGRESS") and stack.status != "REVIEW_IN_PROGRESS":
                raise ValidationError(f"Stack [{stack.name}] cannot be deleted while in {stack.status}")
            stack.begin("DELETE_IN_PROGRESS", token)
        self._start(self._remove, stack)

    # -- what runs in the background

    def _start(self, work: Any, stack: Stack, *arguments: Any) -> None:
        def run() -> None:
            try:
                work(stack, *arguments)
            except Exception as error:  # a stack that stays IN_PROGRESS would hang its operator
                log.exception("%s", stack.name)
                stack.record(stack.status.replace("_IN_PROGRESS", "_FAILED"), f"Internal failure: {error}")

        thread = threading.Thread(target=run, name=f"stack-{stack.name}", daemon=True)
        thread.start()
        thread.join(_SOON)

    def _bring(self, stack: Stack, wanted: Wanted, verb: str) -> None:
        engine = None
        try:
            engine = self._engine(stack, wanted)
            parameters.check_rules(engine.scope)
            engine.apply()
            outputs = engine.outputs()
            self._check_exports(stack, outputs)
        except (ResourceFailed, ValidationError) as error:
            self._roll_back(stack, engine, verb, error.message if isinstance(error, ValidationError) else str(error))
            return
        stack.outputs, stack.wanted = outputs, wanted
        if verb == "UPDATE":
            stack.record("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS")
        engine.clean_up()
        stack.record(f"{verb}_COMPLETE")

    def _roll_back(self, stack: Stack, engine: Engine | None, verb: str, reason: str) -> None:
        prefix = "ROLLBACK" if verb == "CREATE" else "UPDATE_ROLLBACK"
        tail = " Rollback requested by user." if verb == "CREATE" else ""
        stack.record(f"{prefix}_IN_PROGRESS", reason.strip() + tail)
        try:
            if engine is not None:
                engine.roll_back()
                if verb == "UPDATE":
                    stack.record("UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS")
                engine.clean_up()
        except ResourceFailed as error:
            stack.record(f"{prefix}_FAILED", str(error).strip())
            return
        stack.record(f"{prefix}_COMPLETE", reason.strip() if verb == "CREATE" else None)

    def _remove(self, stack: Stack) -> None:
        try:
            if stack.resources:
                self._engine(stack, stack.wanted or _EMPTY).delete_all()
        except ResourceFailed as error:
            stack.record("DELETE_FAILED", str(error))
            return
        stack.record("DELETE_COMPLETE")
        stack.outputs, stack.imports, stack.deleted = {}, set(), now()

    def _check_exports(self, stack: Stack, outputs: dict[str, Output]) -> None:
        wanted = {output.export: output.value for output in outputs.values() if output.export}
        for name, (owner, output) in self.exports().items():
            if owner is not stack and name in wanted:
                raise ValidationError(f"Export with name {name} is already exported by stack {owner.name}")
            users = [user.name for user in self.importers(name)] if owner is stack else []
            if users and wanted.get(name) != output.value:
                verb = "update" if name in wanted else "delete"
                raise ValidationError(f"Cannot {verb} export {name} as it is in use by {', '.join(users)}")

    # -- pieces

    def _engine(self, stack: Stack, wanted: Wanted) -> Engine:
        scope = Scope(
            pseudo={
                "AWS::Region": self.api.region,
                "AWS::AccountId": ACCOUNT,
                "AWS::Partition": "aws",
                "AWS::URLSuffix": "amazonaws.com",
                "AWS::StackName": stack.name,
                "AWS::StackId": stack.id,
                "AWS::NotificationARNs": [],
            },
            parameters=parameters.resolved(self.api, wanted.template, wanted.given),
            template=wanted.template,
            import_value=self._import,
            zones=self._zones,
        )
        place = Place(self.api, self.api.region, ACCOUNT, stack.name, stack.id, "", "")
        return Engine(stack, scope, place, self._models, self._custom)

    def _import(self, name: str) -> str:
        exports = self.exports()
        if name not in exports:
            raise ValidationError(f"No export named {name} found.")
        return exports[name][1].value

    def _zones(self, region: str) -> list[str]:
        found = self.api("ec2", "describe_availability_zones")["AvailabilityZones"]
        return [zone["ZoneName"] for zone in found if zone["RegionName"] == region]

    def _arn(self, kind: str, name: str) -> str:
        return f"arn:aws:cloudformation:{self.api.region}:{ACCOUNT}:{kind}/{name}/{uuid.uuid4()}"


_EMPTY = Wanted("", {"Resources": {}}, {})
