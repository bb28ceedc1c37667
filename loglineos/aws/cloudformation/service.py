"""The CloudFormation API, as the CDK's and AWS's command lines speak it."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

from moto.core.responses import ActionResult, BaseResponse, EmptyResult

from ..api import Api
from ..resources.base import Model
from . import parameters
from .custom import Mailbox
from .errors import ValidationError
from .region import Region
from .stack import ChangeSet, Event, Resource, Stack, Wanted
from .template import parse

_PAGE = 100  # events in one answer, as on AWS


class Regions:
    """CloudFormation in every region that somebody asks for."""

    def __init__(self, url: str, models: Mapping[str, Model], mailbox: Mailbox) -> None:
        self._url, self._models, self._mailbox = url, models, mailbox
        self._regions: dict[str, Region] = {}
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> Region:
        with self._lock:
            if name not in self._regions:
                self._regions[name] = Region(Api(self._url, name), self._models, self._mailbox)
            return self._regions[name]


class CloudFormation(BaseResponse):
    """One request."""

    regions: ClassVar[Regions]

    def __init__(self) -> None:
        super().__init__(service_name="cloudformation")
        self.automated_parameter_parsing = True

    @property
    def _here(self) -> Region:
        return self.regions[self.region]

    def _stack(self) -> Stack:
        return self._here.find(self._get_param("StackName"))

    def _text(self) -> str:
        body, url = self._get_param("TemplateBody"), self._get_param("TemplateURL")
        if url:
            return fetch(self._here.api, url)
        if not body:
            raise ValidationError("Either Template URL or Template Body must be specified.")
        return str(body)

    # -- change sets

    def create_change_set(self) -> ActionResult:
        name, here = self._get_param("StackName"), self._here
        before = next((stack.wanted for stack in here.living() if name in (stack.name, stack.id)), None)
        keep = self._get_param("UsePreviousTemplate", False) and before
        text = before.text if keep and before else self._text()
        template = parse(text)
        wanted = Wanted(
            text,
            template,
            parameters.given(template, self._get_param("Parameters", []), before.given if before else {}),
            {tag["Key"]: tag["Value"] for tag in self._get_param("Tags", [])},
            self._get_param("RoleARN"),
        )
        kind = self._get_param("ChangeSetType", "UPDATE")
        found = here.create_change_set(name, self._get_param("ChangeSetName"), kind, wanted)
        found.description = self._get_param("Description")
        return ActionResult({"Id": found.id, "StackId": found.stack_id})

    def _change_set(self) -> ChangeSet:
        return self._here.change_set(self._get_param("ChangeSetName"), self._get_param("StackName"))

    def describe_change_set(self) -> ActionResult:
        return ActionResult(_describe_change_set(self._change_set()))

    def list_change_sets(self) -> ActionResult:
        found = [_describe_change_set(item) for item in self._stack().change_sets]
        return ActionResult({"Summaries": found})

    def execute_change_set(self) -> ActionResult:
        self._here.execute(self._change_set(), self._get_param("ClientRequestToken"))
        return EmptyResult()

    def delete_change_set(self) -> ActionResult:
        try:
            found = self._change_set()
        except ValidationError:
            return EmptyResult()
        except Exception as error:  # gone already, which is what was asked for
            if getattr(error, "code", "") != "ChangeSetNotFound":
                raise
            return EmptyResult()
        self._here.find(found.stack_id).change_sets.remove(found)
        return EmptyResult()

    # -- stacks

    def describe_stacks(self) -> ActionResult:
        stacks = [self._stack()] if self._get_param("StackName") else list(self._here.living())
        return ActionResult({"Stacks": [_describe(stack) for stack in stacks]})

    def list_stacks(self) -> ActionResult:
        wanted = self._get_param("StackStatusFilter", [])
        stacks = [stack for stack in self._here.stacks if not wanted or stack.status in wanted]
        return ActionResult({"StackSummaries": [_describe(stack) for stack in stacks]})

    def delete_stack(self) -> ActionResult:
        self._here.delete(self._get_param("StackName"), self._get_param("ClientRequestToken"))
        return EmptyResult()

    def update_termination_protection(self) -> ActionResult:
        stack = self._stack()
        stack.protected = bool(self._get_bool_param("EnableTerminationProtection"))
        return ActionResult({"StackId": stack.id})

    def get_template(self) -> ActionResult:
        stack = self._stack()
        name = self._get_param("ChangeSetName")
        wanted = self._here.change_set(name, stack.name).wanted if name else stack.wanted
        if wanted is None:
            return ActionResult({"TemplateBody": "{}", "StagesAvailable": ["Original"]})
        return ActionResult({"TemplateBody": wanted.text, "StagesAvailable": ["Original", "Processed"]})

    def get_template_summary(self) -> ActionResult:
        stack = self._stack() if self._get_param("StackName") else None
        template = stack.wanted.template if stack and stack.wanted else parse(self._text())
        declared = template.get("Parameters", {})
        return ActionResult(
            {
                "Description": template.get("Description"),
                "Metadata": json.dumps(template.get("Metadata", {})),
                "ResourceTypes": sorted({item["Type"] for item in template["Resources"].values()}),
                "Parameters": [
                    {
                        "ParameterKey": key,
                        "ParameterType": item.get("Type"),
                        "DefaultValue": item.get("Default"),
                    }
                    for key, item in declared.items()
                ],
            }
        )

    def validate_template(self) -> ActionResult:
        return ActionResult({"Description": parse(self._text()).get("Description")})

    # -- what is in them, and what happened

    def describe_stack_resources(self) -> ActionResult:
        stack, name = self._stack(), self._get_param("LogicalResourceId")
        found = [item for item in list(stack.resources.values()) if name in (None, item.logical_id)]
        return ActionResult({"StackResources": [_describe_resource(stack, item) for item in found]})

    def describe_stack_resource(self) -> ActionResult:
        stack, name = self._stack(), self._get_param("LogicalResourceId")
        if name not in stack.resources:
            raise ValidationError(f"Resource {name} does not exist for stack {stack.name}")
        return ActionResult({"StackResourceDetail": _describe_resource(stack, stack.resources[name])})

    def list_stack_resources(self) -> ActionResult:
        stack = self._stack()
        found = [_describe_resource(stack, item) for item in list(stack.resources.values())]
        return ActionResult({"StackResourceSummaries": found})

    def describe_stack_events(self) -> ActionResult:
        newest_first = self._stack().events[::-1]
        start = int(self._get_param("NextToken") or 0)
        more = str(start + _PAGE) if len(newest_first) > start + _PAGE else None
        events = [_describe_event(event) for event in newest_first[start : start + _PAGE]]
        return ActionResult({"StackEvents": events, "NextToken": more})

    def list_exports(self) -> ActionResult:
        return ActionResult(
            {
                "Exports": [
                    {"ExportingStackId": stack.id, "Name": name, "Value": output.value}
                    for name, (stack, output) in self._here.exports().items()
                ]
            }
        )

    def list_imports(self) -> ActionResult:
        name = self._get_param("ExportName")
        users = [stack.name for stack in self._here.importers(name)]
        if not users:
            raise ValidationError(f"Export '{name}' is not imported by any stack.")
        return ActionResult({"Imports": users})


def service(regions: Regions) -> type[BaseResponse]:
    """The request handler that moto's server dispatches CloudFormation's requests to."""
    return type("CloudFormationService", (CloudFormation,), {"regions": regions})


def fetch(api: Api, url: str) -> str:
    """A template that was put into a bucket, by either style of S3's addresses."""
    parts = urlsplit(url)
    host, path = parts.hostname or "", unquote(parts.path.lstrip("/"))
    owner, s3, _ = host.partition(".s3.")
    bucket, key = (owner, path) if s3 else path.split("/", 1)
    return str(api("s3", "get_object", Bucket=bucket, Key=key)["Body"].read().decode())


