"""memory_store_kernel: memories of the caller as spans. Store, get, search, list, update, delete."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from uuid import UUID

from nacl.exceptions import CryptoError
from nacl.secret import SecretBox
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, StrictStr

if TYPE_CHECKING:
    from ledger.span import Span
    from stage0_loader.context import Context

MAX_CONTENT_BYTES: Final = 1_000_000
MAX_STORED_BYTES: Final = 1_010_000  # leaves room for the rest of a span, 50 tags of 200 characters included
MAX_TERMS: Final = 16
PAGE_BYTES: Final = 500_000  # content of one page; its execution span has to hold it
BATCH: Final = 50  # each may be of 1 MB

Action = Literal["store", "get", "search", "list", "update", "delete"]
Word = Annotated[StrictStr, Field(min_length=1, max_length=200)]
# Which fields an action reads; another one is named in the refusal.
FIELDS: Final[dict[str, set[str]]] = {
    "store": {"content", "tags", "memory_type", "session_id", "sensitivity", "visibility"},
    "get": {"memory_id"},
    "search": {"search_query", "tags", "memory_type", "session_id", "limit", "cursor"},
    "list": {"tags", "memory_type", "session_id", "limit", "cursor"},
    "update": {"memory_id", "content", "tags", "memory_type", "session_id", "sensitivity", "visibility"},
    "delete": {"memory_id"},
}

# The timeline function walks an index by the page, whatever the size of the table.
VERSIONS_SQL: Final = """
SELECT id, seq, era, xid, position FROM ledger.timeline(false, %s, %s::text::xid8, %s, %s, 'memory')
ORDER BY era DESC, xid DESC, position DESC
"""
LATEST_SQL: Final = """
SELECT c.*, (SELECT min(f.seq) FROM ledger.universal_registry f WHERE f.id = c.id) AS first_seq
FROM ledger.current_span c WHERE c.id = ANY(%s)
"""
SEARCH_SQL: Final = """
SELECT found.score, m.*
FROM ledger.search_memory(%(terms)s, %(limit)s, %(tags)s, %(memory_type)s, %(session_id)s,
                          %(score)s, %(era)s, %(xid)s::text::xid8, %(position)s) found
JOIN ledger.universal_registry m USING (id, seq)
ORDER BY found.score DESC, m.era DESC, m.xid DESC, m.position DESC
"""


class Input(BaseModel):
    """What clients send; null is the same as leaving a field out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: Action
    memory_id: Annotated[UUID, BeforeValidator(str)] | None = None
    content: StrictStr | None = None
    tags: Annotated[list[Word], Field(max_length=50)] | None = None
    memory_type: Word | None = None
    session_id: Word | None = None
    sensitivity: Literal["normal", "secret"] | None = None
    visibility: Literal["private", "tenant"] | None = None
    search_query: StrictStr | None = None
    limit: Annotated[StrictInt, Field(ge=1, le=100)] | None = None
    cursor: Word | None = None


def main(ctx: Context) -> dict[str, Any]:
    """Carry out one action on the caller's memories."""
    request = ctx.parse(Input)
    for field in sorted(request.model_fields_set - {"action"} - FIELDS[request.action]):
        if getattr(request, field) is not None:
            raise ctx.rejected(f"{field}: {request.action} does not take it", field=field)
    return ACTIONS[request.action](ctx, request)


def store(ctx: Context, request: Input) -> dict[str, Any]:
    """A new memory."""
    sensitivity = request.sensitivity or "normal"
    memory_id = ctx.new_id()
    span = ctx.ledger.append(
        id=memory_id,
        entity_type="memory",
        who=ctx.user_id,
        did="stored",
        this="memory",
        status="active",
        visibility=request.visibility or "private",
        metadata={
            **_sealed_content(ctx, memory_id, _content(ctx, request.content), sensitivity),
            "tags": request.tags or [],
            "memory_type": request.memory_type or "general",
            "session_id": request.session_id,
            "sensitivity": sensitivity,
        },
    )
    return {"memory": _shown(ctx, span)}


def get(ctx: Context, request: Input) -> dict[str, Any]:
    """One memory, the latest version."""
    return {"memory": _shown(ctx, _existing(ctx, request))}


