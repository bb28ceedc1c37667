"""RDS: what no rehearsal can show is asserted on the template (manual 3, 6.1, 7.2, 10.1, 10.2)."""

from collections.abc import Mapping
from typing import Any

import pytest

KIND = "AWS::RDS::DBInstance"


def test_every_instance_is_encrypted_private_watched_and_backed_up(each: Any, properties: Any) -> None:
    environment, templates = each
    instances = properties(templates["database"], KIND)
    assert len(instances) == (2 if environment.read_replica else 1)
    for one in instances.values():
        assert one["PubliclyAccessible"] is False
        assert one["StorageType"] == "gp3"
        assert one["MaxAllocatedStorage"] == environment.storage_limit_gb
        assert one["EnablePerformanceInsights"] is True
        assert one["MonitoringInterval"] == 60
        assert one["EnableCloudwatchLogsExports"] == ["postgresql", "upgrade"]
        assert one["CopyTagsToSnapshot"] is True
        assert one["AutoMinorVersionUpgrade"] is True
        assert one["CACertificateIdentifier"] == "rds-ca-rsa2048-g1"
        assert one["EnableIAMDatabaseAuthentication"] is environment.database_iam
        assert one["DeletionProtection"] is environment.protect_data
        assert one["DBInstanceClass"] == environment.instance_class
        assert one["~"]["DeletionPolicy"] == ("Retain" if environment.protect_data else "Delete")
        assert one["~"]["UpdateReplacePolicy"] == one["~"]["DeletionPolicy"]


def test_the_primary(each: Any, properties: Any) -> None:
    environment, templates = each
    primary = properties(templates["database"], KIND)["Primary503D6591"]
    assert primary["DBInstanceIdentifier"] == environment.database_identifier
    assert (primary["Engine"], primary["EngineVersion"]) == ("postgres", "18")
    assert primary["DBName"] == "loglineos"
    assert primary["MasterUsername"] == "postgres"
    assert primary["AllocatedStorage"] == str(environment.storage_gb)
    assert primary["StorageEncrypted"] is True
    assert primary["KmsKeyId"]["Fn::ImportValue"].startswith(environment.resource("keys"))
    assert primary["MultiAZ"] is environment.multi_az
    assert primary["BackupRetentionPeriod"] == environment.backup_days
    assert primary["PreferredBackupWindow"] == "03:00-05:00"
    assert primary["PreferredMaintenanceWindow"] == "sun:05:30-sun:06:30"
    assert primary["DeleteAutomatedBackups"] is not environment.protect_data


def test_the_replica_follows_the_primary(prod: Mapping[str, Any], properties: Any) -> None:
    replica = properties(prod["database"], KIND)["ReplicaDDFB2A87"]
    assert replica["DBInstanceIdentifier"] == "loglineos-read-replica"
    assert "Primary503D6591" in str(replica["SourceDBInstanceIdentifier"])
    assert "StorageEncrypted" not in replica, "it is the source's, and CloudFormation refuses to hear it again"


def test_parameters(each: Any, properties: Any) -> None:
    environment, templates = each
    groups = properties(templates["database"], "AWS::RDS::DBParameterGroup")
    for group in groups.values():
        assert group["Family"] == "postgres18"
        assert group["Parameters"]["rds.force_ssl"] == ("1" if environment.database_tls else "0")
        assert group["Parameters"]["max_connections"] == str(environment.max_connections)
        assert group["Parameters"]["shared_preload_libraries"] == "pg_stat_statements"


def test_instances_lie_in_isolated_subnets(each: Any, properties: Any) -> None:
    _, templates = each
    for group in properties(templates["database"], "AWS::RDS::DBSubnetGroup").values():
        assert len(group["SubnetIds"]) == 2
        assert all("VpcdatabaseSubnet" in str(subnet) for subnet in group["SubnetIds"])


def test_secrets(each: Any, properties: Any) -> None:
    environment, templates = each
    secrets = properties(templates["database"], "AWS::SecretsManager::Secret")
    things = {"database-master", "memory-key", "checkpoint-key"}
    things |= {"signing-key"} if environment.sign_executions else set()
    things |= set() if environment.database_iam else {"database-lambda-exec", "database-readonly"}
    assert {one["Name"] for one in secrets.values()} == {environment.resource(thing) for thing in things}
    assert all("KmsKeyId" in one and "SecretString" not in one for one in secrets.values())


@pytest.mark.parametrize("thing", ["memory-key", "signing-key"])
def test_keys_are_64_hex_digits(thing: str, prod: Mapping[str, Any], properties: Any) -> None:
    secrets = properties(prod["database"], "AWS::SecretsManager::Secret").values()
    made = next(one["GenerateSecretString"] for one in secrets if one["Name"] == f"loglineos-{thing}")
    letters = set("abcdefghijklmnopqrstuvwxyz") - set(made["ExcludeCharacters"])
    assert letters == set("abcdef")
    assert (made["ExcludeUppercase"], made["ExcludePunctuation"]) == (True, True)
    assert made["PasswordLength"] == 64


def test_the_master_password_is_rotated(each: Any, properties: Any) -> None:
    environment, templates = each
    if not environment.rotate_master_days:
        assert "rotation" not in templates
        return
    (rotation,) = properties(templates["rotation"], "AWS::SecretsManager::RotationSchedule").values()
    assert "MasterSecret" in str(rotation["SecretId"])
    assert rotation["RotationRules"] == {"ScheduleExpression": f"rate({environment.rotate_master_days} days)"}
    assert rotation["HostedRotationLambda"]["RotationType"] == "PostgreSQLSingleUser"
    assert "Functions" in str(rotation["HostedRotationLambda"]["VpcSecurityGroupIds"])


@pytest.mark.parametrize("part", ["keys", "database", "archive"])
def test_what_holds_data_cannot_be_torn_down_by_mistake(part: str, each: Any) -> None:
    environment, templates = each
    kept = {"AWS::RDS::DBInstance", "AWS::S3::Bucket", "AWS::KMS::Key"}
    held = [one for one in templates[part]["Resources"].values() if one["Type"] in kept]
    assert held
    assert {one["DeletionPolicy"] for one in held} == {"Retain" if environment.protect_data else "Delete"}
