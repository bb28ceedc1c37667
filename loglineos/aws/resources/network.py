"""EC2's part of a stack: VPC, subnets, routes and what is around them."""

from __future__ import annotations

import json
from typing import Any

from ..api import Api, pick, tags, without
from .base import Made, Model, Place, Properties, model, names
from .usage import refuse_if_used, uses_subnet


class Tagged(Model):
    """An EC2 object of which only the tags can change, unless a model says otherwise."""

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        retag(place.api, made.physical_id, properties, old)
        return made

    def replaces(self, changed: set[str]) -> bool:
        return bool(changed & self.immutable)


def retag(api: Api, identifier: str, properties: Properties, old: Properties | None = None) -> None:
    wanted, before = tags(properties), tags(old or {})
    gone = [{"Key": key} for key in before if key not in wanted]
    if gone:
        api("ec2", "delete_tags", Resources=[identifier], Tags=gone)
    if wanted:
        api(
            "ec2",
            "create_tags",
            Resources=[identifier],
            Tags=[{"Key": k, "Value": v} for k, v in wanted.items()],
        )


@model("AWS::EC2::VPC")
class Vpc(Tagged):
    properties = names("CidrBlock InstanceTenancy EnableDnsHostnames EnableDnsSupport Tags")
    immutable = names("CidrBlock")

    def create(self, place: Place, properties: Properties) -> Made:
        vpc = place.api("ec2", "create_vpc", **pick(properties, "CidrBlock", "InstanceTenancy"))["Vpc"]
        made = Made(
            vpc["VpcId"],
            {
                "VpcId": vpc["VpcId"],
                "CidrBlock": vpc["CidrBlock"],
                "DefaultSecurityGroup": _of_vpc(place.api, "security_groups", vpc["VpcId"], "GroupId"),
                "DefaultNetworkAcl": _of_vpc(place.api, "network_acls", vpc["VpcId"], "NetworkAclId"),
                "CidrBlockAssociations": [item["AssociationId"] for item in vpc["CidrBlockAssociationSet"]],
                "Ipv6CidrBlocks": [],
            },
        )
        return self.update(place, made, properties, {})

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        for name in ("EnableDnsSupport", "EnableDnsHostnames"):
            if name in properties:
                value = {"Value": properties[name]}
                place.api("ec2", "modify_vpc_attribute", VpcId=made.physical_id, **{name: value})
        return super().update(place, made, properties, old)

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("ec2", "delete_vpc", VpcId=made.physical_id)


def _of_vpc(api: Api, what: str, vpc: str, key: str) -> str:
    found = api("ec2", f"describe_{what}", Filters=[{"Name": "vpc-id", "Values": [vpc]}])
    return str(found["SecurityGroups" if what == "security_groups" else "NetworkAcls"][0][key])


@model("AWS::EC2::Subnet")
class Subnet(Tagged):
    properties = names("VpcId CidrBlock AvailabilityZone MapPublicIpOnLaunch Tags")
    immutable = names("VpcId CidrBlock AvailabilityZone")

    def create(self, place: Place, properties: Properties) -> Made:
        asked = pick(properties, "VpcId", "CidrBlock", "AvailabilityZone")
        subnet = place.api("ec2", "create_subnet", **asked)["Subnet"]
        attributes = {
            **pick(subnet, "SubnetId", "VpcId", "CidrBlock", "AvailabilityZone"),
            "Ipv6CidrBlocks": [],
        }
        return self.update(place, Made(subnet["SubnetId"], attributes), properties, {})

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        if "MapPublicIpOnLaunch" in properties:
            value = {"Value": properties["MapPublicIpOnLaunch"]}
            place.api("ec2", "modify_subnet_attribute", SubnetId=made.physical_id, MapPublicIpOnLaunch=value)
        return super().update(place, made, properties, old)

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        sentence = f"The subnet '{made.physical_id}' has dependencies and cannot be deleted."
        refuse_if_used(place, uses_subnet(made.physical_id), sentence)
        place.api("ec2", "delete_subnet", SubnetId=made.physical_id)


@model("AWS::EC2::InternetGateway")
class InternetGateway(Tagged):
    properties = names("Tags")

    def create(self, place: Place, properties: Properties) -> Made:
        made = place.api("ec2", "create_internet_gateway")["InternetGateway"]["InternetGatewayId"]
        retag(place.api, made, properties)
        return Made(made, {"InternetGatewayId": made})

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("ec2", "delete_internet_gateway", InternetGatewayId=made.physical_id)


@model("AWS::EC2::VPCGatewayAttachment")
class GatewayAttachment(Model):
    properties = names("VpcId InternetGatewayId")

    def create(self, place: Place, properties: Properties) -> Made:
        place.api("ec2", "attach_internet_gateway", **properties)
        return Made(f"IGW|{properties['VpcId']}", {"AttachmentType": "IGW"})

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("ec2", "detach_internet_gateway", **properties)


