"""Where files beside the ledger are kept: a folder, or an S3 bucket. Most are written once and never changed."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol
from urllib.parse import urlsplit

from .errors import LedgerError, Misconfigured

HALF: Final = ".half"  # the end of the name that a file has while it is written
_AT_ONCE: Final = 8
_CHUNK: Final = 1024 * 1024
_SIGN_IN: Final = "Sign in to AWS as one who may, or source the environment's settings (.local/env of a local stack)"


class ObjectDiffers(LedgerError):
    """A file that is written once is there already, with other content."""

    code = "object_differs"


class StorageUnavailable(LedgerError):
    """A bucket cannot be reached, or does not let us; the message says which, and what to do."""

    code = "storage_unavailable"


class Storage(Protocol):
    """Files by their names, which are relative paths with `/`. As text: where it is.

    Every method of a bucket's raises StorageUnavailable; a folder's errors are OSError.
    """

    def read(self, name: str) -> bytes | None:
        """The file's content, None where there is no such file."""

    def read_all(self, names: Iterable[str]) -> dict[str, bytes | None]:
        """`read` for several at once, all of which fit into memory."""

    def fetch(self, name: str, path: Path) -> bool:
        """Copy the file to `path`, however large it is. False where there is no such file."""

    def add(self, name: str, data: bytes) -> None:
        """Write a file that is never changed. The same again is fine. Raises ObjectDiffers."""

    def add_all(self, files: Iterable[tuple[str, bytes]]) -> None:
        """`add` for several; after an error some of them may be there."""

    def add_file(self, name: str, path: Path) -> None:
        """`add` from a file on disk, however large. Raises ObjectDiffers."""

    def replace(self, name: str, data: bytes) -> None:
        """Write a file, in place of the one that is there, at once and whole."""

    def names(self, prefix: str) -> Iterator[str]:
        """The names that begin so, in order."""


class Folder:
    """Files in a folder of this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def read(self, name: str) -> bytes | None:
        """See Storage."""
        try:
            return (self.path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read_all(self, names: Iterable[str]) -> dict[str, bytes | None]:
        """See Storage."""
        return {name: self.read(name) for name in names}

    def fetch(self, name: str, path: Path) -> bool:
        """See Storage."""
        try:
            shutil.copyfile(self.path / name, path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def add(self, name: str, data: bytes) -> None:
        """See Storage."""
        half = self._half(self.path / name)
        half.write_bytes(data)
        self._keep(half, name)

    def _keep(self, half: Path, name: str) -> None:
        """Give a written file its name, unless there is one already: nothing is ever overwritten."""
        target = self.path / name
        try:
            _flush(half)
            os.link(half, target)
        except FileExistsError:
            if _digest(target) != _digest(half):
                raise _differs(name, self) from None
        finally:
            half.unlink()

    def add_all(self, files: Iterable[tuple[str, bytes]]) -> None:
        """See Storage."""
        for name, data in files:
            self.add(name, data)

    def add_file(self, name: str, path: Path) -> None:
        """See Storage."""
        half = self._half(self.path / name)
        shutil.copyfile(path, half)
        self._keep(half, name)

    def replace(self, name: str, data: bytes) -> None:
        """See Storage."""
        half = self._half(self.path / name)
        half.write_bytes(data)
        _flush(half)
        half.replace(self.path / name)

    def names(self, prefix: str) -> Iterator[str]:
        """See Storage."""
        yield from self._walk(prefix.rpartition("/")[0], prefix)

    def _walk(self, folder: str, prefix: str) -> Iterator[str]:
        """Only folders whose names can lead to it are looked into, and only when it comes to them."""
        try:
            with os.scandir(self.path / folder) as entries:
                # S3's order, which is that of whole names: a folder stands where its `/` puts it.
                found = sorted((entry.name + "/" * entry.is_dir(), entry.is_dir()) for entry in entries)
        except (FileNotFoundError, NotADirectoryError):
            return
        for last, is_folder in found:
            name = f"{folder}/{last}" if folder else last
            if is_folder and (name.startswith(prefix) or prefix.startswith(name)):
                yield from self._walk(name.rstrip("/"), prefix)
            elif not is_folder and name.startswith(prefix) and not name.endswith(HALF):
                yield name

    def _half(self, target: Path) -> Path:
        """A file beside the target, to be written before it gets the name."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, suffix=HALF, delete=False) as file:
            return Path(file.name)


