"""The ledger's own checkpoints: versions of one span, of which there can be no two for one place in the log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final, LiteralString
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StrictInt, ValidationError

from ledger.append import append
from ledger.database import Database, Identity
from ledger.errors import InvalidInput, VerificationFailed
from ledger.ids import MANIFEST_ID, derived_id
from ledger.keys import KeyRing
from ledger.read import Cursor, cursor_of, span_of, versions
from ledger.span import Hash, Span, first_problem, parse_span
from tlog.checkpoint import Checkpoint, open_checkpoint
from tlog.errors import ProofInvalid
from tlog.note import NoteKey

from .leaves import Leaf
from .settings import SealingRefused, Settings

NOTARY: Final = Identity("notary", "system")
_FIRST_PAGE, _PAGE = 2, 100  # mostly the newest is all that is asked for
_OLDER: Final[LiteralString] = """
SELECT * FROM ledger.universal_registry WHERE id = %s AND seq < %s ORDER BY seq DESC LIMIT %s
"""
_NEWER: Final[LiteralString] = """
SELECT * FROM ledger.universal_registry WHERE id = %s AND seq > %s ORDER BY seq LIMIT %s
"""
_PLACED: Final[LiteralString] = """
SELECT curr_hash, era, xid, position FROM ledger.universal_registry WHERE id = %s AND seq = %s
"""
_LARGEST_SEQ: Final = 2**31 - 1


class _Metadata(BaseModel):
    model_config = ConfigDict(frozen=True)

    origin: str
    size: Annotated[StrictInt, Field(ge=1, le=2**53 - 1)]
    root: Hash
    note: str
    end: str


@dataclass(frozen=True)
class Sealed:
    """A checkpoint of the ledger: what was signed, and where the last span stands that it seals."""

    checkpoint: Checkpoint
    note: str
    end: Cursor
    span: Span


class Chain:
    """The checkpoint spans of a log. Every one that it answers has been verified."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database, self._settings = database, settings
        self.id: UUID = derived_id("checkpoint", settings.origin)
        self.ring: KeyRing = settings.keys(versions(database, NOTARY, MANIFEST_ID))

    def newest(self) -> Sealed | None:
        """The newest checkpoint. Raises SealingRefused."""
        return next(self.backwards(), None)

    def backwards(self) -> Iterator[Sealed]:
        """From the newest to the first. Raises SealingRefused."""
        yield from self._walk(_OLDER, _LARGEST_SEQ + 1)

    def forwards(self, after_seq: int = -1) -> Iterator[Sealed]:
        """From the first behind `after_seq` to the newest. Raises SealingRefused."""
        yield from self._walk(_NEWER, after_seq)

    def _walk(self, statement: LiteralString, seq: int) -> Iterator[Sealed]:
        page = _FIRST_PAGE
        while rows := self._database.query(NOTARY, statement, [self.id, seq, page]):
            for row in rows:
                yield self._opened(span_of(row))
            seq, page = rows[-1]["seq"], _PAGE

    def require(self, last: Leaf) -> None:
        """The last span that is to be sealed is in this ledger, at its place. Raises SealingRefused.

        Reading and appending are two connections, and one may be made after the other's database was replaced.
        """
        for row in self._database.query(last.owner, _PLACED, [last.id, last.seq]):
            if row["curr_hash"] == last.entry.hex() and Cursor(row["era"], row["xid"], row["position"]) == last.cursor:
                return
        raise SealingRefused(
            f"two databases: the one that is read has span {last.id} seq {last.seq}, which is to be sealed, and the one"
            " that checkpoints are appended to has it not, or elsewhere. Nothing was signed. If the database was just"
            " replaced, run `loglineos checkpoint` again; else let DATABASE_URL and LAMBDA_EXEC_DATABASE_URL lead to"
            " one ledger",
            span_id=str(last.id),
            seq=last.seq,
        )

    def append(self, before: Sealed | None, checkpoint: Checkpoint, note: str, end: Cursor) -> Sealed:
        """The commit point of a checkpoint. Raises VersionConflict: another notary was first."""
        span = parse_span(
            {
                "id": self.id,
                "seq": before.span.seq + 1 if before else 0,
                "prev_hash": before.span.curr_hash if before else None,
                "entity_type": "checkpoint",
                "who": "notary",
                "did": "sealed",
                "this": "ledger",
                "at": datetime.now(UTC),
                "owner_id": NOTARY.user_id,
                "tenant_id": NOTARY.tenant_id,
                "visibility": "tenant",
                "status": "active",
                "metadata": {
                    "origin": checkpoint.origin,
                    "size": checkpoint.size,
                    "root": checkpoint.root.hex(),
                    "note": note,
                    "end": str(end),
                },
            }
        )
        (appended,) = append(self._database, NOTARY, [span], self._settings.key)
        return Sealed(checkpoint, note, end, appended.span)

    def known_keys(self) -> list[NoteKey]:
        """The keys of every checkpoint that the log may have, retired ones among them."""
        known = sorted(key.public_key for key in self.ring.keys.values() if key.use == "checkpoint")
        return [NoteKey(self._settings.origin, bytes.fromhex(key)) for key in known]

    def note_keys(self, place: Cursor) -> list[NoteKey]:
        """The keys whose notes count, by what was known at a place in the ledger."""
        trusted = sorted(self.ring.trusted("checkpoint", place))
        return [NoteKey(self._settings.origin, bytes.fromhex(key)) for key in trusted]

    def _opened(self, span: Span) -> Sealed:
        try:
            self.ring.verify(span, "checkpoint")
            said = _Metadata.model_validate(span.metadata)
            checkpoint = open_checkpoint(said.note, self.note_keys(cursor_of(span)))
            if (said.origin, said.size, said.root) != (checkpoint.origin, checkpoint.size, checkpoint.root.hex()):
                raise ProofInvalid("its note states another checkpoint")
            return Sealed(checkpoint, said.note, Cursor.parse(said.end, "metadata.end"), span)
        except ValidationError as error:
            reason = first_problem(error, "metadata").message
        except VerificationFailed as error:
            reason = error.reason
        except (ProofInvalid, InvalidInput) as error:
            reason = error.message
        raise SealingRefused(
            f"the ledger's checkpoint, span {span.id} seq {span.seq}, does not count: {reason}."
            f" {self._settings.advice(self.ring, span)}",
            span_id=str(span.id),
            seq=span.seq,
        )
