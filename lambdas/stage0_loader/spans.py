"""`append`, `timeline` and `health`: what a caller does with the ledger without a kernel."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, LiteralString
from uuid import UUID

from ledger.append import Appended, insert_sealed
from ledger.database import Database
from ledger.errors import InvalidInput, NotPermitted, VerificationFailed
from ledger.ids import new_id
from ledger.keys import KeyRing
from ledger.proof import public_key_of, seal, span_hash
from ledger.read import BEGINNING, END, Cursor, Page, latest, newest_latest, newest_page, next_page
from ledger.span import ASSIGNED_COLUMNS, PROOF_COLUMNS, Span, parse_span
from sandbox import Sandbox

from .code_check import ENTRIES, LANGUAGES, check_code
from .event import Append, Health, Timeline
from .permitted import require_permitted
from .settings import Settings
from .trust import read_manifest, require_trusted

_SPEND: Final[LiteralString] = "SELECT ledger.spend_quota('append.per_tenant.daily', %s, %s)"
_HEADS: Final[LiteralString] = """
SELECT id, seq, curr_hash FROM ledger.universal_registry WHERE id = ANY(%s) ORDER BY id, seq
"""


def append_as_caller(database: Database, settings: Settings, sandbox: Sandbox, request: Append) -> list[Appended]:
    """Append what a caller sends, within their rights and their tenant's daily quota.

    Raises:
        InvalidInput, NotPermitted, VersionConflict, QuotaExceeded
        SandboxError: code that could never run, with its place.
    """
    drafts = _paths(request)
    spans = [_draft(values, request, path) for path, values in drafts]
    for span, (path, _) in zip(spans, drafts, strict=True):
        check_code(span, path, sandbox)
    limit = read_manifest(database, request.identity, settings).manifest.throttle.per_tenant_daily_append_limit
    with database.transaction(request.identity) as connection:
        connection.execute(_SPEND, [len(spans), limit])
        heads = connection.execute(_HEADS, [[span.id for span in spans if span.seq]]).fetchall()
        chained = zip(_chain(spans, heads), drafts, strict=True)
        return insert_sealed(connection, [_seal(span, settings, path) for span, (path, _) in chained])


def _seal(span: Span, settings: Settings, path: str) -> Span:
    try:
        return seal(span, settings.signing_key)
    except InvalidInput as error:
        raise InvalidInput(path, error.details["expected"]) from None


def _paths(request: Append) -> list[tuple[str, dict[str, Any]]]:
    drafts = request.drafts
    return [("span" if request.span is not None else f"spans[{n}]", draft) for n, draft in enumerate(drafts)]


def _draft(values: dict[str, Any], request: Append, path: str) -> Span:
    for column in (*PROOF_COLUMNS, *ASSIGNED_COLUMNS):
        if column in values:
            raise InvalidInput(f"{path}.{column}", "is given by the ledger; leave it out")
    identity = request.identity
    for column, own in (("owner_id", identity.user_id), ("tenant_id", identity.tenant_id)):
        if values.get(column, own) != own:
            raise NotPermitted(f"{path}.{column}: a caller appends as {own!r} only")
    defaults = {
        "id": new_id(),
        "who": identity.user_id,
        "at": datetime.now(UTC),
        "trace_id": request.trace_id,
        "language": LANGUAGES[0] if values.get("entity_type") in ENTRIES else None,
    }
    span = parse_span({**defaults, **values, "owner_id": identity.user_id, "tenant_id": identity.tenant_id}, path)
    require_permitted(span, path)
    return span


def _chain(spans: Sequence[Span], heads: Sequence[dict[str, Any]]) -> list[Span]:
    """Fill in `prev_hash` of later versions, so that a client need not know it."""
    known: dict[tuple[UUID, int], str] = {(row["id"], row["seq"]): row["curr_hash"] for row in heads}
    chained = list(spans)
    for n in sorted(range(len(spans)), key=lambda n: (spans[n].id, spans[n].seq)):
        span = spans[n]
        before = max((seq for span_id, seq in known if span_id == span.id and seq < span.seq), default=None)
        if span.prev_hash is None and before is not None:
            chained[n] = span.with_values(prev_hash=known[span.id, before])
        known[span.id, span.seq] = span_hash(chained[n].columns())
    return chained


def timeline(database: Database, request: Timeline) -> Page:
    """A page of what the caller may see."""
    if request.before is not None and request.after is not None:
        raise InvalidInput("after", "expected either before (newest first) or after (commit order)")
    if request.after is None:
        before = Cursor.parse(request.before, "before") if request.before else END
        read = newest_latest if request.latest else newest_page
        return read(database, request.identity, before=before, limit=request.limit, entity_type=request.entity_type)
    if request.latest:
        raise InvalidInput("latest", "goes with before (newest first), not with after (commit order)")
    after = BEGINNING if request.after == "beginning" else Cursor.parse(request.after, "after")
    return next_page(database, request.identity, after=after, limit=request.limit, entity_type=request.entity_type)


def health(database: Database, settings: Settings, request: Health) -> dict[str, Any]:
    """The manifest and each kernel it lists: seeded, verified, signed? Raises VerificationFailed for the manifest."""
    governance = read_manifest(database, request.identity, settings)
    names = {span_id: name for name, span_id in governance.manifest.kernels.items()}
    allowed = sorted(governance.manifest.allowed_boot_ids)
    found = latest(database, request.identity, allowed)
    return {
        "database": database.target.describe(),
        "signing_key": public_key_of(key) if (key := settings.signing_key) else None,
        "manifest": {
            **governance.span.reference(),
            "proof": "signed" if governance.span.signed else "unsigned",
        },
        "kernels": [
            {
                "id": str(span_id),
                "name": names.get(span_id, ""),
                **_proof(found.get(span_id), settings, governance.keys),
            }
            for span_id in allowed
        ],
    }


def _proof(span: Span | None, settings: Settings, keys: KeyRing) -> dict[str, Any]:
    if span is None or span.is_deleted:
        return {"seq": None, "proof": "not seeded"}
    try:
        signed = require_trusted(span, "function", settings, keys).signed
    except VerificationFailed as error:
        return {"seq": span.seq, "proof": f"broken: {error.reason}"}
    return {"seq": span.seq, "proof": "signed" if signed else "unsigned"}