class Bucket:
    """Files in an S3 bucket, under a prefix. `client` is boto3's."""

    def __init__(self, bucket: str, prefix: str = "", client: Any = None) -> None:
        import boto3  # slow to import, and only needed here

        self.bucket, self.prefix = bucket, f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        with self._asked():
            self._s3 = client or boto3.client("s3")

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def read(self, name: str) -> bytes | None:
        """See Storage."""
        with self._asked():
            try:
                return bytes(self._s3.get_object(Bucket=self.bucket, Key=self.prefix + name)["Body"].read())
            except self._s3.exceptions.NoSuchKey:
                return None

    def fetch(self, name: str, path: Path) -> bool:
        """See Storage."""
        with self._asked():
            try:
                body = self._s3.get_object(Bucket=self.bucket, Key=self.prefix + name)["Body"]
            except self._s3.exceptions.NoSuchKey:
                return False
            with path.open("wb") as file:
                for chunk in body.iter_chunks(_CHUNK):
                    file.write(chunk)
        return True

    def add(self, name: str, data: bytes) -> None:
        """See Storage."""
        if not self._added(name, data) and self.read(name) != data:
            raise _differs(name, self)

    def _added(self, name: str, body: bytes | BinaryIO) -> bool:
        """Write it, unless there is one of that name."""
        from botocore.exceptions import ClientError

        with self._asked():
            try:
                self._s3.put_object(Bucket=self.bucket, Key=self.prefix + name, Body=body, IfNoneMatch="*")
            except ClientError as error:
                # 409: another writer of the same file was at it at this moment.
                if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (409, 412):
                    raise
                return False
        return True

    def read_all(self, names: Iterable[str]) -> dict[str, bytes | None]:
        """See Storage."""
        wanted = list(names)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return dict(zip(wanted, pool.map(self.read, wanted), strict=True))

    def add_all(self, files: Iterable[tuple[str, bytes]]) -> None:
        """See Storage."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for _ in pool.map(lambda file: self.add(*file), files):
                pass

    def add_file(self, name: str, path: Path) -> None:
        """See Storage."""
        with path.open("rb") as file:
            if self._added(name, file):
                return
        with tempfile.TemporaryDirectory() as folder:
            there = Path(folder) / "there"
            if not self.fetch(name, there) or _digest(there) != _digest(path):
                raise _differs(name, self)

    def replace(self, name: str, data: bytes) -> None:
        """See Storage."""
        with self._asked():
            self._s3.put_object(Bucket=self.bucket, Key=self.prefix + name, Body=data)

    def names(self, prefix: str) -> Iterator[str]:
        """See Storage."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix + prefix)
        with self._asked():
            for page in pages:
                for found in page.get("Contents", []):
                    yield str(found["Key"]).removeprefix(self.prefix)

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """What the SDK raises, as an error that says what to do."""
        from botocore import exceptions  # slow to import

        try:
            yield
        except exceptions.ClientError as error:
            said = error.response.get("Error", {})
            raise StorageUnavailable(f"{self}: {said.get('Message', error)}. {_step(said.get('Code', ''))}") from error
        except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.ProfileNotFound) as error:
            raise StorageUnavailable(f"{self}: {error}. {_SIGN_IN}") from error
        except exceptions.BotoCoreError as error:
            raise StorageUnavailable(f"{self}: {error}. Is the network up, and AWS_ENDPOINT_URL right?") from error


def storage_at(location: str, client: Any = None) -> Storage:
    """The storage at `s3://bucket/prefix`, or in a folder. Raises Misconfigured."""
    parts = urlsplit(location)
    if parts.scheme == "s3" and parts.netloc:
        return Bucket(parts.netloc, parts.path, client)
    if parts.scheme or not location:
        raise Misconfigured(f"expected a folder, or s3://bucket/prefix; not {location!r:.100}")
    return Folder(Path(location))


def _step(code: str) -> str:
    """What to do about an error that S3 answered."""
    if code == "NoSuchBucket":
        return "Is its name right, and is this its AWS account?"
    return f"May these AWS credentials do that? {_SIGN_IN}"


def _flush(path: Path) -> None:
    """What has a name has its bytes, whatever happens to the machine."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _differs(name: str, storage: Storage) -> ObjectDiffers:
    return ObjectDiffers(f"{name} is in {storage} with other content, and may not be changed", name=name)