def _describe(stack: Stack) -> dict[str, Any]:
    wanted = stack.wanted
    return {
        "StackId": stack.id,
        "StackName": stack.name,
        "StackStatus": stack.status,
        "StackStatusReason": stack.reason,
        "Description": wanted.template.get("Description") if wanted else None,
        "TemplateDescription": wanted.template.get("Description") if wanted else None,
        "Parameters": _parameters(wanted),
        "Tags": [{"Key": key, "Value": value} for key, value in wanted.tags.items()] if wanted else [],
        "RoleARN": wanted.role if wanted else None,
        "Outputs": [
            {
                "OutputKey": key,
                "OutputValue": output.value,
                "Description": output.description,
                "ExportName": output.export,
            }
            for key, output in stack.outputs.items()
        ],
        "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
        "NotificationARNs": [],
        "DisableRollback": False,
        "EnableTerminationProtection": stack.protected,
        "CreationTime": stack.created,
        "LastUpdatedTime": stack.updated,
        "DeletionTime": stack.deleted,
    }


def _parameters(wanted: Wanted | None) -> list[dict[str, str]]:
    if wanted is None:
        return []
    declared = wanted.template.get("Parameters", {})
    return [
        {"ParameterKey": key, "ParameterValue": "****" if declared[key].get("NoEcho") else value}
        for key, value in wanted.given.items()
    ]


def _describe_change_set(found: ChangeSet) -> dict[str, Any]:
    return {
        "ChangeSetId": found.id,
        "ChangeSetName": found.name,
        "StackId": found.stack_id,
        "StackName": found.stack_name,
        "Description": found.description,
        "Status": found.status,
        "StatusReason": found.reason,
        "ExecutionStatus": found.execution,
        "CreationTime": found.created,
        "Parameters": _parameters(found.wanted),
        "Tags": [{"Key": key, "Value": value} for key, value in found.wanted.tags.items()],
        "Changes": found.changes,
    }


def _describe_resource(stack: Stack, item: Resource) -> dict[str, Any]:
    return {
        "StackId": stack.id,
        "StackName": stack.name,
        "LogicalResourceId": item.logical_id,
        "PhysicalResourceId": item.physical_id,
        "ResourceType": item.type,
        "ResourceStatus": item.status,
        "ResourceStatusReason": item.reason,
        "Metadata": json.dumps(item.definition.get("Metadata", {})),
        "Timestamp": item.updated,
        "LastUpdatedTimestamp": item.updated,
    }


def _describe_event(event: Event) -> dict[str, Any]:
    return {
        "EventId": event.id,
        "StackId": event.stack_id,
        "StackName": event.stack_name,
        "LogicalResourceId": event.logical_id,
        "PhysicalResourceId": event.physical_id,
        "ResourceType": event.type,
        "ResourceStatus": event.status,
        "ResourceStatusReason": event.reason,
        "ClientRequestToken": event.token,
        "OperationId": event.operation,
        "Timestamp": event.at,
    }