@model("AWS::EC2::RouteTable")
class RouteTable(Tagged):
    properties = names("VpcId Tags")
    immutable = names("VpcId")

    def create(self, place: Place, properties: Properties) -> Made:
        table = place.api("ec2", "create_route_table", VpcId=properties["VpcId"])["RouteTable"]["RouteTableId"]
        retag(place.api, table, properties)
        return Made(table, {"RouteTableId": table})

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("ec2", "delete_route_table", RouteTableId=made.physical_id)


@model("AWS::EC2::SubnetRouteTableAssociation")
class RouteTableAssociation(Model):
    properties = names("RouteTableId SubnetId")

    def create(self, place: Place, properties: Properties) -> Made:
        made = place.api("ec2", "associate_route_table", **properties)["AssociationId"]
        return Made(made, {"Id": made})

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("ec2", "disassociate_route_table", AssociationId=made.physical_id)


@model("AWS::EC2::Route")
class Route(Model):
    properties = names("RouteTableId DestinationCidrBlock GatewayId NatGatewayId VpcEndpointId")

    def create(self, place: Place, properties: Properties) -> Made:
        place.api("ec2", "create_route", **properties)
        return Made(f"{properties['RouteTableId']}|{properties['DestinationCidrBlock']}")

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("ec2", "delete_route", **pick(properties, "RouteTableId", "DestinationCidrBlock"))


@model("AWS::EC2::EIP")
class ElasticIp(Tagged):
    properties = names("Domain Tags")
    immutable = names("Domain")

    def create(self, place: Place, properties: Properties) -> Made:
        made = place.api("ec2", "allocate_address", Domain=properties.get("Domain", "vpc"))
        retag(place.api, made["AllocationId"], properties)
        attributes = {"AllocationId": made["AllocationId"], "PublicIp": made["PublicIp"]}
        return Made(made["PublicIp"], attributes)

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        retag(place.api, made.attributes["AllocationId"], properties, old)
        return made

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("ec2", "release_address", AllocationId=made.attributes["AllocationId"])


@model("AWS::EC2::NatGateway")
class NatGateway(Tagged):
    properties = names("SubnetId AllocationId ConnectivityType Tags")
    immutable = names("SubnetId AllocationId ConnectivityType")

    def create(self, place: Place, properties: Properties) -> Made:
        asked = without(properties, "Tags")
        made = place.api("ec2", "create_nat_gateway", **asked)["NatGateway"]["NatGatewayId"]
        retag(place.api, made, properties)
        return Made(made, {"NatGatewayId": made})

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("ec2", "delete_nat_gateway", NatGatewayId=made.physical_id)


@model("AWS::EC2::VPCEndpoint")
class VpcEndpoint(Tagged):
    properties = names(
        "VpcId ServiceName VpcEndpointType RouteTableIds SubnetIds SecurityGroupIds PrivateDnsEnabled"
        " PolicyDocument Tags"
    )
    immutable = names("VpcId ServiceName VpcEndpointType")

    def create(self, place: Place, properties: Properties) -> Made:
        asked = _endpoint(without(properties, "Tags"))
        made = place.api("ec2", "create_vpc_endpoint", **asked)["VpcEndpoint"]
        retag(place.api, made["VpcEndpointId"], properties)
        return Made(made["VpcEndpointId"], {"Id": made["VpcEndpointId"], "DnsEntries": [], "NetworkInterfaceIds": []})

    def replaces(self, changed: set[str]) -> bool:
        return bool(changed - {"Tags"})  # the emulated EC2 cannot change an endpoint: a new one is the same

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("ec2", "delete_vpc_endpoints", VpcEndpointIds=[made.physical_id])


def _endpoint(properties: Properties) -> dict[str, Any]:
    if isinstance(properties.get("PolicyDocument"), dict):
        return {**properties, "PolicyDocument": json.dumps(properties["PolicyDocument"])}
    return properties


@model("AWS::EC2::FlowLog")
class FlowLog(Tagged):
    properties = names(
        "ResourceId ResourceType TrafficType LogDestinationType LogGroupName LogDestination"
        " DeliverLogsPermissionArn LogFormat MaxAggregationInterval Tags"
    )
    immutable = properties - {"Tags"}

    def create(self, place: Place, properties: Properties) -> Made:
        asked = {**without(properties, "Tags", "ResourceId"), "ResourceIds": [properties["ResourceId"]]}
        answer = place.api("ec2", "create_flow_logs", **asked)
        if not answer.get("FlowLogIds"):
            raise ValueError(answer["Unsuccessful"][0]["Error"]["Message"])
        retag(place.api, answer["FlowLogIds"][0], properties)
        return Made(answer["FlowLogIds"][0], {"Id": answer["FlowLogIds"][0]})

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("ec2", "delete_flow_logs", FlowLogIds=[made.physical_id])
