"""S3 buckets and their policies, and the image repository that the CDK's bootstrap makes."""

from __future__ import annotations

import json
from typing import Any

from ..api import pick, tags
from .base import Made, Model, Place, Properties, model, names

# A template's property, and the calls which put it and take it away again.
_PARTS = {
    "VersioningConfiguration": ("put_bucket_versioning", None),
    "BucketEncryption": ("put_bucket_encryption", "delete_bucket_encryption"),
    "PublicAccessBlockConfiguration": ("put_public_access_block", "delete_public_access_block"),
    "OwnershipControls": ("put_bucket_ownership_controls", "delete_bucket_ownership_controls"),
    "LifecycleConfiguration": ("put_bucket_lifecycle_configuration", "delete_bucket_lifecycle"),
    "LoggingConfiguration": ("put_bucket_logging", None),
    "ObjectLockConfiguration": ("put_object_lock_configuration", None),
    "CorsConfiguration": ("put_bucket_cors", "delete_bucket_cors"),
    "Tags": ("put_bucket_tagging", "delete_bucket_tagging"),
}


@model("AWS::S3::Bucket")
class Bucket(Model):
    properties = names("BucketName ObjectLockEnabled AccessControl " + " ".join(_PARTS))
    immutable = names("BucketName ObjectLockEnabled")

    def create(self, place: Place, properties: Properties) -> Made:
        name = properties.get("BucketName") or place.name(63, lower=True)
        place.api(
            "s3",
            "create_bucket",
            Bucket=name,
            ObjectLockEnabledForBucket=properties.get("ObjectLockEnabled"),
            CreateBucketConfiguration=_location(place.region),
        )
        made = Made(
            name,
            {
                "Arn": f"arn:aws:s3:::{name}",
                "DomainName": f"{name}.s3.amazonaws.com",
                "RegionalDomainName": f"{name}.s3.{place.region}.amazonaws.com",
                "DualStackDomainName": f"{name}.s3.dualstack.{place.region}.amazonaws.com",
                "WebsiteURL": f"http://{name}.s3-website.{place.region}.amazonaws.com",
            },
        )
        return self.update(place, made, properties, {})

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        for part, (put, remove) in _PARTS.items():
            if properties.get(part) == old.get(part):
                continue
            if part in properties:
                place.api("s3", put, Bucket=made.physical_id, **_SHAPES[part](properties[part]))
            elif remove:
                place.api("s3", remove, Bucket=made.physical_id)
            else:
                raise ValueError(f"{part} cannot be taken off a bucket")
        if "AccessControl" in properties:
            acl = _canned(properties["AccessControl"])
            place.api("s3", "put_bucket_acl", Bucket=made.physical_id, ACL=acl)
        return made

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("s3", "delete_bucket", Bucket=made.physical_id)


def _location(region: str) -> dict[str, str] | None:
    return None if region == "us-east-1" else {"LocationConstraint": region}


def _canned(name: str) -> str:
    """`LogDeliveryWrite` -> `log-delivery-write`."""
    return "".join(f"-{char.lower()}" if char.isupper() else char for char in name).lstrip("-")


def _encryption(given: Properties) -> dict[str, Any]:
    rules = [
        {
            "ApplyServerSideEncryptionByDefault": rule["ServerSideEncryptionByDefault"],
            **pick(rule, "BucketKeyEnabled"),
        }
        for rule in given["ServerSideEncryptionConfiguration"]
    ]
    return {"ServerSideEncryptionConfiguration": {"Rules": rules}}


def _lifecycle(given: Properties) -> dict[str, Any]:
    return {"LifecycleConfiguration": {"Rules": [_lifecycle_rule(rule) for rule in given["Rules"]]}}


