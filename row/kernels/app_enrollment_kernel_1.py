"""app_enrollment_kernel: which apps and devices speak for a tenant. Invite, enroll, register, list, revoke."""

from __future__ import annotations

import hashlib
import secrets
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar
from uuid import UUID

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, StrictStr
from pydantic_core import PydanticCustomError

from ledger.errors import NotPermitted, VersionConflict
from ledger.ids import MANIFEST_ID, derived_id
from ledger.read import END, Cursor
from ledger.span import format_instant

if TYPE_CHECKING:
    from ledger.errors import LedgerError
    from ledger.span import Span
    from stage0_loader.context import Context

EDGE: Final = "edge:app_enrollment"  # owns a tenant's invitations
DAY, WEEK = 24 * 60, 7 * 24 * 60  # minutes
MAX_DEVICES: Final = 100  # of one app, revoked ones included: they are shown, and revoked, at once
BATCH: Final = 100
WITHDRAWN: Final = 500  # spans in one transaction
JOINERS: Final = "\u200c\u200d"  # several scripts, and emoji, are written with them

INVITATION_SQL: Final = "SELECT tenant_id, owner_id FROM ledger.invitation_owner(%s)"
DEVICE_SQL: Final = "SELECT * FROM ledger.device_for_token(%s)"
# The timeline function walks an index by the page, whatever the size of the table.
PAGE_SQL: Final = """
SELECT id, seq, era, xid, position FROM ledger.timeline(false, %s, %s::text::xid8, %s, %s, 'app_registration')
ORDER BY era DESC, xid DESC, position DESC
"""
OWN_SQL: Final = """
SELECT id FROM ledger.universal_registry
WHERE owner_id = %s AND tenant_id = %s AND entity_type = 'app_registration' AND seq = 0
"""
APPS_SQL: Final = "SELECT * FROM ledger.current_span WHERE id = ANY(%s)"
DEVICES_SQL: Final = """
SELECT * FROM ledger.current_span WHERE parent_id = ANY(%s) AND entity_type = 'device' ORDER BY id
"""
# What would still be run for a user: requests, functions that are scheduled, policies.
TO_RUN_SQL: Final = """
SELECT id FROM ledger.current_span WHERE owner_id = %s AND tenant_id = %s AND (
  (entity_type = 'request' AND status IN ('scheduled', 'running'))
  OR (entity_type = 'function' AND (status = 'scheduled' OR metadata ->> 'schedule' IS NOT NULL))
  OR (entity_type = 'policy' AND status = 'active'))
ORDER BY id LIMIT %s
"""
Result = TypeVar("Result")