def update(ctx: Context, request: Input) -> dict[str, Any]:
    """The next version: fields that are given change, the others stay."""
    span = _own(ctx, _existing(ctx, request))
    before = span.metadata or {}
    sensitivity = request.sensitivity or before["sensitivity"]
    if sensitivity == "secret" and before["sensitivity"] != "secret":
        raise ctx.rejected(
            "sensitivity: earlier versions stay readable; store a new secret memory and delete this one",
            field="sensitivity",
        )
    content = _clear_content(ctx, span) if request.content is None else _content(ctx, request.content)
    version = ctx.ledger.append_version(
        span,
        did="updated",
        visibility=request.visibility or span.visibility,
        metadata={
            **_sealed_content(ctx, span.id, content, sensitivity),
            "tags": before["tags"] if request.tags is None else request.tags,
            "memory_type": request.memory_type or before["memory_type"],
            "session_id": request.session_id or before["session_id"],
            "sensitivity": sensitivity,
        },
    )
    return {"memory": _shown(ctx, version)}


def delete(ctx: Context, request: Input) -> dict[str, Any]:
    """A tombstone: views and searches no longer show the memory."""
    span = _own(ctx, _existing(ctx, request))
    version = ctx.ledger.append_version(span, did="deleted", is_deleted=True, status="deleted", metadata=None)
    return {"memory_id": str(span.id), "seq": version.seq, "deleted": True}


def list_memories(ctx: Context, request: Input) -> dict[str, Any]:
    """Newest first, a page at a time. A memory stands where it was stored: an update does not move it."""
    limit = request.limit or 20
    place = _cursor(ctx, request.cursor, 3) or [2**31 - 1, 2**63 - 1, 2**63 - 1]
    page: list[dict[str, Any]] = []
    size = 0
    while True:
        versions = ctx.ledger.query(VERSIONS_SQL, [place[0], str(place[1]), place[2], BATCH])
        latest = _latest_of_first(ctx, versions)
        for version in versions:
            memory = latest.get((version["id"], version["seq"]))
            if memory is not None and _matches(memory, request):
                size += len((memory["content"] or "").encode())
                if len(page) == limit or (page and size > PAGE_BYTES):
                    return {"memories": page, "cursor": _cursor_text(place)}
                page.append(memory)
            place = [version["era"], version["xid"], version["position"]]
        if len(versions) < BATCH:
            return {"memories": page, "cursor": None}


def _latest_of_first(ctx: Context, versions: list[dict[str, Any]]) -> dict[tuple[UUID, int], dict[str, Any]]:
    """The latest version of each memory, by the first one that the caller sees of it."""
    ids = list({version["id"] for version in versions})
    rows = ctx.ledger.query(LATEST_SQL, [ids])
    return {(row["id"], row["first_seq"]): memory for row in rows if (memory := _shown_row(ctx, row))}


def search(ctx: Context, request: Input) -> dict[str, Any]:
    """Memories that contain every word of the query, best match first. Secret ones are not searched."""
    terms = (request.search_query or "").split()
    if not terms or len(terms) > MAX_TERMS:
        raise ctx.rejected(f"search_query: expected 1 to {MAX_TERMS} words", field="search_query")
    limit = request.limit or 20
    score, era, xid, position = _cursor(ctx, request.cursor, 4) or [2**31 - 1, 0, 0, 0]
    rows = ctx.ledger.query(
        SEARCH_SQL,
        {
            "terms": terms,
            "limit": limit,
            "tags": request.tags,
            "memory_type": request.memory_type,
            "session_id": request.session_id,
            "score": score,
            "era": era,
            "xid": str(xid),
            "position": position,
        },
    )
    page: list[dict[str, Any]] = []
    size = 0
    place: list[int] = []
    for row in rows:
        memory = _shown_row(ctx, row)
        size += len((memory["content"] or "").encode()) if memory else 0
        if page and size > PAGE_BYTES:
            return {"memories": page, "cursor": _cursor_text(place)}
        if memory:
            page.append({**memory, "score": row["score"]})
        place = [row["score"], row["era"], row["xid"], row["position"]]
    return {"memories": page, "cursor": _cursor_text(place) if len(rows) == limit else None}


ACTIONS: Final = {
    "store": store,
    "get": get,
    "search": search,
    "list": list_memories,
    "update": update,
    "delete": delete,
}


def _existing(ctx: Context, request: Input) -> Span:
    if request.memory_id is None:
        raise ctx.rejected("memory_id: is required", field="memory_id")
    span = ctx.ledger.latest(request.memory_id)
    if span is None or span.entity_type != "memory" or span.is_deleted or not _well_formed(span.metadata):
        raise ctx.rejected("memory_id: there is no such memory", field="memory_id")
    return span


def _own(ctx: Context, span: Span) -> Span:
    if span.owner_id != ctx.user_id:
        raise ctx.rejected("memory_id: only its owner may change a memory", field="memory_id")
    return span


def _content(ctx: Context, content: str | None) -> str:
    if content is None or not content.strip():
        raise ctx.rejected("content: must not be empty", field="content")
    if len(content.encode("utf-8", "replace")) > MAX_CONTENT_BYTES:
        raise ctx.rejected(f"content: at most {MAX_CONTENT_BYTES} bytes in UTF-8", field="content")
    return content


