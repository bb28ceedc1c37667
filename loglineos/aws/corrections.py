"""Where moto is wrong about a service in a way that a deployment or the ledger notices. Each with the reason."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

from moto.core.common_types import TYPE_RESPONSE
from moto.iam.access_control import PermissionResult
from moto.s3.exceptions import InvalidBucketState
from moto.s3.models import FakeBucket, FakeKey, S3Backend
from moto.s3.responses import S3Response

_ONE_AT_A_TIME = ("get_object", "put_object", "delete_object")
_one = threading.RLock()


def install() -> None:
    # moto applies bucket policies without looking at their Conditions: "deny what is not TLS" would deny
    # everything. Here policies are kept and shown, not enforced, as all of IAM.
    FakeBucket.get_permission = lambda *_: PermissionResult.NEUTRAL  # type: ignore[method-assign]
    # S3 takes the destination of access logs before its policy allows them; a template has that order.
    FakeBucket._log_permissions_enabled_policy = staticmethod(  # type: ignore[assignment]
        lambda **_: True
    )
    # S3 delivers access logs hours later; moto at once, so that a bucket of logs could never be deleted again.
    S3Backend.log_incoming_request = lambda *_: None  # type: ignore[method-assign]
    S3Backend.put_object_lock_configuration = _lock_bucket  # type: ignore[method-assign]
    _retain_by_default()
    objects_one_at_a_time()


def _lock_bucket(
    self: S3Backend,
    bucket_name: str,
    lock_enabled: bool,
    mode: str | None = None,
    days: int | None = None,
    years: int | None = None,
) -> None:
    """As moto's, which refuses a bucket with objects in it: S3 does not, and one that is taken over has some."""
    bucket = self.get_bucket(bucket_name)
    if not bucket.is_versioned:
        raise InvalidBucketState("Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration")
    bucket.object_lock_enabled = bucket.object_lock_enabled or lock_enabled
    bucket.default_lock_mode, bucket.default_lock_days, bucket.default_lock_years = mode, days, years


def _retain_by_default() -> None:
    """The bucket's default retention holds for objects uploaded in parts too; moto forgets them."""
    put = S3Backend.put_object

    def put_object(self: S3Backend, bucket_name: str, *arguments: Any, **named: Any) -> FakeKey:
        bucket = self.get_bucket(bucket_name)
        if bucket.has_default_lock and not named.get("lock_mode"):
            named |= {"lock_mode": bucket.default_lock_mode, "lock_until": bucket.default_retention()}
        return put(self, bucket_name, *arguments, **named)

    S3Backend.put_object = put_object  # type: ignore[method-assign]


def objects_one_at_a_time() -> None:
    """S3 decides `If-None-Match: *` and the write as one, and a reader has one version or the other.

    Moto looks first and writes later, and closes what it replaces under whoever reads it; each in a thread. To call
    it again changes nothing.
    """
    for name in _ONE_AT_A_TIME:
        answer = getattr(S3Response, name)
        setattr(S3Response, name, _alone(getattr(answer, "__wrapped__", answer)))


def _alone(answer: Callable[[S3Response], TYPE_RESPONSE]) -> Callable[[S3Response], TYPE_RESPONSE]:
    @wraps(answer)
    def alone(self: S3Response) -> TYPE_RESPONSE:
        with _one:
            return answer(self)

    return alone
