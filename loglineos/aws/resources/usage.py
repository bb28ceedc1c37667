"""What a living DB instance stands on cannot be deleted: AWS refuses, and moto would not.

It matters where the instance is retained and the rest of its stack goes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .base import Place

Instance = dict[str, Any]


class InUse(Exception):
    """Something living needs it."""


def refuse_if_used(place: Place, uses: Callable[[Instance], bool], sentence: str) -> None:
    """Raise InUse with the sentence if any DB instance uses what is to be deleted."""
    if any(uses(instance) for instance in place.api("rds", "describe_db_instances")["DBInstances"]):
        raise InUse(sentence)


def uses_security_group(group: str) -> Callable[[Instance], bool]:
    return lambda found: group in [item["VpcSecurityGroupId"] for item in found.get("VpcSecurityGroups", [])]


def uses_subnet(subnet: str) -> Callable[[Instance], bool]:
    return lambda found: (
        subnet in [item["SubnetIdentifier"] for item in found.get("DBSubnetGroup", {}).get("Subnets", [])]
    )


def uses_parameter_group(name: str) -> Callable[[Instance], bool]:
    return lambda found: name in [item["DBParameterGroupName"] for item in found.get("DBParameterGroups", [])]


def uses_subnet_group(name: str) -> Callable[[Instance], bool]:
    return lambda found: name == found.get("DBSubnetGroup", {}).get("DBSubnetGroupName")
