"""RDS: instances, replicas and their groups. Every property goes through RDS's API."""

from __future__ import annotations

import uuid
from typing import Any

from ..api import pick, without
from .base import Made, Model, Place, Properties, model, names
from .usage import refuse_if_used, uses_parameter_group, uses_subnet_group

# The template's name where the API has another.
_RENAMED = {"VPCSecurityGroups": "VpcSecurityGroupIds"}
_ONLY_WHEN_CREATED = [
    "Engine",
    "DBName",
    "MasterUsername",
    "DBSubnetGroupName",
    "KmsKeyId",
    "StorageEncrypted",
    "AvailabilityZone",
    "EnableCloudwatchLogsExports",
    "SourceDBInstanceIdentifier",
    "Timezone",
    "CharacterSetName",
    "SourceRegion",
]
_NOT_OF_A_REPLICA = [
    "Engine",
    "EngineVersion",
    "DBName",
    "MasterUsername",
    "MasterUserPassword",
    "AllocatedStorage",
    "BackupRetentionPeriod",
    "PreferredBackupWindow",
    "StorageEncrypted",
    "PreferredMaintenanceWindow",
]


@model("AWS::RDS::DBInstance")
class DbInstance(Model):
    properties = names(
        "DBInstanceIdentifier DBInstanceClass Engine EngineVersion DBName MasterUsername MasterUserPassword"
        " AllocatedStorage MaxAllocatedStorage StorageType Iops StorageThroughput StorageEncrypted KmsKeyId MultiAZ"
        " BackupRetentionPeriod PreferredBackupWindow PreferredMaintenanceWindow DBParameterGroupName"
        " DBSubnetGroupName VPCSecurityGroups DeletionProtection CopyTagsToSnapshot PubliclyAccessible"
        " EnableIAMDatabaseAuthentication EnablePerformanceInsights PerformanceInsightsKMSKeyId"
        " PerformanceInsightsRetentionPeriod EnableCloudwatchLogsExports MonitoringInterval MonitoringRoleArn"
        " AutoMinorVersionUpgrade AllowMajorVersionUpgrade CACertificateIdentifier Port AvailabilityZone"
        " SourceDBInstanceIdentifier DeleteAutomatedBackups NetworkType Tags EngineLifecycleSupport"
    )
    immutable = names(
        "DBInstanceIdentifier DBName Engine MasterUsername DBSubnetGroupName StorageEncrypted KmsKeyId"
        " SourceDBInstanceIdentifier AvailabilityZone Port"
    )

    def create(self, place: Place, properties: Properties) -> Made:
        identifier = properties.get("DBInstanceIdentifier") or place.name(63)
        asked = _asked(without(properties, "DeleteAutomatedBackups", "AllowMajorVersionUpgrade"))
        asked["DBInstanceIdentifier"] = identifier = identifier.lower()
        source = asked.get("SourceDBInstanceIdentifier")
        if source:
            place.api("rds", "create_db_instance_read_replica", **without(asked, *_NOT_OF_A_REPLICA))
            self._settle_replica(place, identifier, asked)
        else:
            place.api("rds", "create_db_instance", **asked)
        return self._made(place, identifier)

    def _settle_replica(self, place: Place, identifier: str, asked: dict[str, Any]) -> None:
        """What a replica can be told only once it is there."""
        later = pick(asked, "BackupRetentionPeriod", "PreferredBackupWindow", "PreferredMaintenanceWindow")
        if later:
            place.api("rds", "modify_db_instance", DBInstanceIdentifier=identifier, ApplyImmediately=True, **later)

    def _made(self, place: Place, identifier: str) -> Made:
        found = place.api("rds", "describe_db_instances", DBInstanceIdentifier=identifier)["DBInstances"][0]
        return Made(
            identifier,
            {
                "Endpoint.Address": found["Endpoint"]["Address"],
                "Endpoint.Port": str(found["Endpoint"]["Port"]),
                "Endpoint.HostedZoneId": "Z2R2ITUGPM61AM",
                "DBInstanceArn": found["DBInstanceArn"],
                "DbiResourceId": found["DbiResourceId"],
            },
        )

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        changed = {key: properties[key] for key in properties if properties[key] != old.get(key)}
        logs = self._log_changes(properties, old)
        asked = without(_asked(changed), *_ONLY_WHEN_CREATED, "DeleteAutomatedBackups", "Tags", "DBInstanceIdentifier")
        if asked or logs:
            place.api(
                "rds",
                "modify_db_instance",
                DBInstanceIdentifier=made.physical_id,
                ApplyImmediately=True,
                CloudwatchLogsExportConfiguration=logs or None,
                **asked,
            )
        self._retag(place, made, properties, old)
        return self._made(place, made.physical_id)

    def _log_changes(self, properties: Properties, old: Properties) -> dict[str, list[str]]:
        key = "EnableCloudwatchLogsExports"
        wanted, before = properties.get(key, []), old.get(key, [])
        found = {
            "EnableLogTypes": [name for name in wanted if name not in before],
            "DisableLogTypes": [name for name in before if name not in wanted],
        }
        return {name: kinds for name, kinds in found.items() if kinds}

    def _retag(self, place: Place, made: Made, properties: Properties, old: Properties) -> None:
        arn = made.attributes["DBInstanceArn"]
        wanted = {tag["Key"]: tag["Value"] for tag in properties.get("Tags", [])}
        gone = [tag["Key"] for tag in old.get("Tags", []) if tag["Key"] not in wanted]
        if gone:
            place.api("rds", "remove_tags_from_resource", ResourceName=arn, TagKeys=gone)
        if wanted and properties.get("Tags") != old.get("Tags"):
            place.api("rds", "add_tags_to_resource", ResourceName=arn, Tags=properties["Tags"])

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        self._remove(place, made, properties, SkipFinalSnapshot=True)

    def retire(self, place: Place, made: Made, properties: Properties) -> None:
        snapshot = f"{place.stack_name}-snapshot-{place.logical_id}-{uuid.uuid4().hex[:12]}".lower()
        self._remove(place, made, properties, SkipFinalSnapshot=False, FinalDBSnapshotIdentifier=snapshot)

    def _remove(self, place: Place, made: Made, properties: Properties, **how: Any) -> None:
        backups = properties.get("DeleteAutomatedBackups", True)
        place.api(
            "rds",
            "delete_db_instance",
            DBInstanceIdentifier=made.physical_id,
            DeleteAutomatedBackups=backups,
            **how,
        )


