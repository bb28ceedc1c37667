"""What the notary is given: the log's name and place, the key that signs, and the keys that signed before."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from nacl.signing import SigningKey

from ledger.connection import Target
from ledger.errors import InvalidInput, LedgerError, Misconfigured
from ledger.keys import KeyRing, Use
from ledger.proof import parse_public_keys, parse_signing_key, public_key_of
from ledger.read import cursor_of
from ledger.secret import read_secret
from ledger.span import Span
from ledger.storage import Storage, storage_at
from tlog.note import NoteKey, is_key_name

from .. import targets

LOG: Final = "log"  # within the archive's storage
_HEX_KEY: Final = re.compile("[0-9a-f]{64}")


class SealingRefused(LedgerError):
    """The ledger, its log or their keys are not what they have to be. Nothing was signed."""

    code = "sealing_refused"


@dataclass(frozen=True)
class Settings:
    """Of one notary. `spans` is where it reads, `appends` where it appends: one database, by two logins. `reports` may
    be its replica."""

    origin: str
    key: SigningKey = field(repr=False)
    storage: Storage
    spans: Target
    appends: Target
    reports: Target
    roots: Mapping[Use, frozenset[str]]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """From the variables of db-deploy. Raises Misconfigured."""
        origin = environment.get("LOG_ORIGIN", "")
        if not is_key_name(origin):
            raise Misconfigured(f"LOG_ORIGIN must name the log, without spaces and +, not {origin!r:.100}")
        location = environment.get("ARCHIVE_LOCATION", "")
        if not location:
            raise Misconfigured("ARCHIVE_LOCATION must say where the log is: s3://bucket, or a folder")
        private = read_secret("CHECKPOINT_KEY", environment)
        if private is None:
            raise Misconfigured(
                "CHECKPOINT_KEY_HEX, _FILE or _SECRET must hold the key that signs checkpoints: loglineos-db-deploy"
                " has it, loglineos-db-migration has not"
            )
        key = parse_signing_key(private, "CHECKPOINT_KEY")
        before = keys_before(environment.get("CHECKPOINT_KEYS_BEFORE", ""), origin)
        return cls(
            origin=origin,
            key=key,
            storage=storage_at(f"{location.rstrip('/')}/{LOG}"),
            spans=targets.ledger(environment),
            appends=Target.from_environment(environment, role="lambda_exec", prefix="LAMBDA_EXEC_"),
            reports=targets.reports(environment),
            roots={
                "row": parse_public_keys(environment.get("TRUSTED_ROW_KEYS", ""), "TRUSTED_ROW_KEYS"),
                "checkpoint": before | {public_key_of(key)},
            },
        )

    @staticmethod
    def advice(ring: KeyRing, span: Span) -> str:
        """What to do about a span of the log's that does not count."""
        known = ring.keys.get(span.public_key or "")
        if known is not None and known.retired_at is not None and not known.counts_at(cursor_of(span)):
            return (
                "The key was retired from a checkpoint on that it signed itself, and a retirement is never taken back:"
                " what is sealed goes on to be provable, but this log is neither rebuilt nor archived any more. Keep"
                " it, and begin another (docs/keys.md, Retirement)"
            )
        return "If its key was the notary's before, list it in CHECKPOINT_KEYS_BEFORE; else run `loglineos fsck`"

    @property
    def public_key(self) -> NoteKey:
        """What an auditor checks checkpoints with."""
        return NoteKey(self.origin, bytes(self.key.verify_key))

    def keys(self, manifests: list[Span]) -> KeyRing:
        """The keys whose checkpoints count: ours, those before it, those that the manifest announces.

        Raises:
            SealingRefused: the manifest has retired the key that we sign with.
        """
        ring = KeyRing.build(self.roots, manifests)
        known = ring.keys[public_key_of(self.key)]
        if known.use != "checkpoint" or known.retired_at is not None:
            raise SealingRefused(
                f"the manifest has retired the checkpoint key {known.public_key[:16]}…: give the notary the key that"
                " follows it (`loglineos keys list`)"
            )
        return ring


def keys_before(text: str, origin: str) -> frozenset[str]:
    """Public keys in hex, from hex or verification keys."""
    found = set()
    for part in (part.strip() for part in text.split(",") if part.strip()):
        if _HEX_KEY.fullmatch(part):
            found.add(part)
            continue
        try:
            key = NoteKey.parse(part, "CHECKPOINT_KEYS_BEFORE")
        except InvalidInput as error:
            raise Misconfigured(f"{error.message}, or 64 hex digits") from None
        if key.name != origin:
            raise Misconfigured(f"CHECKPOINT_KEYS_BEFORE: {key.name} is another log's key; this one is {origin}")
        found.add(key.public_key.hex())
    return frozenset(found)
