"""Keys, secrets and parameters."""

from __future__ import annotations

import json
import secrets
import string
from typing import Any

from ..addresses import STACK_TAG
from ..api import pick, tags, without
from .base import Made, Model, Place, Properties, model, names

_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


@model("AWS::KMS::Key")
class Key(Model):
    properties = names(
        "Description KeyPolicy EnableKeyRotation Enabled KeySpec KeyUsage MultiRegion PendingWindowInDays Tags"
        " RotationPeriodInDays"
    )
    immutable = names("KeySpec KeyUsage MultiRegion")

    def create(self, place: Place, properties: Properties) -> Made:
        asked = pick(properties, "Description", "KeySpec", "KeyUsage", "MultiRegion")
        labels = [{"TagKey": key, "TagValue": value} for key, value in tags(properties).items()]
        key = place.api("kms", "create_key", Policy=_text(properties.get("KeyPolicy")), Tags=labels, **asked)
        made = Made(
            key["KeyMetadata"]["KeyId"],
            {"Arn": key["KeyMetadata"]["Arn"], "KeyId": key["KeyMetadata"]["KeyId"]},
        )
        return self._rotate(place, made, properties)

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        key = made.physical_id
        if properties.get("KeyPolicy") != old.get("KeyPolicy"):
            place.api(
                "kms",
                "put_key_policy",
                KeyId=key,
                PolicyName="default",
                Policy=_text(properties["KeyPolicy"]),
            )
        if properties.get("Description") != old.get("Description"):
            place.api("kms", "update_key_description", KeyId=key, Description=properties.get("Description", ""))
        gone = [name for name in tags(old) if name not in tags(properties)]
        if gone:
            place.api("kms", "untag_resource", KeyId=key, TagKeys=gone)
        labels = [{"TagKey": name, "TagValue": value} for name, value in tags(properties).items()]
        if labels:
            place.api("kms", "tag_resource", KeyId=key, Tags=labels)
        return self._rotate(place, made, properties)

    def _rotate(self, place: Place, made: Made, properties: Properties) -> Made:
        on = str(properties.get("EnableKeyRotation", False)).lower() == "true"
        days = properties.get("RotationPeriodInDays") if on else None
        verb = "enable_key_rotation" if on else "disable_key_rotation"
        place.api("kms", verb, KeyId=made.physical_id, **({"RotationPeriodInDays": days} if days else {}))
        enabled = str(properties.get("Enabled", True)).lower() == "true"
        place.api("kms", "enable_key" if enabled else "disable_key", KeyId=made.physical_id)
        return made

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        days = properties.get("PendingWindowInDays", 30)
        place.api("kms", "schedule_key_deletion", KeyId=made.physical_id, PendingWindowInDays=days)


def _text(document: Any) -> str | None:
    return json.dumps(document) if isinstance(document, dict) else document


@model("AWS::KMS::Alias")
class KeyAlias(Model):
    properties = names("AliasName TargetKeyId")
    immutable = names("AliasName")

    def create(self, place: Place, properties: Properties) -> Made:
        place.api("kms", "create_alias", AliasName=properties["AliasName"], TargetKeyId=properties["TargetKeyId"])
        return Made(properties["AliasName"])

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        place.api("kms", "update_alias", AliasName=made.physical_id, TargetKeyId=properties["TargetKeyId"])
        return made

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("kms", "delete_alias", AliasName=made.physical_id)


@model("AWS::SecretsManager::Secret")
class Secret(Model):
    properties = names("Name Description SecretString GenerateSecretString KmsKeyId Tags")
    immutable = names("Name")

    def create(self, place: Place, properties: Properties) -> Made:
        asked = pick(properties, "Description", "KmsKeyId")
        generated = "GenerateSecretString" in properties
        if not generated:
            asked["SecretString"] = _secret(properties)
        arn = place.api(
            "secretsmanager",
            "create_secret",
            Name=properties.get("Name") or f"{place.logical_id}-{secrets.token_hex(6)}",
            Tags=[*properties.get("Tags", []), {"Key": STACK_TAG, "Value": place.stack_id}],
            **asked,
        )["ARN"]
        # One that this stack made before the emulator was restarted has its value by now.
        if generated and not place.api("secretsmanager", "describe_secret", SecretId=arn).get("VersionIdsToStages"):
            place.api("secretsmanager", "put_secret_value", SecretId=arn, SecretString=_secret(properties))
        return Made(arn, {"Id": arn})

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        asked = pick(properties, "Description", "KmsKeyId")
        # As on AWS: a changed recipe makes a new secret value, any other change leaves it alone.
        recipe = ("GenerateSecretString", "SecretString")
        if pick(properties, *recipe) != pick(old, *recipe):
            asked["SecretString"] = _secret(properties)
        place.api("secretsmanager", "update_secret", SecretId=made.physical_id, **asked)
        gone = [name for name in tags(old) if name not in tags(properties)]
        if gone:
            place.api("secretsmanager", "untag_resource", SecretId=made.physical_id, TagKeys=gone)
        if properties.get("Tags"):
            place.api("secretsmanager", "tag_resource", SecretId=made.physical_id, Tags=properties["Tags"])
        return made

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("secretsmanager", "delete_secret", SecretId=made.physical_id, ForceDeleteWithoutRecovery=True)


