"""Where moto is wrong about a service in a way that a deployment notices. Each with the reason."""

from __future__ import annotations

from moto.iam.access_control import PermissionResult
from moto.s3.models import FakeBucket, S3Backend


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
