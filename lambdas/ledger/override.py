"""Runs over quota that the holder of the override key allows: `metadata.force` (kernels.md, run_code_kernel)."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from .canonical import canonical_bytes

_PREFIX = b"loglineos/force/v1\n"


def sign_override(key: SigningKey, *, tenant_id: str, function_id: UUID, request_id: UUID, expires_at: str) -> str:
    """The signature of `metadata.force`, in hex: it allows one run of one function, until `expires_at` (RFC 3339)."""
    return key.sign(_message(tenant_id, function_id, request_id, expires_at)).signature.hex()


def override_problem(
    public_key: str | None,
    signature: str,
    *,
    tenant_id: str,
    function_id: UUID,
    request_id: UUID | None,
    expires_at: str,
    now: datetime,
) -> str | None:
    """Why the override does not hold; None if it does. `public_key` is the manifest's `override_pubkey_hex`."""
    if not public_key:
        return "the manifest names no override key (override_pubkey_hex)"
    if request_id is None:
        return "it is bound to a request_id, and this run has none"
    try:
        if datetime.fromisoformat(expires_at) <= now:
            return "it has expired"
    except (ValueError, TypeError):
        return "expires_at is no RFC 3339 time with offset"
    try:
        message = _message(tenant_id, function_id, request_id, expires_at)
        VerifyKey(bytes.fromhex(public_key)).verify(message, bytes.fromhex(signature))
    except (BadSignatureError, ValueError):
        return "its signature is not the override key's, for this tenant, function, request_id and expires_at"
    return None


def _message(tenant_id: str, function_id: UUID, request_id: UUID, expires_at: str) -> bytes:
    names = {"tenant_id": tenant_id, "function_id": str(function_id), "request_id": str(request_id)}
    return _PREFIX + canonical_bytes({**names, "expires_at": expires_at})
