"""Proofs of single spans: made from the log's tiles, and checked with nothing but a key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from ledger.errors import InvalidInput, LedgerError, VerificationFailed
from ledger.ids import derived_id
from ledger.proof import span_hash, verify
from ledger.read import Cursor
from ledger.span import ASSIGNED_COLUMNS, PROOF_COLUMNS, Span, hashed_values, parse_span
from ledger.storage import Storage
from loglineos.backend import Backend
from loglineos.checkpoints import newest_in, of_size
from loglineos.errors import CommandFailed
from tlog.checkpoint import Checkpoint
from tlog.errors import LogDamaged, ProofInvalid
from tlog.merkle import inclusion_path, leaf_hash, verify_inclusion
from tlog.note import NoteKey
from tlog.proofs import InclusionProof
from tlog.tiles import WIDTH, Tree

PAGE: Final = 500  # checkpoints at a time
EXTRA_VERSION: Final = "loglineos/span/v1"
_HASH: Final = re.compile("[0-9a-f]{64}")
_SPAN: Final = """
SELECT id, seq, entity_type, who, did, this, at, parent_id, to_json(related_to) AS related_to, owner_id, tenant_id,
       visibility, status, is_deleted, name, description, code, language, runtime, input, output, error, metadata,
       duration_ms, trace_id, prev_hash, curr_hash, signature, public_key, era, xid::text AS xid, position
  FROM ledger.universal_registry WHERE id = $1::uuid AND ($2::int IS NULL OR seq = $2) ORDER BY seq DESC LIMIT 1
"""
# Those that can have sealed a span: a backlog of 33 million spans is 500 checkpoints that stand behind all of them.
_NEXT: Final = """
SELECT seq, metadata->>'end' AS "end" FROM ledger.universal_registry
 WHERE id = $1::uuid AND seq > $2 AND (era, xid, position) > ($3, $4::text::xid8, $5) ORDER BY seq LIMIT $6
"""
_ONE: Final = "SELECT metadata FROM ledger.universal_registry WHERE id = $1::uuid AND seq = $2"
_BETWEEN: Final = """
SELECT count(*) AS spans FROM ledger.universal_registry
 WHERE position >= 0 AND (era, xid, position) > ($1, $2::text::xid8, $3)
   AND (era, xid, position) <= ($4, $5::text::xid8, $6)
