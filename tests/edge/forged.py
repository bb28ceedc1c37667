"""Tokens that must not get in: how each is made."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any, Final
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from nacl.signing import SigningKey

from stage0_loader.edge.token import LEEWAY_S, LIFETIME_S, MAX_TOKEN
from tests.edge.kit import Device

STRANGER: Final = SigningKey(b"k" * 32)
Forge = Callable[[Device], str]


def b64(value: Any) -> str:
    """A part of a token."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def claims(**changes: Any) -> dict[str, Any]:
    """What a token has to say."""
    now = int(time.time())
    return {"aud": "loglineos", "iat": now, "exp": now + 300, "jti": uuid4().hex, **changes}


def signed(device: Device, header: Any, payload: Any) -> str:
    """Any header and payload, signed by the device's key."""
    text = f"{b64(header)}.{b64(payload)}"
    return f"{text}.{b64(device.key.sign(text.encode()).signature)}"


def head(device: Device, **changes: Any) -> dict[str, Any]:
    """A token's header."""
    return {"alg": "EdDSA", "typ": "JWT", "kid": device.device_id, **changes}


def hs256(device: Device, secret: bytes) -> str:
    """HS256 with what is public as the secret, which a careless library takes for the key."""
    text = f"{b64(head(device, alg='HS256'))}.{b64(claims())}"
    return f"{text}.{b64(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"


def other_key(device: Device) -> str:
    """Signed by another key in the device's name."""
    return Device(**{**vars(device), "key": SigningKey.generate()}).token()


def changed_payload(device: Device) -> str:
    """A valid signature over something else."""
    header, _, signature = device.token().split(".")
    return f"{header}.{b64(claims())}.{signature}"


def rs256(device: Device) -> str:
    """Another algorithm, with a key of its own."""
    return jwt.encode(claims(), generate_private_key(65537, 2048), "RS256", {"kid": device.device_id})


def ed448(device: Device) -> str:
    """The same name of an algorithm, another curve."""
    return jwt.encode(claims(), Ed448PrivateKey.generate(), "EdDSA", {"kid": device.device_id})


def at(**offsets: int) -> Forge:
    """Claims of time, in seconds from now."""

    def forge(device: Device) -> str:
        changes: dict[str, Any] = {name: int(time.time()) + offset for name, offset in offsets.items()}
        return device.token(**changes)

    return forge


# What is wrong with it: the token, the reason for operators, and whether it is known whose it says it is.
ATTACKS: Final[dict[str, tuple[Forge, str, bool]]] = {
    "not a JWT": (lambda d: "let-me-in", "malformed", False),
    "two parts": (lambda d: d.token().rpartition(".")[0], "malformed", False),
    "four parts": (lambda d: d.token() + ".x", "malformed", False),
    "no base64": (lambda d: "%%%.%%%.%%%", "malformed", False),
    "not ASCII": (lambda d: "é.é.é", "malformed", False),
    "header is a list": (lambda d: signed(d, ["EdDSA"], claims()), "malformed", False),
    "header is deep": (lambda d: signed(d, b"[" * 2000, claims()), "malformed", False),
    "too long": (lambda d: d.token(note="x" * MAX_TOKEN), "malformed", False),
    "alg none": (lambda d: f"{b64(head(d, alg='none'))}.{b64(claims())}.", "wrong algorithm", False),
    "alg None": (lambda d: signed(d, head(d, alg=None), claims()), "wrong algorithm", False),
    "alg in lower case": (lambda d: signed(d, head(d, alg="eddsa"), claims()), "wrong algorithm", False),
    "HS256 with the key": (lambda d: hs256(d, bytes(d.key.verify_key)), "wrong algorithm", False),
    "HS256 with the key's hex": (lambda d: hs256(d, bytes(d.key.verify_key).hex().encode()), "wrong algorithm", False),
    "RS256": (rs256, "wrong algorithm", False),
    "Ed448": (ed448, "wrong signature", True),
    "no kid": (lambda d: signed(d, {"alg": "EdDSA"}, claims()), "unknown device", False),
    "kid is a number": (lambda d: signed(d, head(d, kid=7), claims()), "malformed", False),
    "unknown kid": (lambda d: signed(d, head(d, kid=str(uuid4())), claims()), "unknown device", False),
    "kid of an app": (lambda d: signed(d, head(d, kid=d.app_id), claims()), "unknown device", False),
    "kid of the manifest": (
        lambda d: signed(d, head(d, kid="00000000-0000-4000-8000-000000000201"), claims()),
        "unknown device",
        False,
    ),
    "kid is SQL": (lambda d: signed(d, head(d, kid="' OR true --"), claims()), "unknown device", False),
    "kid in capitals": (lambda d: signed(d, head(d, kid=d.device_id.upper()), claims()), "unknown device", False),
    "a key in the header": (
        lambda d: jwt.encode(
            claims(),
            Ed25519PrivateKey.from_private_bytes(b"k" * 32),
            "EdDSA",
            {"kid": d.device_id, "jwk": {"kty": "OKP", "crv": "Ed25519", "x": b64(bytes(STRANGER.verify_key))}},
        ),
        "wrong signature",
        True,
    ),
    "another key": (other_key, "wrong signature", True),
    "changed payload": (changed_payload, "wrong signature", True),
    "no signature": (lambda d: d.token().rpartition(".")[0] + ".", "wrong signature", True),
    "expired": (at(iat=-600, exp=-LEEWAY_S - 5), "expired", True),
    "iat in the future": (at(iat=LEEWAY_S + 60), "not yet valid", True),
    "nbf in the future": (at(nbf=LEEWAY_S + 60), "not yet valid", True),
    "valid for too long": (at(exp=LIFETIME_S + LEEWAY_S + 60), "valid for too long", True),
    "valid for ever": (lambda d: d.token(exp=10**300), "valid for too long", True),
    "exp is infinite": (lambda d: signed(d, head(d), b'{"exp": 1e999}'), "missing claim", True),
    "exp is infinite, with all claims": (
        lambda d: signed(d, head(d), json.dumps(claims(exp=0)).replace('"exp": 0', '"exp": 1e999').encode()),
        "malformed",
        True,
    ),
    "exp is text": (lambda d: d.token(exp="soon"), "malformed", True),
    "no exp": (lambda d: d.token(exp=None), "missing claim", True),
    "no iat": (lambda d: d.token(iat=None), "missing claim", True),
    "no jti": (lambda d: d.token(jti=None), "missing claim", True),
    "no aud": (lambda d: d.token(aud=None), "missing claim", True),
    "another aud": (lambda d: d.token(aud="billing"), "wrong audience", True),
    "aud is a number": (lambda d: signed(d, head(d), claims(aud=7)), "wrong audience", True),
    "jti is a number": (lambda d: signed(d, head(d), claims(jti=7)), "malformed", True),
    "jti is empty": (lambda d: d.token(jti=""), "malformed", True),
    "jti is long": (lambda d: d.token(jti="x" * 129), "malformed", True),
    "jti has a NUL": (lambda d: d.token(jti="a\0b"), "malformed", True),
    "payload is a list": (lambda d: signed(d, head(d), [1]), "malformed", True),
    "payload is deep": (lambda d: signed(d, head(d), b"[" * 2000), "malformed", True),
    "payload is no UTF-8": (lambda d: signed(d, head(d), b'{"jti": "\xff"}'), "malformed", True),
}