def _asked(properties: Properties) -> dict[str, Any]:
    return {_RENAMED.get(name, name): value for name, value in properties.items()}


@model("AWS::RDS::DBSubnetGroup")
class DbSubnetGroup(Model):
    properties = names("DBSubnetGroupName DBSubnetGroupDescription SubnetIds Tags")
    immutable = names("DBSubnetGroupName")

    def create(self, place: Place, properties: Properties) -> Made:
        name = (properties.get("DBSubnetGroupName") or place.name(255)).lower()
        place.api("rds", "create_db_subnet_group", **{**properties, "DBSubnetGroupName": name})
        return Made(name)

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        asked = pick(properties, "DBSubnetGroupDescription", "SubnetIds")
        place.api("rds", "modify_db_subnet_group", DBSubnetGroupName=made.physical_id, **asked)
        return made

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        sentence = (
            f"Cannot delete the subnet group '{made.physical_id}' because at least one database instance"
            " is still using it."
        )
        refuse_if_used(place, uses_subnet_group(made.physical_id), sentence)
        place.api("rds", "delete_db_subnet_group", DBSubnetGroupName=made.physical_id)


@model("AWS::RDS::DBParameterGroup")
class DbParameterGroup(Model):
    properties = names("DBParameterGroupName Family Description Parameters Tags")
    immutable = names("DBParameterGroupName Family Description")

    def create(self, place: Place, properties: Properties) -> Made:
        name = (properties.get("DBParameterGroupName") or place.name(255)).lower()
        place.api(
            "rds",
            "create_db_parameter_group",
            DBParameterGroupName=name,
            DBParameterGroupFamily=properties["Family"],
            Description=properties["Description"],
            Tags=properties.get("Tags"),
        )
        return self.update(place, Made(name, {"DBParameterGroupName": name}), properties, {})

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        parameters = [
            {"ParameterName": name, "ParameterValue": value, "ApplyMethod": "pending-reboot"}
            for name, value in properties.get("Parameters", {}).items()
        ]
        if parameters:
            place.api(
                "rds",
                "modify_db_parameter_group",
                DBParameterGroupName=made.physical_id,
                Parameters=parameters,
            )
        return made

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        sentence = (
            "One or more database instances are still members of this parameter group, so the group cannot be deleted"
        )
        refuse_if_used(place, uses_parameter_group(made.physical_id), sentence)
        place.api("rds", "delete_db_parameter_group", DBParameterGroupName=made.physical_id)
