"""The loader's configuration, set by the stack: it is the root of trust."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

import orjson
from nacl.signing import SigningKey

from ledger.connection import Target
from ledger.errors import Misconfigured
from ledger.keys import KeyRing
from ledger.proof import parse_public_keys
from ledger.secret import SecretMissing, read_secret

from .signing import SigningKeys

# What kernels may ask for by `ctx.secret`, and where the environment keeps it. Others are what provider spans name:
# `loglineos-openai` is LOGLINEOS_OPENAI there.
SECRETS = {"loglineos-memory-key": "MEMORY_KEY"}
_PROVIDER_SECRET = re.compile("loglineos(-[a-z0-9]+)+")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9.-]+(:[0-9]{1,5})?")  # of pages, apps and extensions


@dataclass(frozen=True)
class Settings:
    """Where the ledger is, whom to trust and what to sign with.

    `trusted_row_keys` empty: hashes alone are checked and answers say `unsigned`. `rings`: the keys that count under
    the manifest with that hash, as far as this process has met it. `minimum_seqs` keeps old,
    still validly signed versions of manifest and kernels from being brought back. `require_seccomp`: no function runs
    where the system has no seccomp filter to put around the sandbox's worker. `alarm_topic`: the ARN of the SNS topic
    that operators subscribe to, None where there is none. `audience` is what the tokens of HTTPS callers have to be
    made for, `cors_origins` whose web pages may read the answers (`*`: anybody's).
    """

    target: Target
    trusted_row_keys: frozenset[str] = frozenset()
    minimum_seqs: Mapping[UUID, int] = field(default_factory=dict)
    signing: SigningKeys = field(default_factory=SigningKeys, repr=False, compare=False)
    require_seccomp: bool = False
    alarm_topic: str | None = None
    metrics_namespace: str = "LogLineOS"
    audience: str = "loglineos"
    cors_origins: frozenset[str] = frozenset()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    rings: dict[str, KeyRing] = field(default_factory=dict, repr=False, compare=False)

    @property
    def signing_key(self) -> SigningKey | None:
        """What signs the next span, None where nothing is configured."""
        return self.signing.current()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Raises Misconfigured, naming the variable."""
        return cls(
            target=Target.from_environment(environment, role="lambda_exec"),
            trusted_row_keys=parse_public_keys(environment.get("TRUSTED_ROW_KEYS", ""), "TRUSTED_ROW_KEYS"),
            minimum_seqs=_minimum_seqs(environment.get("MINIMUM_SEQS", "")),
            signing=SigningKeys(environment),
            require_seccomp=_required(environment, "SANDBOX_SECCOMP"),
            alarm_topic=environment.get("ALARM_TOPIC_ARN") or None,
            metrics_namespace=environment.get("METRICS_NAMESPACE") or "LogLineOS",
            audience=environment.get("TOKEN_AUDIENCE") or "loglineos",
            cors_origins=_origins(environment.get("CORS_ORIGINS", "")),
            environment=environment,
        )

    def secret(self, name: str) -> str | None:
        """A secret that kernels may use, by its name; None where it is not configured.

        Raises:
            Misconfigured: no secret can have this name, or it cannot be read.
        """
        if name in SECRETS:
            return read_secret(SECRETS[name], self.environment)
        if not _PROVIDER_SECRET.fullmatch(name):
            known = ", ".join(SECRETS)
            raise Misconfigured(f"no secret is called {name}; there are: {known}, and loglineos-<provider>")
        try:
            return read_secret(name.upper().replace("-", "_"), self.environment)
        except SecretMissing:  # people make these by hand, perhaps later
            return None


def _required(environment: Mapping[str, str], name: str) -> bool:
    value = environment.get(name, "preferred")
    if value not in ("required", "preferred"):
        raise Misconfigured(f"{name} must be required or preferred, not {value!r}")
    return value == "required"


def _origins(text: str) -> frozenset[str]:
    origins = frozenset(part.strip() for part in text.split(",") if part.strip())
    for origin in origins - {"*"}:
        if not _ORIGIN.fullmatch(origin):
            raise Misconfigured(
                f"CORS_ORIGINS: expected origins such as https://app.example, or *; not {origin!r:.100}"
            )
    return origins


def _minimum_seqs(text: str) -> dict[UUID, int]:
    if not text:
        return {}
    try:
        return {UUID(span_id): int(seq) for span_id, seq in orjson.loads(text).items()}
    except (ValueError, AttributeError, TypeError):
        raise Misconfigured('MINIMUM_SEQS must be a JSON object of span ids and numbers: {"<uuid>": 4}') from None
