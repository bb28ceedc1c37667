"""EC2's security groups and their rules. Stored and readable; no packet is ever dropped here."""

from __future__ import annotations

from typing import Any

from ..api import Api, pick
from .base import Made, Model, Place, Properties, model, names
from .network import Tagged
from .usage import refuse_if_used, uses_security_group


@model("AWS::EC2::SecurityGroup")
class SecurityGroup(Tagged):
    properties = names("GroupName GroupDescription VpcId SecurityGroupIngress SecurityGroupEgress Tags")
    immutable = names("GroupName GroupDescription VpcId")

    def create(self, place: Place, properties: Properties) -> Made:
        group = place.api(
            "ec2",
            "create_security_group",
            GroupName=properties.get("GroupName") or place.name(),
            Description=properties["GroupDescription"],
            VpcId=properties.get("VpcId"),
        )["GroupId"]
        if "SecurityGroupEgress" in properties:  # the template's rules take the place of "everything"
            place.api("ec2", "revoke_security_group_egress", GroupId=group, IpPermissions=[_EVERYTHING])
        made = Made(group, {"GroupId": group, "VpcId": properties.get("VpcId"), "Id": group})
        return self.update(place, made, properties, {})

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        for way in ("Ingress", "Egress"):
            wanted, before = properties.get(f"SecurityGroup{way}", []), old.get(f"SecurityGroup{way}", [])
            _rules(place.api, "revoke", way, made.physical_id, [rule for rule in before if rule not in wanted])
            _rules(place.api, "authorize", way, made.physical_id, [rule for rule in wanted if rule not in before])
        return super().update(place, made, properties, old)

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        sentence = f"resource {made.physical_id} has a dependent object"
        refuse_if_used(place, uses_security_group(made.physical_id), sentence)
        place.api("ec2", "delete_security_group", GroupId=made.physical_id)


def _rules(api: Api, verb: str, way: str, group: str, rules: list[Properties]) -> None:
    if rules:
        permissions = [permission(rule) for rule in rules]
        api("ec2", f"{verb}_security_group_{way.lower()}", GroupId=group, IpPermissions=permissions)


def permission(rule: Properties) -> dict[str, Any]:
    """A template's rule as EC2's API takes it."""
    found: dict[str, Any] = {"IpProtocol": str(rule["IpProtocol"]), **pick(rule, "FromPort", "ToPort")}
    about = pick(rule, "Description")
    for name, (key, field) in {
        "CidrIp": ("IpRanges", "CidrIp"),
        "CidrIpv6": ("Ipv6Ranges", "CidrIpv6"),
        "SourceSecurityGroupId": ("UserIdGroupPairs", "GroupId"),
        "DestinationSecurityGroupId": ("UserIdGroupPairs", "GroupId"),
        "SourcePrefixListId": ("PrefixListIds", "PrefixListId"),
        "DestinationPrefixListId": ("PrefixListIds", "PrefixListId"),
    }.items():
        if name in rule:
            found[key] = [{field: rule[name], **about}]
    return found


_OF_A_RULE = names("GroupId IpProtocol FromPort ToPort CidrIp CidrIpv6 Description")


class _Rule(Model):
    way = ""

    def create(self, place: Place, properties: Properties) -> Made:
        _rules(place.api, "authorize", self.way, properties["GroupId"], [properties])
        identifier = place.name()
        return Made(identifier, {"Id": identifier})

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        _rules(place.api, "revoke", self.way, properties["GroupId"], [properties])


@model("AWS::EC2::SecurityGroupIngress")
class SecurityGroupIngress(_Rule):
    way = "Ingress"
    properties = _OF_A_RULE | names("SourceSecurityGroupId SourcePrefixListId")


@model("AWS::EC2::SecurityGroupEgress")
class SecurityGroupEgress(_Rule):
    way = "Egress"
    properties = _OF_A_RULE | names("DestinationSecurityGroupId DestinationPrefixListId")

    def create(self, place: Place, properties: Properties) -> Made:
        _close(place.api, properties["GroupId"])
        return super().create(place, properties)


def _close(api: Api, group: str) -> None:
    """As CloudFormation: the rule "everything" that a group is born with goes when it is given one."""
    (found,) = api("ec2", "describe_security_groups", GroupIds=[group])["SecurityGroups"]
    born = {"CidrIp": "0.0.0.0/0"}  # one from a template has a description
    if any(born in rule.get("IpRanges", []) for rule in found["IpPermissionsEgress"] if rule["IpProtocol"] == "-1"):
        api("ec2", "revoke_security_group_egress", GroupId=group, IpPermissions=[_EVERYTHING])


_EVERYTHING = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