def _secret(properties: Properties) -> str:
    recipe = properties.get("GenerateSecretString")
    if recipe is None:
        return str(properties.get("SecretString", "{}"))
    generated = password(recipe)
    if "GenerateStringKey" not in recipe:
        return generated
    return json.dumps({**json.loads(recipe["SecretStringTemplate"]), recipe["GenerateStringKey"]: generated})


def password(recipe: Properties) -> str:
    """A random password by the rules of GenerateSecretString."""

    def without_kind(kind: str) -> bool:
        return str(recipe.get(f"Exclude{kind}", False)).lower() == "true"

    kinds = [
        string.ascii_lowercase * (not without_kind("Lowercase")),
        string.ascii_uppercase * (not without_kind("Uppercase")),
        string.digits * (not without_kind("Numbers")),
        _PUNCTUATION * (not without_kind("Punctuation")),
        " " * (str(recipe.get("IncludeSpace", False)).lower() == "true"),
    ]
    excluded = recipe.get("ExcludeCharacters", "")
    usable = ["".join(char for char in kind if char not in excluded) for kind in kinds]
    usable = [kind for kind in usable if kind]
    length = int(recipe.get("PasswordLength", 32))
    every = str(recipe.get("RequireEachIncludedType", True)).lower() == "true"
    chosen = [secrets.choice(kind) for kind in usable] if every else []
    chosen += [secrets.choice("".join(usable)) for _ in range(length - len(chosen))]
    secrets.SystemRandom().shuffle(chosen)
    return "".join(chosen)


@model("AWS::SecretsManager::SecretTargetAttachment")
class SecretTargetAttachment(Model):
    properties = names("SecretId TargetId TargetType")
    immutable = names("SecretId")

    def create(self, place: Place, properties: Properties) -> Made:
        api, secret = place.api, properties["SecretId"]
        if properties["TargetType"] != "AWS::RDS::DBInstance":
            raise ValueError(f"The emulator attaches secrets to DB instances only, not {properties['TargetType']}")
        found = api("rds", "describe_db_instances", DBInstanceIdentifier=properties["TargetId"])["DBInstances"][0]
        value = json.loads(api("secretsmanager", "get_secret_value", SecretId=secret)["SecretString"])
        value |= {
            "engine": found["Engine"],
            "host": found["Endpoint"]["Address"],
            "port": found["Endpoint"]["Port"],
            "dbInstanceIdentifier": found["DBInstanceIdentifier"],
        }
        if found.get("DBName"):
            value["dbname"] = found["DBName"]
        api("secretsmanager", "put_secret_value", SecretId=secret, SecretString=json.dumps(value))
        return Made(secret, {"Id": secret})

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        return self.create(place, properties)

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        """The secret keeps what it knows, as on AWS."""


@model("AWS::SecretsManager::ResourcePolicy")
class SecretPolicy(Model):
    properties = names("SecretId ResourcePolicy BlockPublicPolicy")
    immutable = names("SecretId")

    def create(self, place: Place, properties: Properties) -> Made:
        policy = _text(properties["ResourcePolicy"])
        place.api("secretsmanager", "put_resource_policy", SecretId=properties["SecretId"], ResourcePolicy=policy)
        return Made(properties["SecretId"], {"Id": properties["SecretId"]})

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        return self.create(place, properties)

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("secretsmanager", "delete_resource_policy", SecretId=properties["SecretId"])


@model("AWS::SSM::Parameter")
class Parameter(Model):
    properties = names("Name Type Value Description Tags Tier AllowedPattern DataType")
    immutable = names("Name")

    def create(self, place: Place, properties: Properties) -> Made:
        name = properties.get("Name") or place.name()
        labels = [{"Key": key, "Value": value} for key, value in tags(properties).items()]
        place.api("ssm", "put_parameter", Name=name, Tags=labels or None, **without(properties, "Name", "Tags"))
        return Made(name, pick(properties, "Type", "Value"))

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        asked = without(properties, "Name", "Tags")
        place.api("ssm", "put_parameter", Name=made.physical_id, Overwrite=True, **asked)
        labels = [{"Key": key, "Value": value} for key, value in tags(properties).items()]
        if labels:
            place.api(
                "ssm",
                "add_tags_to_resource",
                ResourceType="Parameter",
                ResourceId=made.physical_id,
                Tags=labels,
            )
        return Made(made.physical_id, pick(properties, "Type", "Value"))

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("ssm", "delete_parameter", Name=made.physical_id)