"""


class NotSealed(LedgerError):
    """No checkpoint covers the span yet."""

    code = "not_sealed"


@dataclass(frozen=True)
class Proved:
    """What a proof file shows: the span (its hash alone where the file has no more), its place, and the checkpoint.

    The span's signature, if it has one, is the key's that the span names; the hash, and so the log, covers neither.
    """

    span: Span | None
    curr_hash: str
    index: int
    checkpoint: Checkpoint


def prove(
    backend: Backend, storage: Storage, span_id: UUID, seq: int | None, size: int | None, *, content: bool
) -> tuple[Span, InclusionProof]:
    """The span, and the proof that the log has it.

    Args:
        seq: the version; None is the latest.
        size: of the checkpoint to prove it against; None is the newest.
        content: put the span's columns into the file; without, its hash alone.

    Raises:
        NotSealed: it will be by the next checkpoint.
        CommandFailed: there is no such span or checkpoint, or the span is not what was sealed.
        LogDamaged: the log's tiles do not lead to the checkpoint's root.
    """
    span, cursor = _read_span(backend, span_id, seq)
    noted = newest_in(storage) if size is None else of_size(storage, size)
    checkpoint = noted.checkpoint
    index = _index(backend, checkpoint.origin, cursor)
    if index >= checkpoint.size:
        raise NotSealed(f"the checkpoint of {checkpoint.size} spans is older than the span: leave --size away")
    entry = bytes.fromhex(span_hash(span.columns()))
    tree = Tree(storage, checkpoint.size)
    if tree.entries(index // WIDTH)[index % WIDTH] != entry:
        raise CommandFailed(
            f"span {span.id} seq {span.seq} is not what was sealed as number {index} of {checkpoint.origin}: "
            "run `loglineos fsck`, which names what is wrong"
        )
    path = tuple(inclusion_path(index, checkpoint.size, tree.subtree))
    _require_root(span, entry, index, path, checkpoint)
    return span, InclusionProof(index, path, noted.note, _extra(span, content=content))


def check(text: str, keys: Sequence[NoteKey]) -> Proved:
    """What a proof file shows. Nothing but the file and the keys is needed.

    Raises:
        ProofInvalid: with the reason.
    """
    proof = InclusionProof.parse(text)
    span, curr_hash = _from_extra(proof.extra)
    try:
        if span is not None:
            verify(span, None)
    except VerificationFailed as error:
        raise ProofInvalid(f"the span in the file is not sound: {error.reason}") from None
    checkpoint = proof.verify(bytes.fromhex(curr_hash), keys)
    return Proved(span, curr_hash, proof.index, checkpoint)


def _read_span(backend: Backend, span_id: UUID, seq: int | None) -> tuple[Span, Cursor]:
    rows = _query(backend, _SPAN, str(span_id), seq)
    if not rows:
        version = "" if seq is None else f" seq {seq}"
        raise CommandFailed(f"the ledger has no span {span_id}{version}")
    row = rows[0]
    cursor = Cursor(row.pop("era"), int(row.pop("xid")), row.pop("position"))
    span = Span.model_validate({name: value for name, value in row.items() if value is not None})
    if span_hash(span.columns()) != span.curr_hash:
        raise CommandFailed(f"span {span.id} seq {span.seq}: its columns do not match its hash. Run `loglineos fsck`")
    return span, cursor


def _require_root(span: Span, entry: bytes, index: int, path: Sequence[bytes], checkpoint: Checkpoint) -> None:
    """What is handed over holds."""
    try:
        verify_inclusion(leaf_hash(entry), index, checkpoint.size, path, checkpoint.root)
    except ProofInvalid:
        raise LogDamaged(
            f"the log's tiles do not lead from span {span.id} seq {span.seq} to the root of {checkpoint.origin} over"
            f" {checkpoint.size} spans: run `loglineos fsck`, which names the tile"
        ) from None


def _index(backend: Backend, origin: str, cursor: Cursor) -> int:
    """The span's number in the log: those of the checkpoints before it, and the spans between."""
    log = str(derived_id("checkpoint", origin))
    for seq, end in _checkpoints_behind(backend, log, cursor):
        if end >= cursor:
            before, begun = Cursor(0, 0, 0), 0
            if seq:
                earlier = _query(backend, _ONE, log, seq - 1)[0]["metadata"]
                before, begun = Cursor.parse(earlier["end"]), earlier["size"]
            return int(begun + _query(backend, _BETWEEN, *_place(before), *_place(cursor))[0]["spans"] - 1)
    raise NotSealed(f"no checkpoint of {origin} has sealed the span yet: run `loglineos checkpoint`")


def _checkpoints_behind(backend: Backend, log: str, cursor: Cursor) -> Iterator[tuple[int, Cursor]]:
    """Each with its seq, and where the spans that it seals end."""
    seq = -1
    while rows := _query(backend, _NEXT, log, seq, *_place(cursor), PAGE):
        for row in rows:
            seq = row["seq"]
            yield seq, Cursor.parse(row["end"])


def _query(backend: Backend, sql: str, *parameters: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = backend.migration({"action": "query", "sql": sql, "params": list(parameters)})["rows"]
    return rows


def _place(cursor: Cursor) -> tuple[int, str, int]:
    return cursor.era, str(cursor.xid), cursor.position


def _extra(span: Span, *, content: bool) -> bytes:
    given: dict[str, Any] = {"curr_hash": span.curr_hash}
    if content:  # as it is hashed, so that whoever knows RFC 8785 alone gets the same bytes (docs/audit.md)
        proof = {name: value for name in PROOF_COLUMNS if (value := getattr(span, name)) is not None}
        given = {**hashed_values(span.columns()), **proof}
    return json.dumps({"format": EXTRA_VERSION, "span": given}, ensure_ascii=False).encode()


def _from_extra(extra: bytes | None) -> tuple[Span | None, str]:
    """The span in the file, or just the hash of one."""
    try:
        given = json.loads(extra or b"null")
        if given["format"] != EXTRA_VERSION:
            raise ProofInvalid(f"expected a file of {EXTRA_VERSION}, not {given['format']!r:.60}")
        values = given["span"]
        if set(values) == {"curr_hash"}:
            if not _HASH.fullmatch(values["curr_hash"]):
                raise ValueError
            return None, values["curr_hash"]
        if placed := [name for name in ASSIGNED_COLUMNS if name in values]:
            raise ProofInvalid(f"the span in the file has {', '.join(placed)}, which no hash covers: take them out")
        span = parse_span(values)
    except InvalidInput as error:
        raise ProofInvalid(f"the span in the file is not one: {error.message}") from None
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ProofInvalid(f"the proof's extra line does not hold a span ({EXTRA_VERSION})") from None
    return span, span.curr_hash or ""