def _lifecycle_rule(rule: Properties) -> dict[str, Any]:
    known = names(
        "Id Status Prefix ExpirationInDays ExpiredObjectDeleteMarker Transitions NoncurrentVersionTransitions"
        " NoncurrentVersionExpiration AbortIncompleteMultipartUpload"
    )
    unknown = rule.keys() - known
    if unknown:
        raise ValueError(f"The emulator does not model these of a lifecycle rule: {', '.join(sorted(unknown))}")
    found = {
        "Status": rule["Status"],
        "Filter": {"Prefix": rule.get("Prefix", "")},
        **pick(rule, "NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload"),
    }
    if "Id" in rule:
        found["ID"] = rule["Id"]
    expiration = {"Days": rule.get("ExpirationInDays"), **pick(rule, "ExpiredObjectDeleteMarker")}
    expiration = {key: value for key, value in expiration.items() if value is not None}
    if expiration:
        found["Expiration"] = expiration
    for name, days in (("Transitions", "Days"), ("NoncurrentVersionTransitions", "NoncurrentDays")):
        if name in rule:
            found[name] = [
                {"StorageClass": item["StorageClass"], days: item["TransitionInDays"]} for item in rule[name]
            ]
    return found


def _logging(given: Properties) -> dict[str, Any]:
    enabled = {
        "TargetBucket": given.get("DestinationBucketName"),
        "TargetPrefix": given.get("LogFilePrefix", ""),
    }
    return {"BucketLoggingStatus": {"LoggingEnabled": enabled}}


def _cors(given: Properties) -> dict[str, Any]:
    return {"CORSConfiguration": {"CORSRules": given["CorsRules"]}}


_SHAPES: dict[str, Any] = {
    "VersioningConfiguration": lambda given: {"VersioningConfiguration": given},
    "BucketEncryption": _encryption,
    "PublicAccessBlockConfiguration": lambda given: {"PublicAccessBlockConfiguration": given},
    "OwnershipControls": lambda given: {"OwnershipControls": given},
    "LifecycleConfiguration": _lifecycle,
    "LoggingConfiguration": _logging,
    "ObjectLockConfiguration": lambda given: {"ObjectLockConfiguration": given},
    "CorsConfiguration": _cors,
    "Tags": lambda given: {"Tagging": {"TagSet": given}},
}


@model("AWS::S3::BucketPolicy")
class BucketPolicy(Model):
    properties = names("Bucket PolicyDocument")
    immutable = names("Bucket")

    def create(self, place: Place, properties: Properties) -> Made:
        document = json.dumps(properties["PolicyDocument"])
        place.api("s3", "put_bucket_policy", Bucket=properties["Bucket"], Policy=document)
        return Made(properties["Bucket"])

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        return self.create(place, properties)

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("s3", "delete_bucket_policy", Bucket=made.physical_id)


@model("AWS::ECR::Repository")
class Repository(Model):
    properties = names(
        "RepositoryName ImageScanningConfiguration ImageTagMutability LifecyclePolicy RepositoryPolicyText Tags"
    )
    immutable = names("RepositoryName")

    def create(self, place: Place, properties: Properties) -> Made:
        name = properties.get("RepositoryName") or place.name(256, lower=True)
        found = place.api(
            "ecr",
            "create_repository",
            repositoryName=name,
            imageTagMutability=properties.get("ImageTagMutability"),
            tags=[{"Key": key, "Value": value} for key, value in tags(properties).items()] or None,
        )["repository"]
        made = Made(name, {"Arn": found["repositoryArn"], "RepositoryUri": found["repositoryUri"]})
        return self.update(place, made, properties, {})

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        name = made.physical_id
        scanning = properties.get("ImageScanningConfiguration")
        if scanning:
            on = {"scanOnPush": str(scanning.get("ScanOnPush", False)).lower()}
            place.api("ecr", "put_image_scanning_configuration", repositoryName=name, imageScanningConfiguration=on)
        if "ImageTagMutability" in properties:
            kind = properties["ImageTagMutability"]
            place.api("ecr", "put_image_tag_mutability", repositoryName=name, imageTagMutability=kind)
        lifecycle = properties.get("LifecyclePolicy", {}).get("LifecyclePolicyText")
        if lifecycle:
            place.api("ecr", "put_lifecycle_policy", repositoryName=name, lifecyclePolicyText=lifecycle)
        if "RepositoryPolicyText" in properties:
            policy = json.dumps(properties["RepositoryPolicyText"])
            place.api("ecr", "set_repository_policy", repositoryName=name, policyText=policy)
        return made

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("ecr", "delete_repository", repositoryName=made.physical_id)
