"""EventBridge rules and schedules. Stored and readable; `fire` of `loglineos.aws.schedules` runs a rule's targets."""

from __future__ import annotations

import json
from typing import Any

from ..api import pick, tags, without
from .base import Made, Model, Place, Properties, model, names


@model("AWS::Events::Rule")
class Rule(Model):
    properties = names("Name Description EventBusName EventPattern ScheduleExpression State RoleArn Targets Tags")
    immutable = names("Name EventBusName")

    def create(self, place: Place, properties: Properties) -> Made:
        name = properties.get("Name") or place.name()
        made = Made(name, {"Arn": place.arn("events", f"rule/{name}")})
        return self.update(place, made, properties, {})

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        name = made.physical_id
        asked = without(properties, "Name", "Targets", "EventPattern", "Tags")
        pattern = properties.get("EventPattern")
        labels = [{"Key": key, "Value": value} for key, value in tags(properties).items()]
        place.api(
            "events",
            "put_rule",
            Name=name,
            EventPattern=json.dumps(pattern) if pattern else None,
            Tags=labels or None,
            **asked,
        )
        wanted = {target["Id"] for target in properties.get("Targets", [])}
        gone = [target["Id"] for target in old.get("Targets", []) if target["Id"] not in wanted]
        if gone:
            place.api("events", "remove_targets", Rule=name, Ids=gone)
        if wanted:
            place.api("events", "put_targets", Rule=name, Targets=properties["Targets"])
        return made

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        targets = [target["Id"] for target in properties.get("Targets", [])]
        if targets:
            place.api("events", "remove_targets", Rule=made.physical_id, Ids=targets)
        place.api("events", "delete_rule", Name=made.physical_id)


@model("AWS::Scheduler::ScheduleGroup")
class ScheduleGroup(Model):
    properties = names("Name Tags")
    immutable = names("Name")

    def create(self, place: Place, properties: Properties) -> Made:
        name = properties.get("Name") or place.name()
        arn = place.api("scheduler", "create_schedule_group", Name=name)["ScheduleGroupArn"]
        made = Made(name, {"Arn": arn})
        return self.update(place, made, properties, {})

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        if properties.get("Tags"):
            arn = made.attributes["Arn"]
            place.api("scheduler", "tag_resource", ResourceArn=arn, Tags=properties["Tags"])
        return made

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("scheduler", "delete_schedule_group", Name=made.physical_id)


@model("AWS::Scheduler::Schedule")
class Schedule(Model):
    properties = names(
        "Name GroupName Description ScheduleExpression ScheduleExpressionTimezone State FlexibleTimeWindow Target"
        " StartDate EndDate KmsKeyArn"
    )
    immutable = names("Name GroupName")

    def create(self, place: Place, properties: Properties) -> Made:
        name = properties.get("Name") or place.name()
        asked = {**properties, "Name": name}
        arn = place.api("scheduler", "create_schedule", **asked)["ScheduleArn"]
        return Made(name, {"Arn": arn})

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        asked: dict[str, Any] = {**properties, "Name": made.physical_id}
        place.api("scheduler", "update_schedule", **asked)
        return made

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        group = pick(properties, "GroupName")
        place.api("scheduler", "delete_schedule", Name=made.physical_id, **group)
