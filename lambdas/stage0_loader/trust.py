"""Which kernel may run: the verified manifest allows it, and the kernel's own span verifies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ledger.database import Database, Identity
from ledger.errors import LedgerError, VerificationFailed
from ledger.ids import MANIFEST_ID
from ledger.keys import MAX_KEYS, Announced, KeyRing
from ledger.read import latest, versions
from ledger.span import Span, SpanId, first_problem

from .settings import Settings


class NotAllowed(LedgerError):
    """The manifest does not list the kernel."""

    code = "not_allowed"

    def __init__(self, boot_function_id: UUID | str) -> None:
        super().__init__("Boot function not allowed by manifest", boot_function_id=str(boot_function_id))


class NotInScope(LedgerError):
    """The caller's app was enrolled for other kernels."""

    code = "not_in_scope"

    def __init__(self, boot_function_id: UUID, scopes: frozenset[str]) -> None:
        sentence = f"the app was enrolled for {', '.join(sorted(scopes)) or 'no kernel'} only: enroll it for this one"
        super().__init__(sentence, boot_function_id=str(boot_function_id))


class NotFound(LedgerError):
    """The manifest lists the kernel, but the ledger does not have it."""

    code = "not_found"

    def __init__(self, boot_function_id: UUID) -> None:
        super().__init__("Function span not found", boot_function_id=str(boot_function_id))


class Throttle(BaseModel):
    """Daily limits of a tenant."""

    model_config = ConfigDict(frozen=True)

    per_tenant_daily_exec_limit: int = Field(default=100, ge=0)
    per_tenant_daily_append_limit: int = Field(default=100_000, ge=0)


class Manifest(BaseModel):
    """The manifest's metadata, as far as the loader reads it (kernels.md, "The manifest")."""

    model_config = ConfigDict(frozen=True)

    allowed_boot_ids: frozenset[SpanId]
    kernels: dict[str, SpanId] = {}
    edge_boot_ids: frozenset[SpanId] = frozenset()
    may_act_as: frozenset[SpanId] = frozenset()
    throttle: Throttle = Throttle()
    keys: tuple[Announced, ...] = Field(default=(), max_length=MAX_KEYS)


@dataclass(frozen=True)
class Trusted:
    """A span that may be relied on, and whether a trusted key signed it."""

    values: Mapping[str, Any]
    signed: bool

    @property
    def id(self) -> UUID:
        """The span's id."""
        return UUID(str(self.values["id"]))

    def reference(self) -> dict[str, Any]:
        """How audit spans name it."""
        return {"id": str(self.id), "seq": self.values["seq"], "curr_hash": self.values["curr_hash"]}


@dataclass(frozen=True)
class Governance:
    """The verified manifest: the span, what it says, and the keys that count by it and its earlier versions."""

    span: Trusted
    manifest: Manifest
    keys: KeyRing


def read_manifest(database: Database, identity: Identity, settings: Settings) -> Governance:
    """The latest manifest, verified. Raises VerificationFailed."""
    return _governance(latest(database, identity, [MANIFEST_ID]), database, identity, settings)


def select_kernel(
    database: Database, identity: Identity, settings: Settings, kernel_id: UUID, scopes: frozenset[str] | None = None
) -> tuple[Governance, Trusted]:
    """Manifest and kernel, both verified, in one round trip; one more for a manifest that is new to this process.

    `scopes`: of the app that calls over HTTPS.

    Raises:
        VerificationFailed, NotAllowed, NotInScope, NotFound: in the order in which the protocol asks.
    """
    found = latest(database, identity, [MANIFEST_ID, kernel_id])
    governance = _governance(found, database, identity, settings)
    if kernel_id not in governance.manifest.allowed_boot_ids:
        raise NotAllowed(kernel_id)
    if scopes is not None:
        _require_reachable(governance.manifest, kernel_id, scopes)
    kernel = found.get(kernel_id)
    if kernel is None or kernel.is_deleted:
        raise NotFound(kernel_id)
    return governance, require_trusted(kernel, "function", settings, governance.keys)


def _require_reachable(manifest: Manifest, kernel_id: UUID, scopes: frozenset[str]) -> None:
    """Over HTTPS both the manifest's `edge_boot_ids` and the app's own scopes have to have the kernel."""
    if kernel_id not in manifest.edge_boot_ids:
        raise NotAllowed(kernel_id)
    if not any(manifest.kernels.get(name) == kernel_id for name in scopes):
        raise NotInScope(kernel_id, scopes)


def _governance(found: Mapping[UUID, Span], database: Database, identity: Identity, settings: Settings) -> Governance:
    span = found.get(MANIFEST_ID)
    if span is None:
        raise VerificationFailed(MANIFEST_ID, "there is no manifest: seed the ledger")
    keys = _keys(span, database, identity, settings)
    trusted = require_trusted(span, "manifest", settings, keys)
    keys.require_heard(span.seq)
    try:
        return Governance(trusted, _parse_manifest(span.curr_hash, orjson.dumps(span.metadata)), keys)
    except ValidationError as error:
        problem = first_problem(error, "metadata")
        raise VerificationFailed(MANIFEST_ID, f"the manifest is not valid: {problem.message}") from None


def _keys(manifest: Span, database: Database, identity: Identity, settings: Settings) -> KeyRing:
    """The keys that count under this manifest. Its earlier versions may have retired one, so all are read: once."""
    roots = settings.trusted_row_keys
    keys = settings.rings.get(manifest.curr_hash or "") if roots else _HASHES_ALONE
    if keys is None:
        keys = KeyRing.build({"row": roots}, versions(database, identity, MANIFEST_ID))
        if not any(version.tampered for version in keys.unheard):
            settings.rings.clear()
            settings.rings[manifest.curr_hash or ""] = keys
    return keys


_HASHES_ALONE: Final = KeyRing.build({})


@lru_cache(maxsize=4)
def _parse_manifest(curr_hash: str, metadata: bytes) -> Manifest:  # noqa: ARG001 - the verified hash is the key
    return Manifest.model_validate_json(metadata)


def require_trusted(span: Span, entity_type: str, settings: Settings, keys: KeyRing) -> Trusted:
    """The span as one that may be relied on: its hash recomputed, its signature and owner checked.

    `keys`: the ones that count under the manifest (`Governance.keys`).

    Raises:
        VerificationFailed: with the reason.
    """
    signed = keys.verify(span, "row")
    if span.owner_id != "system" or span.tenant_id != "system":
        raise VerificationFailed(span.id, "it does not belong to the system")
    if span.entity_type != entity_type or span.status != "active" or span.is_deleted:
        raise VerificationFailed(span.id, f"it is not an active {entity_type}")
    if span.seq < settings.minimum_seqs.get(span.id, 0):
        raise VerificationFailed(span.id, f"seq {span.seq} is older than this deployment accepts")
    return Trusted(span.columns(), signed and keys.asks("row"))
