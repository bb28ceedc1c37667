"""Files that are written once, in a folder and in a bucket: the same promises, also to several writers at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws

from ledger.errors import Misconfigured
from ledger.storage import Folder, ObjectDiffers, Storage, StorageUnavailable, storage_at
from loglineos.aws import corrections


@pytest.fixture(params=["folder", "bucket", "bucket with a prefix"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    if request.param == "folder":
        yield storage_at(str(tmp_path / "deep" / "archive"))
        return
    for name, value in {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        corrections.objects_one_at_a_time()
        client = boto3.client("s3")
        client.create_bucket(Bucket="archive")
        yield storage_at("s3://archive/a/log" if "prefix" in request.param else "s3://archive", client)


def test_what_is_written_is_read(storage: Storage) -> None:
    assert storage.read("tile/0/000") is None
    storage.add("tile/0/000", b"\x00first")
    assert storage.read("tile/0/000") == b"\x00first"
    storage.add("empty", b"")
    assert storage.read("empty") == b""


def test_several_are_read_at_once(storage: Storage) -> None:
    storage.add_all([(f"log/{n}", bytes([n])) for n in range(20)])
    names = ["log/none", *(f"log/{n}" for n in range(20))]
    assert storage.read_all(iter(names)) == {"log/none": None, **{f"log/{n}": bytes([n]) for n in range(20)}}


def test_a_file_is_written_once(storage: Storage) -> None:
    storage.add("one", b"first")
    storage.add("one", b"first")
    with pytest.raises(ObjectDiffers, match="may not be changed") as caught:
        storage.add("one", b"second")
    assert caught.value.details["name"] == "one"
    with pytest.raises(ObjectDiffers):
        storage.add_all([("two", b"2"), ("one", b"third")])
    assert storage.read("one") == b"first"


def test_a_large_file_from_disk(storage: Storage, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(3_000_000))
    storage.add_file("spans/large", path)
    assert storage.read("spans/large") == path.read_bytes()
    assert storage.fetch("spans/large", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == path.read_bytes()
    assert not storage.fetch("spans/none", tmp_path / "none")
    storage.add_file("spans/large", path)
    path.write_bytes(b"other")
    with pytest.raises(ObjectDiffers):
        storage.add_file("spans/large", path)


def test_a_file_is_replaced(storage: Storage) -> None:
    storage.replace("checkpoint", b"first")
    storage.replace("checkpoint", b"second")
    assert storage.read("checkpoint") == b"second"


def test_names_come_in_order_and_by_prefix(storage: Storage) -> None:
    names = ["a", "a-b", "a/1", "a/2/3", "a/2.p/4", "a/20", "a0", "b/1", "ä"]
    storage.add_all([(name, name.encode()) for name in names if name not in ("a", "a/2")])
    there = sorted(set(names) - {"a"})
    assert list(storage.names("")) == there
    for prefix in ("a", "a/", "a/2", "a/2/", "a/2/3", "b", "c", "a/2/3/4", "ä"):
        assert list(storage.names(prefix)) == [name for name in there if name.startswith(prefix)], prefix


def test_of_many_writers_one_wins(storage: Storage) -> None:
    writers, began = 8, threading.Barrier(8)

    def write(number: int) -> bool:
        began.wait()
        try:
            storage.add("checkpoints/1", f"writer {number}".encode())
        except ObjectDiffers:
            return False
        return True

    with ThreadPoolExecutor(writers) as pool:
        won = list(pool.map(write, range(writers)))
    assert won.count(True) == 1
    assert storage.read("checkpoints/1") == f"writer {won.index(True)}".encode()
    assert list(storage.names("")) == ["checkpoints/1"]


def test_a_reader_sees_whole_files_only(storage: Storage) -> None:
    contents = [bytes([65 + number]) * 200_000 for number in range(4)]
    storage.replace("checkpoint", contents[0])
    seen: list[Any] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(storage.read("checkpoint"))

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        try:
            for number in range(20):
                storage.replace("checkpoint", contents[number % 4])
        finally:
            done.set()
        reading.result()
    assert seen
    assert all(one in contents for one in seen)


def test_what_a_dead_writer_left_is_no_file(tmp_path: Path) -> None:
    storage = Folder(tmp_path)
    storage.add("tile/0/000", b"whole")
    (tmp_path / "tile/0/tmpabc.half").write_bytes(b"ha")
    assert list(storage.names("")) == ["tile/0/000"]


def test_names_look_only_where_they_must(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Folder(tmp_path)
    storage.add_all([(f"{folder}/{n}", b"") for folder in ("checkpoints", "tile/0", "tile/entries") for n in range(3)])
    looked: list[str] = []
    scandir = os.scandir

    def watched(path: Path) -> Any:
        looked.append(str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", watched)
    assert len(list(storage.names("checkpoints/"))) == 3
    assert looked == [str(tmp_path / "checkpoints")]


@pytest.mark.parametrize("location", ["", "ftp://host/log", "s3://", "http://example.com"])
def test_a_location_that_is_none(location: str) -> None:
    with pytest.raises(Misconfigured, match="s3://bucket/prefix"):
        storage_at(location)


def test_how_a_storage_names_itself() -> None:
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        assert str(storage_at("s3://bucket/a/b/", client)) == "s3://bucket/a/b"
        assert str(storage_at("s3://bucket", client)) == "s3://bucket"
    assert str(storage_at("some/folder")) == "some/folder"


ASKED: list[Callable[[Storage], Any]] = [
    lambda storage: storage.read("a"),
    lambda storage: storage.add("a", b"b"),
    lambda storage: storage.replace("a", b"b"),
    lambda storage: list(storage.names("a")),
]


@pytest.mark.parametrize("ask", ASKED)
def test_a_bucket_that_is_not_there_is_named(ask: Callable[[Storage], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws(), pytest.raises(StorageUnavailable, match="s3://nowhere/log: The specified bucket does not exist"):
        ask(storage_at("s3://nowhere/log", boto3.client("s3", region_name="us-east-1")))


def test_without_credentials_it_says_to_sign_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    client = boto3.session.Session().client("s3")
    with pytest.raises(StorageUnavailable, match=r"Unable to locate credentials\. Sign in to AWS"):
        storage_at("s3://archive/log", client).read("a")


def test_what_is_not_allowed_is_said() -> None:
    client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    with Stubber(client) as stub:
        stub.add_client_error("get_object", "AccessDenied", "Access Denied", 403)
        with pytest.raises(StorageUnavailable, match=r"Access Denied\. May these AWS credentials do that"):
            storage_at("s3://archive/log", client).read("a")
