"""S3's objects on the disk: written as they are put, there again when their bucket is created again.

A request that changes a key holds that key: what is answered is on the disk, and a condition (`If-None-Match`)
that was true is still true when the object is written.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from moto.s3.models import FakeBucket, FakeDeleteMarker, FakeKey, S3Backend
from moto.s3.responses import S3Response

from .spared import spared
from .store import Store, Version
from .versions import KeptKey, described, restored, settle

# What the CDK stages is staged again by the next deployment.
_PASSING = "cdk-"


class Objects:
    """Keeps moto's buckets and the store the same."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: weakref.WeakValueDictionary[tuple[str, str], Any] = weakref.WeakValueDictionary()
        self._guard = threading.Lock()

    def hold(self, bucket: str, key: str) -> Any:
        """The lock of one key."""
        with self._guard:
            lock = self._held.get((bucket, key))
            if lock is None:
                lock = self._held[bucket, key] = threading.Lock()
            return lock

    def take_over(self, backend: S3Backend, bucket: FakeBucket) -> None:
        """A bucket has been created: what a bucket of this name held is in it."""
        for name, versions in self._store.objects(bucket.name).items():
            dict.__setitem__(bucket.keys, name, restored(self._store, backend, bucket, name, versions))

    def save(self, backend: S3Backend, bucket: FakeBucket, name: str) -> None:
        """Whoever calls holds the key. If it cannot be written, the key is as it was before."""
        held = list(bucket.keys.getlist(name, []))
        try:
            rows = self._store.put(bucket.name, name, [_version(backend, item) for item in held])
        except BaseException:
            self._reload(backend, bucket, name)
            raise
        for item, row in zip(held, rows, strict=True):
            if isinstance(item, FakeDeleteMarker):
                vars(item)["kept_row"] = row
            elif not isinstance(item, KeptKey):
                settle(self._store, item, row)

    def save_all(self, backend: S3Backend, bucket: FakeBucket) -> None:
        """After a request that may have changed any keys of the bucket."""
        kept = self._store.rows(bucket.name)
        for name in {*kept, *bucket.keys}:
            held = {vars(item).get("kept_row") for item in bucket.keys.getlist(name, [])}
            if held != kept.get(name, set()):
                with self.hold(bucket.name, name):
                    self.save(backend, bucket, name)

    def forget(self, name: str) -> None:
        self._store.forget_bucket(name)

    def _reload(self, backend: S3Backend, bucket: FakeBucket, name: str) -> None:
        versions = self._store.versions(bucket.name, name)
        if versions:
            dict.__setitem__(bucket.keys, name, restored(self._store, backend, bucket, name, versions))
        else:
            dict.pop(bucket.keys, name, None)


def _version(backend: S3Backend, item: FakeKey | FakeDeleteMarker) -> Version:
    row = vars(item).get("kept_row")
    content: Any = item._value_buffer if row is None and isinstance(item, FakeKey) else None
    return Version(described(backend, item), row, content)


def install(store: Store) -> None:
    """Put the store behind moto's S3."""
    objects = Objects(store)
    _wrap_buckets(objects)
    _wrap_key_requests(objects)
    _wrap_bucket_requests(objects)


def _wrap_buckets(objects: Objects) -> None:
    create, delete = S3Backend.create_bucket, S3Backend.delete_bucket

    def created(self: S3Backend, bucket_name: str, *arguments: Any, **named: Any) -> FakeBucket:
        bucket = create(self, bucket_name, *arguments, **named)
        if _lasts(bucket_name):
            objects.take_over(self, bucket)
        return bucket

    def deleted(self: S3Backend, bucket_name: str) -> FakeBucket | None:
        if spared(bucket_name):  # it is created again with what it holds
            self.get_bucket(bucket_name).keys.clear()
        gone = delete(self, bucket_name)
        if gone is not None and not spared(bucket_name):
            objects.forget(bucket_name)
        return gone

    S3Backend.create_bucket = created  # type: ignore[method-assign]
    S3Backend.delete_bucket = deleted  # type: ignore[method-assign]


def _wrap_key_requests(objects: Objects) -> None:
    answer: Callable[..., Any] = S3Response._key_response

    def answered(self: S3Response, request: Any, full_url: str) -> Any:
        bucket = self.backend.buckets.get(self.bucket_name)
        if bucket is None or not _changes(request.method, full_url):
            return answer(self, request, full_url)
        name = self.parse_key_name()
        with objects.hold(bucket.name, name):
            try:
                return answer(self, request, full_url)
            finally:  # also after a refusal: moto may have made the object by then
                if _lasts(bucket.name):
                    objects.save(self.backend, bucket, name)

    S3Response._key_response = answered  # type: ignore[method-assign]


def _wrap_bucket_requests(objects: Objects) -> None:
    answer: Callable[..., Any] = S3Response._bucket_response

    def answered(self: S3Response, request: Any, full_url: str) -> Any:
        try:
            return answer(self, request, full_url)
        finally:  # DeleteObjects, or a form with a file
            bucket = self.backend.buckets.get(self.bucket_name)
            if bucket is not None and request.method == "POST" and _lasts(bucket.name):
                objects.save_all(self.backend, bucket)

    S3Response._bucket_response = answered  # type: ignore[method-assign]


def _changes(method: str, url: str) -> bool:
    return method not in ("GET", "HEAD", "OPTIONS") and "partNumber" not in parse_qs(urlsplit(url).query)


def _lasts(bucket: str) -> bool:
    return not bucket.startswith(_PASSING)