def _fitting(ctx: Context, stored: dict[str, Any]) -> dict[str, Any]:
    """Escapes in JSON, and the encoding of a ciphertext, count too: a span has its own limit."""
    if len(json.dumps(stored, ensure_ascii=False).encode("utf-8", "replace")) > MAX_STORED_BYTES:
        raise ctx.rejected(f"content: at most {MAX_STORED_BYTES} bytes as it is stored", field="content")
    return stored


def _matches(memory: dict[str, Any], request: Input) -> bool:
    return (
        set(request.tags or []) <= set(memory["tags"])
        and request.memory_type in (None, memory["memory_type"])
        and request.session_id in (None, memory["session_id"])
    )


def _well_formed(metadata: Any) -> bool:
    """Anyone may append a span that says it is a memory: only those made like this kernel's are."""
    return (
        isinstance(metadata, dict)
        and isinstance(metadata.get("content", metadata.get("ciphertext")), str)
        and isinstance(metadata.get("tags"), list)
        and all(isinstance(tag, str) for tag in metadata["tags"])
        and isinstance(metadata.get("memory_type"), str)
        and isinstance(metadata.get("session_id"), str | None)
        and metadata.get("sensitivity") in ("normal", "secret")
    )


def _shown(ctx: Context, span: Span) -> dict[str, Any] | None:
    return _shown_row(ctx, span.columns())


def _shown_row(ctx: Context, row: dict[str, Any]) -> dict[str, Any] | None:
    metadata = row["metadata"]
    if not _well_formed(metadata):
        return None
    return {
        "memory_id": str(row["id"]),
        "seq": row["seq"],
        "content": _open_content(ctx, row["id"], metadata),
        "tags": metadata["tags"],
        "memory_type": metadata["memory_type"],
        "session_id": metadata["session_id"],
        "sensitivity": metadata["sensitivity"],
        "visibility": row["visibility"],
        "owner_id": row["owner_id"],
        "at": row["at"].isoformat(),
    }


def _clear_content(ctx: Context, span: Span) -> str:
    content = _open_content(ctx, span.id, span.metadata or {})
    if content is None:
        raise ctx.rejected("memory_id: this memory cannot be opened with the present memory key", field="memory_id")
    return content


def _sealed_content(ctx: Context, memory_id: UUID, content: str, sensitivity: str) -> dict[str, Any]:
    if sensitivity != "secret":
        return _fitting(ctx, {"content": content})
    box = _box(ctx)
    if box is None:
        raise ctx.rejected(
            "sensitivity: this deployment keeps no secret memories, it has no loglineos-memory-key",
            field="sensitivity",
        )
    # The id goes inside, so that a ciphertext cannot be passed off as another memory's.
    text = json.dumps([str(memory_id), content], ensure_ascii=False).encode("utf-8", "surrogatepass")
    return _fitting(ctx, {"ciphertext": base64.b64encode(box.encrypt(text)).decode()})


def _open_content(ctx: Context, memory_id: UUID, metadata: dict[str, Any]) -> str | None:
    """The content in clear; None for a secret one that the present key does not open."""
    if "ciphertext" not in metadata:
        return str(metadata["content"])
    box = _box(ctx)
    try:
        sealed_id, content = json.loads(box.decrypt(base64.b64decode(metadata["ciphertext"]))) if box else (None, "")
    except (CryptoError, ValueError):
        return None
    return content if sealed_id == str(memory_id) else None


def _box(ctx: Context) -> SecretBox | None:
    """One data key for each tenant, derived from the stack's."""
    key = ctx.secret("loglineos-memory-key")
    if key is None:
        return None
    if len(key) != 64:
        ctx.log.error("ERROR loglineos-memory-key must be 64 hex digits")
        return None
    label = f"loglineos/memory/v1\n{ctx.tenant_id or ''}".encode()
    return SecretBox(hmac.new(bytes.fromhex(key), label, hashlib.sha256).digest())


def _cursor(ctx: Context, text: str | None, parts: int) -> list[int] | None:
    if text is None:
        return None
    try:
        numbers = [int(part) for part in text.split(".")]
    except ValueError:
        numbers = []
    # The last two are an xid and a position; era, and the score of a search, are smaller.
    limits = [2**31] * (parts - 2) + [2**63, 2**63]
    if len(numbers) != parts or not all(0 <= n < limit for n, limit in zip(numbers, limits, strict=True)):
        raise ctx.rejected("cursor: expected the one that an earlier page gave", field="cursor")
    return numbers


def _cursor_text(place: list[int]) -> str:
    return ".".join(str(number) for number in place)
