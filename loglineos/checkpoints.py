"""The log's checkpoints as its storage and its ledger tell of them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from ledger.ids import derived_id
from ledger.read import Cursor
from ledger.storage import Storage
from loglineos.backend import Backend
from loglineos.errors import CommandFailed
from tlog.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint
from tlog.errors import ProofInvalid
from tlog.merkle import consistency_path, verify_consistency
from tlog.note import NoteKey
from tlog.proofs import ConsistencyProof
from tlog.tiles import CHECKPOINT, HISTORY, Tree, checkpoint_path

MAX_BEHIND: Final = 1_000_000  # more are not counted: the statement would run too long
_NEWEST: Final = """
SELECT seq, at, public_key, metadata->>'size' AS size, metadata->>'end' AS end
  FROM ledger.universal_registry WHERE id = $1::uuid ORDER BY seq DESC LIMIT 1
"""
_BEHIND: Final = """
SELECT count(*) AS spans FROM (
  SELECT FROM ledger.universal_registry
   WHERE position >= 0 AND (era, xid, position) > ($1, $2::text::xid8, $3)
   ORDER BY era, xid, position LIMIT $4
) behind
"""


@dataclass(frozen=True)
class Noted:
    """A checkpoint in storage: what it states, and its signed note."""

    checkpoint: Checkpoint
    note: str

    def as_json(self) -> dict[str, Any]:
        """As commands answer it."""
        checkpoint = self.checkpoint
        return {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex()}


@dataclass(frozen=True)
class Told:
    """What the ledger says of its newest checkpoint: when, by which key, how many spans came later."""

    seq: int
    size: int
    at: str
    key: NoteKey
    behind: int

    def as_json(self) -> dict[str, Any]:
        """As commands answer it. `behind` counts up to a million."""
        return {"seq": self.seq, "size": self.size, "at": self.at, "key": str(self.key), "behind": self.behind}


def newest_in(storage: Storage) -> Noted:
    """The newest checkpoint of a log. Raises CommandFailed, ProofInvalid."""
    return _read(storage, CHECKPOINT, "seal the first one with `loglineos checkpoint`")


def of_size(storage: Storage, size: int) -> Noted:
    """The checkpoint of that size. Raises CommandFailed, ProofInvalid."""
    return _read(storage, checkpoint_path(size), "`loglineos checkpoint list` names those that it has")


def newest_of(storage: Storage, limit: int) -> list[Noted]:
    """The newest checkpoints, the largest first."""
    names = deque(storage.names(HISTORY), maxlen=limit)
    return [_read(storage, name, "") for name in reversed(names)]


def _read(storage: Storage, name: str, step: str) -> Noted:
    data = storage.read(name)
    if data is None:
        raise CommandFailed(f"the log in {storage} has no {name}: {step}")
    try:
        note = data.decode()
        return Noted(parse_checkpoint(note.rpartition("\n\n")[0] + "\n"), note)
    except (UnicodeDecodeError, ProofInvalid) as error:
        raise ProofInvalid(f"{name} in {storage} is no checkpoint ({error}): run `loglineos fsck`") from None


def told_by(backend: Backend, origin: str) -> Told | None:
    """What the ledger's newest checkpoint span of a log says. None: it has none."""
    rows = _rows(backend, _NEWEST, str(derived_id("checkpoint", origin)))
    if not rows:
        return None
    row = rows[0]
    end = Cursor.parse(row["end"])
    (behind,) = _rows(backend, _BEHIND, end.era, str(end.xid), end.position, MAX_BEHIND)
    key = NoteKey(origin, bytes.fromhex(row["public_key"]))
    return Told(row["seq"], int(row["size"]), row["at"], key, behind["spans"])


def _rows(backend: Backend, sql: str, *params: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = backend.migration({"action": "query", "sql": sql, "params": list(params)})["rows"]
    return rows


def is_signed_by(noted: Noted, key: NoteKey) -> bool:
    """Has that key signed the note?"""
    try:
        open_checkpoint(noted.note, [key])
    except ProofInvalid:
        return False
    return True


def prove_consistency(storage: Storage, old: int, new: int) -> ConsistencyProof:
    """That the log's tree of `new` spans begins with that of `old`, checked before it is answered.

    Raises:
        CommandFailed: the log has no such checkpoints.
        ProofInvalid: the log has forked between them.
        LogDamaged: tiles are missing.
    """
    older, newer = of_size(storage, old), of_size(storage, new)
    path = tuple(consistency_path(old, new, Tree(storage, new).subtree))
    verify_consistency(old, new, path, older.checkpoint.root, newer.checkpoint.root)
    return ConsistencyProof(old, path, newer.note)
