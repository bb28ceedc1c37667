"""What belongs to the ledger's data outlives the emulator: objects and secrets, however its process ends."""

from __future__ import annotations

import json
import os
import secrets
import signal
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from loglineos.aws import Emulator
from loglineos.local.postgres import LocalPostgres

KEY = {"PasswordLength": 64, "ExcludeCharacters": "ghijklmnopqrstuvwxyz", "ExcludeUppercase": True}
KEY |= {"ExcludePunctuation": True, "RequireEachIncludedType": False}
LOCK = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 30}}}


class Aws:
    """An emulator whose process is really started, stopped and killed."""

    def __init__(self, directory: Path, postgres: LocalPostgres) -> None:
        self.directory, self._emulator = directory, Emulator(directory, postgres)
        self.start()

    def start(self) -> None:
        self._endpoint = self._emulator.start()
        self.s3, self.secrets, self.stacks = map(self._client, ("s3", "secretsmanager", "cloudformation"))

    def stop(self) -> None:
        self._emulator.stop()

    def kill(self) -> None:
        os.kill(json.loads((self.directory / "emulator.json").read_text())["pid"], signal.SIGKILL)
        deadline = time.monotonic() + 5
        while self._emulator.running() and time.monotonic() < deadline:
            time.sleep(0.01)

    def _client(self, service: str) -> Any:
        return boto3.session.Session().client(
            service,
            endpoint_url=self._endpoint.url,
            region_name=self._endpoint.region,
            aws_access_key_id="x",
            aws_secret_access_key="x",
            config=Config(retries={"max_attempts": 0}, max_pool_connections=20),
        )

    def bucket(self, name: str, **more: Any) -> None:
        where = {"LocationConstraint": self._endpoint.region}
        self.s3.create_bucket(Bucket=name, CreateBucketConfiguration=where, **more)
        self.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})

    def put(self, bucket: str, key: str, body: bytes, **more: Any) -> dict[str, Any]:
        put: dict[str, Any] = self.s3.put_object(Bucket=bucket, Key=key, Body=body, **more)
        return put

    def read(self, bucket: str, key: str, **more: Any) -> bytes:
        return bytes(self.s3.get_object(Bucket=bucket, Key=key, **more)["Body"].read())

    def versions(self, bucket: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Of all objects, and the delete markers."""
        found = self.s3.list_object_versions(Bucket=bucket)
        return found.get("Versions", []), found.get("DeleteMarkers", [])

    def secret(self, name: str, **more: Any) -> str:
        return str(self.secrets.get_secret_value(SecretId=name, **more)["SecretString"])

    def deploy(self, name: str, **resources: Any) -> str:
        """Create a stack; its status in the end."""
        asked = {"StackName": name, "ChangeSetName": "it"}
        body = json.dumps({"Resources": resources})
        self.stacks.create_change_set(**asked, ChangeSetType="CREATE", TemplateBody=body)
        self.stacks.execute_change_set(**asked)
        return self._settled(name)

    def destroy(self, name: str) -> str:
        identifier = self.stacks.describe_stacks(StackName=name)["Stacks"][0]["StackId"]
        self.stacks.delete_stack(StackName=name)
        return self._settled(identifier)

    def _settled(self, name: str) -> str:
        while True:
            status = str(self.stacks.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"])
            if not status.endswith("IN_PROGRESS"):
                return status
            time.sleep(0.02)


def secret(name: str, **more: Any) -> dict[str, Any]:
    """A key that CloudFormation makes."""
    return {"Type": "AWS::SecretsManager::Secret", "Properties": {"Name": name, "GenerateSecretString": KEY}, **more}


def bucket(name: str, **more: Any) -> dict[str, Any]:
    properties = {"BucketName": name, "VersioningConfiguration": {"Status": "Enabled"}}
    return {"Type": "AWS::S3::Bucket", "Properties": properties, **more}


def refused(call: Callable[..., Any], **arguments: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


LARGE = secrets.token_bytes(6 * 1024 * 1024)
SAID = {"Type": "AWS::SecretsManager::Secret", "Properties": {"Name": "said", "SecretString": "of the template"}}
BROKEN = {"Type": "AWS::SSM::Parameter", "Properties": {"Name": "x", "Type": "no such type", "Value": "x"}}
RETAIN = {"DeletionPolicy": "Retain"}
RETAINED = {"Key": secret("retained-key", **RETAIN), "Bucket": bucket("retained", **RETAIN)}
Facts = dict[str, Any]


def _puts(aws: Aws, facts: Facts) -> None:
    aws.bucket("puts")
    facts["first"] = aws.put("puts", "log/checkpoint", b"one")
    described = {"ContentType": "text/plain", "Metadata": {"size": "2"}, "Tagging": "kind=checkpoint"}
    facts["second"] = aws.put("puts", "log/checkpoint", b"two", **described)
    aws.put("puts", "log/tile/à propos.p/3", b"")
    facts["puts"] = aws.versions("puts")


def _deletions(aws: Aws, facts: Facts) -> None:
    aws.bucket("deletions")
    made = {key: aws.put("deletions", key, key.encode()) for key in ("hidden", "gone", "bulk/1", "bulk/2", "stays")}
    aws.s3.delete_object(Bucket="deletions", Key="hidden")
    aws.s3.delete_object(Bucket="deletions", Key="gone", VersionId=made["gone"]["VersionId"])
    bulk = [{"Key": key, "VersionId": made[key]["VersionId"]} for key in ("bulk/1", "bulk/2")]
    aws.s3.delete_objects(Bucket="deletions", Delete={"Objects": bulk})
    facts["deletions"] = aws.versions("deletions")
    aws.bucket("deleted")
    aws.put("deleted", "one", b"1")
    facts["not empty"] = refused(aws.s3.delete_bucket, Bucket="deleted")
    aws.s3.delete_object(Bucket="deleted", Key="one", VersionId=aws.versions("deleted")[0][0]["VersionId"])
    aws.s3.delete_bucket(Bucket="deleted")
    aws.bucket("cdk-staging")
    aws.put("cdk-staging", "asset", b"x")


def _upload(aws: Aws, bucket: str, key: str, *parts: bytes) -> dict[str, Any]:
    where = {"Bucket": bucket, "Key": key}
    where["UploadId"] = aws.s3.create_multipart_upload(**where)["UploadId"]
    put = [aws.s3.upload_part(**where, PartNumber=number, Body=part) for number, part in enumerate(parts, 1)]
    named = [{"PartNumber": number, "ETag": part["ETag"]} for number, part in enumerate(put, 1)]
    done: dict[str, Any] = aws.s3.complete_multipart_upload(**where, MultipartUpload={"Parts": named})
    # A client that has lost the answer asks again.
    assert aws.s3.complete_multipart_upload(**where, MultipartUpload={"Parts": named})["ETag"] == done["ETag"]
    return done


def _pages(aws: Aws, facts: Facts) -> None:
    aws.bucket("pages")
    for number in range(3):
        aws.put("pages", f"a/{number}", b"x")


def _large(aws: Aws, facts: Facts) -> None:
    aws.bucket("large")
    facts["large"] = _upload(aws, "large", "spans/1.parquet", LARGE[:-7], LARGE[-7:])


def _locked(aws: Aws, facts: Facts) -> None:
    aws.bucket("locked", ObjectLockEnabledForBucket=True)
    aws.s3.put_object_lock_configuration(Bucket="locked", ObjectLockConfiguration=LOCK)
    aws.put("locked", "one", b"1")
    _upload(aws, "locked", "parts", b"1")
    facts["locked"] = {
        key: aws.s3.get_object_retention(Bucket="locked", Key=key)["Retention"] for key in ("one", "parts")
    }


def _by_hand(aws: Aws, facts: Facts) -> None:
    facts["by hand"] = aws.secrets.create_secret(Name="openai", SecretString="sk-first", Description="by hand")["ARN"]
    aws.secrets.put_secret_value(SecretId="openai", SecretString="sk-second")
    for name in ("gone-for-good", "gone-next-week"):
        aws.secrets.create_secret(Name=name, SecretString=name)
    aws.secrets.delete_secret(SecretId="gone-for-good", ForceDeleteWithoutRecovery=True)
    aws.secrets.delete_secret(SecretId="gone-next-week", RecoveryWindowInDays=7)


def _of_stacks(aws: Aws, facts: Facts) -> None:
    aws.deploy("keys", Made=secret("made"), Put=secret("put"), Said=SAID)
    facts["made"], facts["arn"] = aws.secret("made"), aws.secrets.describe_secret(SecretId="made")["ARN"]
    for name in ("put", "said"):
        aws.secrets.put_secret_value(SecretId=name, SecretString="by hand")
    aws.deploy("data", Key=secret("data-key"), Bucket=bucket("data"))
    facts["data"] = aws.secret("data-key")
    aws.deploy("retained", **RETAINED)
    facts["retained"] = aws.secret("retained-key")
    for name in ("data", "retained"):
        aws.put(name, "one", b"1")
    facts["destroyed"] = aws.destroy("retained")


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory, postgres: LocalPostgres) -> Iterator[Aws]:
    aws = Aws(tmp_path_factory.mktemp("kept") / "aws", postgres)
    yield aws
    aws.stop()


@pytest.fixture(scope="module")
def before(aws: Aws) -> Facts:
    """What there was before the emulator was killed and started again."""
    facts: Facts = {}
    for part in (_puts, _deletions, _pages, _large, _locked, _by_hand, _of_stacks):
        part(aws, facts)
    aws.kill()
    aws.start()
    facts["buckets"] = aws.s3.list_buckets()["Buckets"]
    facts["secrets"] = [found["Name"] for found in aws.secrets.list_secrets()["SecretList"]]
    return facts


def test_nothing_of_a_stack_is_there_before_it_is_deployed_again(before: Facts) -> None:
    assert (before["buckets"], before["secrets"]) == ([], ["openai"])


def test_a_kill_loses_no_put_that_was_answered(aws: Aws, before: Facts) -> None:
    aws.bucket("puts")
    found = aws.s3.get_object(Bucket="puts", Key="log/checkpoint")
    assert (found["Body"].read(), found["ContentType"], found["Metadata"]) == (b"two", "text/plain", {"size": "2"})
    assert (found["ETag"], found["VersionId"]) == (before["second"]["ETag"], before["second"]["VersionId"])
    assert aws.versions("puts") == before["puts"]
    assert aws.read("puts", "log/checkpoint", VersionId=before["first"]["VersionId"]) == b"one"
    tags = aws.s3.get_object_tagging(Bucket="puts", Key="log/checkpoint")["TagSet"]
    assert tags == [{"Key": "kind", "Value": "checkpoint"}]
    assert aws.read("puts", "log/tile/à propos.p/3") == b""


def test_deletions_are_kept_as_puts_are(aws: Aws, before: Facts) -> None:
    aws.bucket("deletions")
    kept, markers = before["deletions"]
    assert aws.versions("deletions") == (kept, markers)
    assert [item["Key"] for item in kept] == ["hidden", "stays"]
    assert refused(aws.s3.get_object, Bucket="deletions", Key="hidden") == ("NoSuchKey", 404)
    aws.s3.delete_object(Bucket="deletions", Key="hidden", VersionId=markers[0]["VersionId"])
    assert aws.read("deletions", "hidden") == b"hidden"


def test_a_deleted_bucket_is_forgotten_and_what_the_cdk_stages_never_kept(aws: Aws, before: Facts) -> None:
    assert before["not empty"] == ("BucketNotEmpty", 409)
    for name in ("deleted", "cdk-staging"):
        aws.bucket(name)
        assert aws.versions(name) == ([], [])


def test_a_large_object_lies_in_a_file_of_its_own_and_goes_with_it(aws: Aws, before: Facts) -> None:
    aws.bucket("large")
    named = {"Bucket": "large", "Key": "spans/1.parquet"}
    assert aws.read("large", "spans/1.parquet") == LARGE
    assert aws.read("large", "spans/1.parquet", Range="bytes=5-9") == LARGE[5:10]
    head = aws.s3.head_object(**named, PartNumber=2)
    assert (head["ContentLength"], head["PartsCount"]) == (7, 2)
    assert aws.s3.head_object(**named)["ETag"] == before["large"]["ETag"]
    (file,) = (aws.directory / "kept" / "contents").iterdir()
    assert file.read_bytes() == LARGE
    aws.s3.delete_object(**named, VersionId=before["large"]["VersionId"])
    assert not file.exists()


def test_retention_is_the_buckets_default_and_is_kept(aws: Aws, before: Facts) -> None:
    assert {retention["Mode"] for retention in before["locked"].values()} == {"GOVERNANCE"}
    aws.bucket("locked", ObjectLockEnabledForBucket=True)
    aws.s3.put_object_lock_configuration(Bucket="locked", ObjectLockConfiguration=LOCK)  # with objects in it
    for version in aws.versions("locked")[0]:
        named = {"Bucket": "locked", "Key": version["Key"], "VersionId": version["VersionId"]}
        assert aws.s3.get_object_retention(**named)["Retention"] == before["locked"][version["Key"]]
        assert refused(aws.s3.delete_object, **named) == ("AccessDenied", 403)
    head = aws.s3.head_object(Bucket="locked", Key="one")
    assert head["ObjectLockRetainUntilDate"] == before["locked"]["one"]["RetainUntilDate"]
    unlocked = {"Bucket": "unlocked", "Key": "one"}
    aws.bucket("unlocked")
    aws.s3.put_object(**unlocked, Body=b"1")
    assert refused(aws.s3.get_object_retention, **unlocked)[0] == "NoSuchObjectLockConfiguration"


def test_names_are_listed_in_pages_those_of_before_too(aws: Aws, before: Facts) -> None:
    aws.bucket("pages")
    aws.put("pages", "a/3", b"x")
    aws.put("pages", "b", b"x")
    pages = aws.s3.get_paginator("list_objects_v2").paginate(
        Bucket="pages", Prefix="a/", PaginationConfig={"PageSize": 2}
    )
    assert [[item["Key"] for item in page["Contents"]] for page in pages] == [["a/0", "a/1"], ["a/2", "a/3"]]


def test_of_many_writers_one_is_first(aws: Aws) -> None:
    aws.bucket("race")

    def put(number: int) -> tuple[bytes, int]:
        body = str(number).encode()
        try:
            answer = aws.put("race", "log/checkpoints/7", body, IfNoneMatch="*")
        except ClientError as error:
            answer = error.response
        return body, answer["ResponseMetadata"]["HTTPStatusCode"]

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(put, range(48)))
    written = [body for body, status in answers if status == 200]
    assert written == [aws.read("race", "log/checkpoints/7")]
    assert {status for _, status in answers} == {200, 412}
    assert len(aws.versions("race")[0]) == 1


def test_a_provider_key_put_by_hand_is_there_again(aws: Aws, before: Facts) -> None:
    assert aws.secret(before["by hand"]) == aws.secret("openai") == "sk-second"
    assert aws.secret("openai", VersionStage="AWSPREVIOUS") == "sk-first"
    assert aws.secrets.describe_secret(SecretId="openai")["Description"] == "by hand"
    assert refused(aws.secrets.describe_secret, SecretId="gone-for-good")[0] == "ResourceNotFoundException"
    aws.secrets.restore_secret(SecretId="gone-next-week")
    assert aws.secret("gone-next-week") == "gone-next-week"


def test_a_stacks_key_is_the_same_after_a_restart_and_a_new_one_after_destroy(aws: Aws, before: Facts) -> None:
    resources = {"Made": secret("made"), "Put": secret("put"), "Said": SAID}
    assert aws.deploy("keys", **resources) == "CREATE_COMPLETE"
    assert len(bytes.fromhex(before["made"])) == 32
    assert aws.secret("made") == aws.secret(before["arn"]) == before["made"]
    assert aws.secret("put") == "by hand"
    assert aws.secret("said") == "of the template"
    assert aws.destroy("keys") == "DELETE_COMPLETE"
    assert aws.deploy("keys", **resources) == "CREATE_COMPLETE"
    assert before["made"] != aws.secret("made") != aws.secret("put") != "by hand"


def test_a_failed_deployment_after_a_restart_takes_no_data_with_it(aws: Aws, before: Facts) -> None:
    resources = {"Key": secret("data-key"), "Bucket": bucket("data")}
    broken = {**BROKEN, "DependsOn": ["Key", "Bucket"]}
    assert aws.deploy("data", **resources, Broken=broken) == "ROLLBACK_COMPLETE"
    assert "data" not in [found["Name"] for found in aws.s3.list_buckets()["Buckets"]]
    assert refused(aws.secrets.describe_secret, SecretId="data-key")[0] == "ResourceNotFoundException"
    assert aws.destroy("data") == "DELETE_COMPLETE"
    assert aws.deploy("data", **resources) == "CREATE_COMPLETE"
    assert (aws.secret("data-key"), aws.read("data", "one")) == (before["data"], b"1")
    # Not so where the deletion is meant: as on AWS a bucket with objects in it stays.
    assert aws.destroy("data") == "DELETE_FAILED"
    assert aws.read("data", "one") == b"1"


def test_a_retained_bucket_and_secret_outlive_their_stack(aws: Aws, before: Facts) -> None:
    assert before["destroyed"] == "DELETE_COMPLETE"
    assert aws.deploy("retained", **RETAINED) == "CREATE_COMPLETE"
    assert (aws.secret("retained-key"), aws.read("retained", "one")) == (before["retained"], b"1")


def test_what_cannot_be_written_is_not_answered_and_not_there(aws: Aws) -> None:
    aws.bucket("full")
    aws.put("full", "one", b"before")
    contents = aws.directory / "kept" / "contents"
    aside = contents.rename(contents.with_name("aside"))
    try:
        for key in ("one", "two"):
            assert refused(aws.put, bucket="full", key=key, body=b"x" * 300_000)[1] == 500
    finally:
        aside.rename(contents)
    assert aws.read("full", "one") == b"before"
    assert [version["Key"] for version in aws.versions("full")[0]] == ["one"]


def test_nobody_else_can_read_them(aws: Aws) -> None:
    aws.bucket("private")
    aws.put("private", "large", b"x" * 300_000)
    kept = aws.directory / "kept"
    modes = {path: (path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in [kept, *kept.rglob("*")]}
    assert set(modes.values()) == {(True, 0o700), (False, 0o600)}
