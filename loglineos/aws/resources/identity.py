"""IAM: roles, policies and identity providers. Stored and readable; nothing here enforces them."""

from __future__ import annotations

import json
from typing import Any

from ..api import pick, tags
from .base import Made, Model, Place, Properties, model, names


def _tags(properties: Properties) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags(properties).items()]


@model("AWS::IAM::Role")
class Role(Model):
    properties = names(
        "RoleName AssumeRolePolicyDocument Description ManagedPolicyArns MaxSessionDuration Path"
        " PermissionsBoundary Policies Tags"
    )
    immutable = names("RoleName Path")

    def create(self, place: Place, properties: Properties) -> Made:
        asked = pick(properties, "Description", "MaxSessionDuration", "Path", "PermissionsBoundary")
        role = place.api(
            "iam",
            "create_role",
            RoleName=properties.get("RoleName") or place.name(),
            AssumeRolePolicyDocument=json.dumps(properties["AssumeRolePolicyDocument"]),
            Tags=_tags(properties) or None,
            **asked,
        )["Role"]
        made = Made(role["RoleName"], {"Arn": role["Arn"], "RoleId": role["RoleId"]})
        self._grant(place, made, properties, {})
        return made

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        role, api = made.physical_id, place.api
        document = json.dumps(properties["AssumeRolePolicyDocument"])
        api("iam", "update_assume_role_policy", RoleName=role, PolicyDocument=document)
        asked = pick(properties, "MaxSessionDuration")
        api("iam", "update_role", RoleName=role, Description=properties.get("Description", ""), **asked)
        gone = [key for key in tags(old) if key not in tags(properties)]
        if gone:
            api("iam", "untag_role", RoleName=role, TagKeys=gone)
        if _tags(properties):
            api("iam", "tag_role", RoleName=role, Tags=_tags(properties))
        self._grant(place, made, properties, old)
        return made

    def _grant(self, place: Place, made: Made, properties: Properties, old: Properties) -> None:
        role, api = made.physical_id, place.api
        wanted, before = properties.get("ManagedPolicyArns", []), old.get("ManagedPolicyArns", [])
        for arn in before:
            if arn not in wanted:
                api("iam", "detach_role_policy", RoleName=role, PolicyArn=arn)
        for arn in wanted:
            if arn not in before:
                api("iam", "attach_role_policy", RoleName=role, PolicyArn=arn)
        inline = {policy["PolicyName"]: policy["PolicyDocument"] for policy in properties.get("Policies", [])}
        for policy in old.get("Policies", []):
            if policy["PolicyName"] not in inline:
                api("iam", "delete_role_policy", RoleName=role, PolicyName=policy["PolicyName"])
        for name, document in inline.items():
            api("iam", "put_role_policy", RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        self._grant(place, made, {}, properties)
        place.api("iam", "delete_role", RoleName=made.physical_id)


@model("AWS::IAM::Policy")
class InlinePolicy(Model):
    properties = names("PolicyName PolicyDocument Roles")
    immutable = names("PolicyName")

    def create(self, place: Place, properties: Properties) -> Made:
        return self.update(place, Made(properties["PolicyName"], {"Id": place.name()}), properties, {})

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        document, name = json.dumps(properties["PolicyDocument"]), properties["PolicyName"]
        roles = properties.get("Roles", [])
        self._revoke(place, name, [role for role in old.get("Roles", []) if role not in roles])
        for role in roles:
            place.api("iam", "put_role_policy", RoleName=role, PolicyName=name, PolicyDocument=document)
        return made

    def _revoke(self, place: Place, name: str, roles: list[str]) -> None:
        for role in roles:
            place.api("iam", "delete_role_policy", RoleName=role, PolicyName=name)

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        self._revoke(place, properties["PolicyName"], properties.get("Roles", []))


@model("AWS::IAM::ManagedPolicy")
class ManagedPolicy(Model):
    properties = names("ManagedPolicyName PolicyDocument Description Path Roles Users Groups")
    immutable = names("ManagedPolicyName Path Description")

    def create(self, place: Place, properties: Properties) -> Made:
        arn = place.api(
            "iam",
            "create_policy",
            PolicyName=properties.get("ManagedPolicyName") or place.name(),
            PolicyDocument=json.dumps(properties["PolicyDocument"]),
            **pick(properties, "Description", "Path"),
        )["Policy"]["Arn"]
        made = Made(arn, {"PolicyArn": arn})
        self._attach(place, made, properties, {})
        return made

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        api, arn = place.api, made.physical_id
        if properties["PolicyDocument"] != old["PolicyDocument"]:
            versions = api("iam", "list_policy_versions", PolicyArn=arn)["Versions"]
            spare = [item["VersionId"] for item in versions if not item["IsDefaultVersion"]]
            if len(versions) >= 5:  # IAM keeps five
                api("iam", "delete_policy_version", PolicyArn=arn, VersionId=spare[-1])
            document = json.dumps(properties["PolicyDocument"])
            api("iam", "create_policy_version", PolicyArn=arn, PolicyDocument=document, SetAsDefault=True)
        self._attach(place, made, properties, old)
        return made

    def _attach(self, place: Place, made: Made, properties: Properties, old: Properties) -> None:
        for kind in ("Role", "User", "Group"):
            wanted, before = properties.get(f"{kind}s", []), old.get(f"{kind}s", [])
            for verb, owners in (
                ("detach", [name for name in before if name not in wanted]),
                ("attach", [name for name in wanted if name not in before]),
            ):
                for owner in owners:
                    target: dict[str, Any] = {f"{kind}Name": owner, "PolicyArn": made.physical_id}
                    place.api("iam", f"{verb}_{kind.lower()}_policy", **target)

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        self._attach(place, made, {}, properties)
        for item in place.api("iam", "list_policy_versions", PolicyArn=made.physical_id)["Versions"]:
            if not item["IsDefaultVersion"]:
                place.api("iam", "delete_policy_version", PolicyArn=made.physical_id, VersionId=item["VersionId"])
        place.api("iam", "delete_policy", PolicyArn=made.physical_id)


@model("AWS::IAM::OIDCProvider")
class OidcProvider(Model):
    properties = names("Url ClientIdList ThumbprintList Tags")
    immutable = names("Url")

    def create(self, place: Place, properties: Properties) -> Made:
        arn = place.api(
            "iam",
            "create_open_id_connect_provider",
            Url=properties["Url"],
            ClientIDList=properties.get("ClientIdList", []),
            ThumbprintList=properties.get("ThumbprintList", []),
            Tags=_tags(properties) or None,
        )["OpenIDConnectProviderArn"]
        return Made(arn, {"Arn": arn})

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("iam", "delete_open_id_connect_provider", OpenIDConnectProviderArn=made.physical_id)
