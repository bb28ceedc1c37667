"""Glue's catalogue and Athena's workgroups over the archive. Stored and readable; no query runs here."""

from __future__ import annotations

from typing import Any

from ..api import pick, tags
from .base import Made, Model, Place, Properties, model, names


@model("AWS::Glue::Database")
class Database(Model):
    properties = names("CatalogId DatabaseInput DatabaseName")
    immutable = names("CatalogId DatabaseName")

    def create(self, place: Place, properties: Properties) -> Made:
        asked = _named(place, properties)
        place.api("glue", "create_database", DatabaseInput=asked)
        return Made(asked["Name"])

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        asked = {**properties["DatabaseInput"], "Name": made.physical_id}
        place.api("glue", "update_database", Name=made.physical_id, DatabaseInput=asked)
        return made

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("glue", "delete_database", Name=made.physical_id)


def _named(place: Place, properties: Properties) -> dict[str, Any]:
    given: dict[str, Any] = properties["DatabaseInput"]
    name = given.get("Name") or properties.get("DatabaseName") or place.name(255, lower=True)
    return {**given, "Name": name}


@model("AWS::Glue::Table")
class Table(Model):
    properties = names("CatalogId DatabaseName TableInput Name")
    immutable = names("CatalogId DatabaseName Name")

    def create(self, place: Place, properties: Properties) -> Made:
        asked = {**properties["TableInput"]}
        asked["Name"] = asked.get("Name") or properties.get("Name") or place.name(255, lower=True)
        place.api("glue", "create_table", DatabaseName=properties["DatabaseName"], TableInput=asked)
        return Made(asked["Name"])

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        asked = {**properties["TableInput"], "Name": made.physical_id}
        place.api("glue", "update_table", DatabaseName=properties["DatabaseName"], TableInput=asked)
        return made

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("glue", "delete_table", DatabaseName=properties["DatabaseName"], Name=made.physical_id)


@model("AWS::Athena::WorkGroup")
class WorkGroup(Model):
    properties = names("Name Description State WorkGroupConfiguration RecursiveDeleteOption Tags")
    immutable = names("Name")

    def create(self, place: Place, properties: Properties) -> Made:
        place.api(
            "athena",
            "create_work_group",
            Configuration=properties.get("WorkGroupConfiguration"),
            Tags=[{"Key": key, "Value": value} for key, value in tags(properties).items()] or None,
            **pick(properties, "Name", "Description"),
        )
        return Made(properties["Name"], {"Name": properties["Name"]})

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        # moto has no UpdateWorkGroup, and a workgroup here holds nothing that would be lost.
        place.api("athena", "delete_work_group", WorkGroup=made.physical_id, RecursiveDeleteOption=True)
        return self.create(place, properties)

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        recursive = properties.get("RecursiveDeleteOption", False)
        place.api("athena", "delete_work_group", WorkGroup=made.physical_id, RecursiveDeleteOption=recursive)


@model("AWS::Athena::NamedQuery")
class NamedQuery(Model):
    properties = names("Name Description Database QueryString WorkGroup")
    immutable = properties

    def create(self, place: Place, properties: Properties) -> Made:
        asked = {
            "Name": place.name(128),
            **pick(properties, "Name", "Description", "Database", "QueryString", "WorkGroup"),
        }
        found = place.api("athena", "create_named_query", **asked)["NamedQueryId"]
        return Made(found, {"NamedQueryId": found})

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("athena", "delete_named_query", NamedQueryId=made.physical_id)