def _readable(value: str) -> str:
    """Text that shows as what it is: nothing unseen in it turns it around, breaks it or tells two apart."""
    unseen = any(unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") and c not in JOINERS for c in value)
    if unseen or value != value.strip() or not value:
        raise PydanticCustomError("readable", "text without control characters, and without space at its ends")
    return value


def _composed(value: str) -> str:
    return unicodedata.normalize("NFC", value)


Text = Annotated[StrictStr, Field(max_length=200), AfterValidator(_readable)]
AppName = Annotated[Text, AfterValidator(_composed)]
Key = Annotated[StrictStr, Field(pattern="^[0-9a-f]{64}$")]
Signature = Annotated[StrictStr, Field(pattern="^[0-9a-f]{128}$")]
Id = Annotated[UUID, BeforeValidator(str)]


class Input(BaseModel):
    """What every action takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: Literal["invite", "enroll", "register_device", "get_manifest", "list", "revoke"]


class Asked(Input):
    """Only which action it is."""

    model_config = ConfigDict(extra="ignore")


class Invite(Input):
    """A code for one app of the caller's tenant. `scopes` are names of kernels that apps may boot, all by default."""

    app_name: AppName | None = None
    scopes: Annotated[list[StrictStr], Field(min_length=1, max_length=50)] | None = None
    expires_in_minutes: Annotated[StrictInt, Field(ge=1, le=WEEK)] = DAY


class Enroll(Input):
    """A code taken up. `signature`: by `pubkey` (Ed25519, as all keys here), over the code in UTF-8."""

    code: Annotated[StrictStr, Field(min_length=1, max_length=200)]
    app_name: AppName
    app_version: Text
    device_fingerprint: Text
    pubkey: Key
    signature: Signature


class RegisterDevice(Input):
    """A further device of an app. `signature`: by the new key, over "<app_id>\\n<device_fingerprint>" in UTF-8."""

    app_id: Id
    device_fingerprint: Text
    pubkey: Key
    signature: Signature


class GetManifest(Input):
    """What a client may know; with `app_id`, what that app may boot."""

    app_id: Id | None = None


class List(Input):
    """A page of apps."""

    limit: Annotated[StrictInt, Field(ge=1, le=100)] = 20
    cursor: StrictStr | None = None


class Revoke(Input):
    """What is to end; exactly one of the three."""

    app_id: Id | None = None
    device_id: Id | None = None
    invitation_id: Id | None = None


def main(ctx: Context) -> dict[str, Any]:
    """Carry out one action. A null field is the same as one left out."""
    action = ctx.parse(Asked).action
    model, work = ACTIONS[action]
    known = {field for other, _ in ACTIONS.values() for field in other.model_fields}
    given = {field: value for field, value in ctx.input.items() if value is not None or field not in known}
    for field in sorted((given.keys() & known) - model.model_fields.keys()):
        raise ctx.rejected(f"{field}: {action} does not take it", field=field)
    return work(ctx, replace(ctx, input=given).parse(model))


def invite(ctx: Context, request: Invite) -> dict[str, Any]:
    """A single-use code. It is answered here and never again: the ledger holds its hash alone."""
    if not ctx.direct:
        raise ctx.rejected("action: invite needs a direct invocation; ask an administrator for a code", field="action")
    if _tenant(ctx) == "system":  # its spans are the operators', and so are the default identity's
        raise ctx.rejected("tenant_id: an invitation is for a tenant other than system", field="tenant_id")
    kernels = _edge_kernels(ctx)
    for name in request.scopes or []:
        if name not in kernels:
            raise ctx.rejected(f"scopes: expected names of {', '.join(kernels)}", field="scopes")
    code = secrets.token_urlsafe(32)
    about = {
        "app_name": request.app_name,
        "scopes": sorted(set(request.scopes or kernels)),
        "expires_at": format_instant(ctx.now() + timedelta(minutes=request.expires_in_minutes)),
    }
    span = ctx.acting_as(EDGE, _tenant(ctx)).ledger.append(
        id=_invitation_id(code),
        entity_type="invitation",
        who=ctx.user_id,
        did="invited",
        this="app",
        status="active",
        metadata=about,
    )
    return {"code": code, "invitation_id": str(span.id), "tenant_id": span.tenant_id, **about}


def enroll(ctx: Context, request: Enroll) -> dict[str, Any]:
    """A new app with its first device and a user of its own; the same key and fingerprint again, the same app."""
    _require_proof(ctx, request, request.code, "the code")
    return _settled(lambda: _enroll(ctx, request))


def _enroll(ctx: Context, request: Enroll) -> dict[str, Any]:
    invitation = _invitation(ctx, request)
    tenant, about = str(invitation.tenant_id), invitation.metadata or {}
    known = _enrolled(ctx, request, tenant)
    if invitation.status == "used":
        if known is None:  # it was used for this key, so there is its device
            raise _no_invitation(ctx)
        return _registration(*known)
    with ctx.transaction() as tx:
        user = tx.acting_as(known[0].owner_id if known else f"user:{ctx.new_id()}", tenant)
        app_id = known[0].id if known else ctx.new_id()
        # First, since it is what several who hold one code compete for.
        tx.acting_as(invitation.owner_id, tenant).ledger.append_version(
            invitation,
            who=user.user_id,
            did="accepted",
            status="used",
            metadata={**about, "app_id": str(app_id), "device_id": str(_device_id(request.pubkey))},
        )
        if known is None:
            app = _append_app(user, app_id, request, about["scopes"], invitation.id)
            known = app, _append_device(user, app, request)
    return _registration(*known)


def register_device(ctx: Context, request: RegisterDevice) -> dict[str, Any]:
    """One more device of an app, with a key of its own."""
    _require_proof(ctx, request, f"{request.app_id}\n{request.device_fingerprint}", "<app_id>\\n<device_fingerprint>")
    return _settled(lambda: _register_device(ctx, request))


def _register_device(ctx: Context, request: RegisterDevice) -> dict[str, Any]:
    app = _existing(ctx, request.app_id, "app_id")
    if app.status != "active":
        raise ctx.rejected("app_id: this app was revoked: enroll a new one", field="app_id")
    known = _enrolled(ctx, request, str(app.tenant_id))
    if known is not None and known[0].id != app.id:
        raise _key_in_use(ctx)
    if known is None:
        if len(ctx.ledger.query(DEVICES_SQL, [[app.id]])) >= MAX_DEVICES:
            raise ctx.rejected(f"app_id: an app has at most {MAX_DEVICES} devices: enroll a new one", field="app_id")
        known = app, _append_device(_owner_of(ctx, app), app, request, ctx.user_id)
    return _registration(*known)


def get_manifest(ctx: Context, request: GetManifest) -> dict[str, Any]:
    """Which kernels the caller may boot over HTTPS, and the limits that hold."""
    manifest = ctx.system_span(MANIFEST_ID, "manifest")
    if manifest is None:
        raise ctx.rejected("the manifest is not there: seed the ledger")
    kernels = _edge_kernels(ctx)
    if request.app_id is not None:
        apps = [_existing(ctx, request.app_id, "app_id").columns()]
    else:
        apps = [] if ctx.direct else ctx.ledger.query(APPS_SQL, [_own_apps(ctx)])
    if apps or not ctx.direct:
        scopes = {name for app in apps if app["status"] == "active" for name in app["metadata"]["scopes"]}
        kernels = {name: kernel for name, kernel in kernels.items() if name in scopes}
    limits = {name: ctx.manifest.get(name, {}) for name in ("throttle", "sandbox")}
    return {"manifest_id": str(manifest.id), "seq": manifest.seq, "kernels": kernels, "limits": limits}


def list_apps(ctx: Context, request: List) -> dict[str, Any]:
    """Newest first, revoked ones included: those of the tenant; over HTTPS the caller's own."""
    ids, cursor = _page(ctx, request) if ctx.direct else (_own_apps(ctx), None)
    apps = {app["id"]: app for app in ctx.ledger.query(APPS_SQL, [ids])}
    devices = ctx.ledger.query(DEVICES_SQL, [ids])
    shown = [_shown(apps[app_id], [d for d in devices if d["parent_id"] == app_id]) for app_id in ids if app_id in apps]
    return {"apps": shown, "cursor": cursor}


def _page(ctx: Context, request: List) -> tuple[list[UUID], str | None]:
    """An app stands where it was enrolled: a later version of it does not move it."""
    place = END if request.cursor is None else Cursor.parse(request.cursor)
    found: list[UUID] = []
    while True:
        versions = ctx.ledger.query(PAGE_SQL, [place.era, str(place.xid), place.position, BATCH])
        for version in versions:
            if version["seq"] == 0:
                if len(found) == request.limit:
                    return found, str(place)
                found.append(version["id"])
            place = Cursor(version["era"], version["xid"], version["position"])
        if len(versions) < BATCH:
            return found, None


def revoke(ctx: Context, request: Revoke) -> dict[str, Any]:
    """End an app with its devices and what it has yet to run, one device, or an invitation, at once.

    Again: the same answer, and what was too much for once is withdrawn too.
    """
    given = [value for value in (request.app_id, request.device_id, request.invitation_id) if value is not None]
    if len(given) != 1:
        raise ctx.rejected("app_id: expected exactly one of app_id, device_id and invitation_id", field="app_id")
    if request.app_id is not None:
        return _settled(lambda: _revoke_app(ctx, _existing(ctx, given[0], "app_id")))
    if request.device_id is not None:
        return _settled(lambda: _revoke_device(ctx, _existing(ctx, given[0], "device_id")))
    return _settled(lambda: _revoke_invitation(ctx, given[0]))


def _revoke_app(ctx: Context, app: Span) -> dict[str, Any]:
    with ctx.transaction() as tx:
        owner = _owner_of(tx, app)
        _end(owner, app, ctx.user_id)
        ids = [row["id"] for row in owner.ledger.query(DEVICES_SQL, [[app.id]])]
        for device in filter(None, map(owner.ledger.latest, ids)):
            _end(owner, device, ctx.user_id)
        withdrawn = [row["id"] for row in owner.ledger.query(TO_RUN_SQL, [owner.user_id, owner.tenant_id, WITHDRAWN])]
        for span in filter(None, map(owner.ledger.latest, withdrawn)):
            owner.ledger.append_version(span, who=ctx.user_id, did="withdrew", is_deleted=True)
    devices = [str(device_id) for device_id in ids]
    return {"app_id": str(app.id), "status": "revoked", "devices": devices, "withdrawn": len(withdrawn)}


def _revoke_device(ctx: Context, device: Span) -> dict[str, Any]:
    _end(_owner_of(ctx, device), device, ctx.user_id)
    return {"device_id": str(device.id), "app_id": str(device.parent_id), "status": "revoked"}


def _revoke_invitation(ctx: Context, invitation_id: UUID) -> dict[str, Any]:
    edge = ctx.acting_as(EDGE, _tenant(ctx))
    span = edge.ledger.latest(invitation_id) if ctx.direct else None
    if span is None or span.entity_type != "invitation":
        raise ctx.rejected("invitation_id: there is no such invitation", field="invitation_id")
    if span.status == "used":
        raise ctx.rejected("invitation_id: it was used: revoke its app", app_id=(span.metadata or {})["app_id"])
    _end(edge, span, ctx.user_id)
    return {"invitation_id": str(span.id), "status": "revoked"}


def _end(owner: Context, span: Span, who: str) -> None:
    if span.status == "active":
        owner.ledger.append_version(span, who=who, did="revoked", status="revoked")


ACTIONS: Final[dict[str, tuple[type[BaseModel], Callable[[Context, Any], dict[str, Any]]]]] = {
    "invite": (Invite, invite),
    "enroll": (Enroll, enroll),
    "register_device": (RegisterDevice, register_device),
    "get_manifest": (GetManifest, get_manifest),
    "list": (List, list_apps),
    "revoke": (Revoke, revoke),
}


def _settled(work: Callable[[], Result]) -> Result:
    """`work()`, begun again where another boot was quicker: what that one left decides then."""
    for _ in range(2):
        with suppress(VersionConflict, NotPermitted):
            return work()
    return work()


def _tenant(ctx: Context) -> str:
    if ctx.tenant_id is None:
        raise ctx.rejected("tenant_id: an invitation is for a tenant")
    return ctx.tenant_id


def _edge_kernels(ctx: Context) -> dict[str, str]:
    """What apps may boot, name to id."""
    listed = ctx.manifest["edge_boot_ids"]
    return {name: kernel for name, kernel in ctx.manifest["kernels"].items() if kernel in listed}


def _require_proof(ctx: Context, request: Enroll | RegisterDevice, message: str, what: str) -> None:
    try:
        VerifyKey(bytes.fromhex(request.pubkey)).verify(message.encode(), bytes.fromhex(request.signature))
    except BadSignatureError:
        sentence = f"signature: expected one over {what} in UTF-8, by the private key of pubkey"
        raise ctx.rejected(sentence, field="signature") from None


def _invitation_id(code: str) -> UUID:
    return derived_id("invitation", hashlib.sha256(code.encode()).hexdigest())


def _device_id(pubkey: str) -> UUID:
    """One id for a key in all the ledger: so it is in one place, whatever tenant that is."""
    return derived_id("device", pubkey)


def _invitation(ctx: Context, request: Enroll) -> Span:
    """The invitation of the code, where it serves the request."""
    invitation_id = _invitation_id(request.code)
    for place in ctx.ledger.query(INVITATION_SQL, [invitation_id]):
        span = ctx.acting_as(place["owner_id"], place["tenant_id"]).ledger.latest(invitation_id)
        if span is not None and _serves(ctx, span, request):
            return span
    raise _no_invitation(ctx)


def _serves(ctx: Context, invitation: Span, request: Enroll) -> bool:
    about = invitation.metadata or {}
    # Whoever has a tenant of their own brings no app into another.
    if ctx.tenant_id not in (None, "system", invitation.tenant_id):
        return False
    if about["app_name"] not in (None, request.app_name):
        return False
    if invitation.status == "used":  # by the same key: a repeat
        return bool(about["device_id"] == str(_device_id(request.pubkey)))
    return invitation.status == "active" and ctx.now() < datetime.fromisoformat(about["expires_at"])


def _no_invitation(ctx: Context) -> LedgerError:
    """One answer, whatever is wrong with it: it tells nothing of what is there."""
    sentence = "code: it does not exist, was used or revoked, has expired, or is for another app: ask for a new one"
    return ctx.rejected(sentence, field="code")


def _enrolled(ctx: Context, request: Enroll | RegisterDevice, tenant: str) -> tuple[Span, Span] | None:
    """App and device of the key, where it is the same device's in this tenant; None for a new key."""
    for row in ctx.ledger.query(DEVICE_SQL, [_device_id(request.pubkey)]):
        if row["tenant_id"] == tenant and row["status"] == row["app_status"] == "active":
            ledger = ctx.acting_as(row["user_id"], tenant).ledger
            app, device = ledger.latest(row["app_id"]), ledger.latest(_device_id(request.pubkey))
            if app and device and (device.metadata or {})["device_fingerprint"] == request.device_fingerprint:
                return app, device
        raise _key_in_use(ctx)
    return None


def _key_in_use(ctx: Context) -> LedgerError:
    return ctx.rejected("pubkey: this key is in use, or was revoked: make a new one", field="pubkey")


def _existing(ctx: Context, span_id: UUID, field: str) -> Span:
    """An app or device that the caller may act on: one of the tenant; over HTTPS, of the caller."""
    entity_type, what = {"app_id": ("app_registration", "app"), "device_id": ("device", "device")}[field]
    span = ctx.ledger.latest(span_id)
    found = span is not None and span.entity_type == entity_type and span.tenant_id == ctx.tenant_id
    if span is None or not found or not (ctx.direct or span.owner_id == ctx.user_id):
        raise ctx.rejected(f"{field}: there is no such {what}", field=field)
    return span


def _own_apps(ctx: Context) -> list[UUID]:
    return [row["id"] for row in ctx.ledger.query(OWN_SQL, [ctx.user_id, ctx.tenant_id])]


def _owner_of(ctx: Context, span: Span) -> Context:
    return ctx.acting_as(span.owner_id, str(span.tenant_id))


def _append_app(user: Context, app_id: UUID, request: Enroll, scopes: list[str], invitation_id: UUID) -> Span:
    return user.ledger.append(
        id=app_id,
        entity_type="app_registration",
        who=user.user_id,
        did="enrolled",
        this="app",
        name=request.app_name,
        status="active",
        visibility="tenant",  # whoever administers the tenant lists and revokes it
        related_to=[invitation_id],
        metadata={
            "app_name": request.app_name,
            "app_version": request.app_version,
            "user_id": user.user_id,
            "scopes": scopes,
        },
    )


def _append_device(user: Context, app: Span, request: Enroll | RegisterDevice, who: str | None = None) -> Span:
    return user.ledger.append(
        id=_device_id(request.pubkey),
        entity_type="device",
        who=who or user.user_id,
        did="registered",
        this="device",
        status="active",
        visibility="tenant",
        parent_id=app.id,
        metadata={
            "app_id": str(app.id),
            "device_fingerprint": request.device_fingerprint,
            "pubkey": request.pubkey,
            "user_id": user.user_id,
            "scopes": (app.metadata or {})["scopes"],
        },
    )


def _registration(app: Span, device: Span) -> dict[str, Any]:
    about = app.metadata or {}
    return {
        "app_id": str(app.id),
        "device_id": str(device.id),
        "tenant_id": app.tenant_id,
        "status": device.status,
        **{name: about[name] for name in ("user_id", "app_name", "app_version", "scopes")},
    }


def _shown(app: dict[str, Any], devices: list[dict[str, Any]]) -> dict[str, Any]:
    """An app as `list` has it. A device is active only while its app is."""
    return {
        "app_id": str(app["id"]),
        "status": app["status"],
        "changed_at": app["at"].isoformat(),
        **{name: app["metadata"][name] for name in ("user_id", "app_name", "app_version", "scopes")},
        "devices": [
            {
                "device_id": str(device["id"]),
                "status": device["status"] if app["status"] == "active" else app["status"],
                "changed_at": device["at"].isoformat(),
                "device_fingerprint": device["metadata"]["device_fingerprint"],
                "pubkey": device["metadata"]["pubkey"],
            }
            for device in devices
        ],
    }
