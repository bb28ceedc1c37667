"""Who calls: an enrolled device says so by a JWT that it signed itself (docs/decisions/0020-device-tokens.md)."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, LiteralString
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ledger.database import Database, Identity
from ledger.errors import LedgerError

from ..deadline import Deadline

MAX_TOKEN: Final = 4096  # characters
LEEWAY_S: Final = 30  # by how much a device's clock may be wrong
LIFETIME_S: Final = 600
CLOCKS_S: Final = 300  # a used token is kept longer than it lives: the database has a clock of its own
_ALGORITHM: Final = "EdDSA"
_UUID: Final = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")
_JTI: Final = re.compile(r"[\x21-\x7e]{1,128}")
_DEVICE: Final[LiteralString] = "SELECT * FROM ledger.device_for_token(%s)"
_USE: Final[LiteralString] = "SELECT ledger.use_token(%s, %s, %s) AS first"


class Unauthenticated(LedgerError):
    """The caller has not proved who they are. Whatever is wrong, they are told the same; `reason` is for operators."""

    code = "unauthenticated"

    def __init__(self, reason: str, device_id: UUID | None = None) -> None:
        super().__init__("No valid token: sign one with the key of an enrolled device")
        self.reason = reason
        self.device_id = device_id


@dataclass(frozen=True)
class Caller:
    """A device whose token verifies. User, tenant and scopes are the ledger's word, never the token's."""

    device_id: UUID
    identity: Identity
    scopes: frozenset[str]
    jti: str
    expires_at: datetime


def caller_of(database: Database, authorization: str | None, audience: str, deadline: Deadline) -> Caller:
    """Who signed the token of an `Authorization: Bearer` header. Raises Unauthenticated."""
    token = _bearer(authorization)
    device_id = _device_id(token)
    database.wait_until_reachable(deadline.at)  # for nobody who shows no token
    rows = database.query(None, _DEVICE, [device_id])
    if not rows:
        raise Unauthenticated("unknown device")
    device = rows[0]
    claims = _claims(token, device["pubkey"], audience, device_id)
    # After the signature: who does not hold the key learns nothing of the device, not even by the time it takes.
    if device["status"] != "active" or device["app_status"] != "active":
        raise Unauthenticated("revoked", device_id)
    return Caller(
        device_id=device_id,
        identity=Identity(device["user_id"], device["tenant_id"]),
        scopes=frozenset(device["scopes"] or []),
        jti=claims["jti"],
        expires_at=datetime.fromtimestamp(int(claims["exp"]) + LEEWAY_S + CLOCKS_S, UTC),
    )


def use_once(database: Database, caller: Caller) -> None:
    """A token changes something once. Raises Unauthenticated for one that was used already."""
    (row,) = database.query(None, _USE, [caller.device_id, caller.jti, caller.expires_at])
    if not row["first"]:
        raise Unauthenticated("replayed", caller.device_id)


def _bearer(authorization: str | None) -> str:
    if not authorization:
        raise Unauthenticated("missing")
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not 0 < len(token) <= MAX_TOKEN:
        raise Unauthenticated("malformed")
    return token


def _device_id(token: str) -> UUID:
    """The header's `kid`, where the header says EdDSA: what decides how a key is used is never up to the token."""
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise Unauthenticated("malformed") from None
    if header.get("alg") != _ALGORITHM:
        raise Unauthenticated("wrong algorithm")
    kid = header.get("kid")
    if not isinstance(kid, str) or not _UUID.fullmatch(kid):
        raise Unauthenticated("unknown device")
    return UUID(kid)


# What a failure is called in the audit span; of a subclass before its base.
_REASONS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (jwt.ExpiredSignatureError, "expired"),
    (jwt.ImmatureSignatureError, "not yet valid"),
    (jwt.InvalidAudienceError, "wrong audience"),
    (jwt.MissingRequiredClaimError, "missing claim"),
    (jwt.InvalidAlgorithmError, "wrong algorithm"),
    (jwt.InvalidSignatureError, "wrong signature"),
)


def _claims(token: str, pubkey: str, audience: str, device_id: UUID) -> dict[str, Any]:
    try:
        claims = jwt.decode(
            token,
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(pubkey)),
            algorithms=[_ALGORITHM],
            audience=audience,
            leeway=LEEWAY_S,
            options={"require": ["exp", "iat", "jti", "aud"]},
        )
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        reason = next((name for kind, name in _REASONS if isinstance(error, kind)), "malformed")
        raise Unauthenticated(reason, device_id) from None
    if int(claims["exp"]) > time.time() + LIFETIME_S + LEEWAY_S:
        raise Unauthenticated("valid for too long", device_id)
    if not _JTI.fullmatch(claims["jti"]):
        raise Unauthenticated("malformed", device_id)
    return claims
