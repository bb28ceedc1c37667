"""Append to the ledger what `row/` has and it does not: all or nothing, and a second time a no-op."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, LiteralString
from uuid import UUID

from nacl.signing import SigningKey

from ledger.append import insert_sealed
from ledger.connection import Connection
from ledger.errors import LedgerError, VerificationFailed
from ledger.proof import seal, verify
from ledger.read import span_of
from ledger.span import Span

_STORED: Final[LiteralString] = "SELECT * FROM ledger.universal_registry WHERE id = ANY(%s) ORDER BY id, seq"


class SeedConflict(LedgerError):
    """A row differs from what the ledger already holds under its id and seq."""

    code = "seed_conflict"


@dataclass
class SeedReport:
    """What became of each row: `inserted`, `unchanged`, or `skipped` (older than the ledger's latest)."""

    inserted: list[Span] = field(default_factory=list)
    unchanged: list[Span] = field(default_factory=list)
    skipped: list[Span] = field(default_factory=list)


def seed(
    connection: Connection,
    rows: Mapping[UUID, Sequence[Span]],
    key: SigningKey | None,
    trusted: frozenset[str],
) -> SeedReport:
    """Bring the ledger up to the rows, in one transaction.

    Args:
        rows: versions by id in order of `seq`, as `rows.read_rows` gives them.
        key: signs rows that carry no signature of their own.
        trusted: public keys of which one must have signed every row; empty asks for no signature.

    Raises:
        SeedConflict: the ledger holds other content under a row's id and seq.
        VerificationFailed: a row is not signed by a trusted key.
    """
    report = SeedReport()
    with connection.transaction():
        stored: dict[UUID, list[Span]] = {}
        for found in connection.execute(_STORED, [list(rows)]):
            stored.setdefault(found["id"], []).append(span_of(found))
        for span_id, versions in rows.items():
            _plan(versions, stored.get(span_id, []), key, trusted, report)
        insert_sealed(connection, report.inserted)
    return report


def _plan(
    versions: Sequence[Span],
    stored: Sequence[Span],
    key: SigningKey | None,
    trusted: frozenset[str],
    report: SeedReport,
) -> None:
    by_seq = {span.seq: span for span in stored}
    head = stored[-1] if stored else None
    previous: Span | None = None
    for row in versions:
        present = by_seq.get(row.seq)
        if present is None and head is not None and row.seq < head.seq:
            report.skipped.append(row)
            continue
        # A row follows what the ledger has, or the row that goes in just before it, whichever is the later.
        earlier = [span for span in (_before(row, stored), previous) if span is not None]
        before = max(earlier, key=lambda span: span.seq, default=None)
        sealed = _sealed(row, before.curr_hash if before else None, key)
        if present is not None:
            _require_same(sealed, present, trusted)
            report.unchanged.append(sealed)
        else:
            _require_trusted(sealed, trusted)
            report.inserted.append(sealed)
        previous = sealed


def _before(row: Span, stored: Sequence[Span]) -> Span | None:
    return next((span for span in reversed(stored) if span.seq < row.seq), None)


def _sealed(row: Span, prev_hash: str | None, key: SigningKey | None) -> Span:
    linked = row.with_values(prev_hash=prev_hash)
    if row.signature is None:
        return seal(linked, key)
    return seal(linked, None).with_values(signature=row.signature, public_key=row.public_key)


def _require_same(sealed: Span, present: Span, trusted: frozenset[str]) -> None:
    if sealed.curr_hash != present.curr_hash:
        raise SeedConflict(
            f"{sealed.name} ({sealed.id}) seq {sealed.seq} is in the ledger with other content: "
            "raise its seq to publish a new version",
            id=str(sealed.id),
            seq=sealed.seq,
            stored_hash=present.curr_hash,
            given_hash=sealed.curr_hash,
        )
    try:
        verify(present, trusted or None)
    except VerificationFailed as error:
        raise SeedConflict(
            f"{sealed.name} ({sealed.id}) seq {sealed.seq} in the ledger cannot be trusted: {error.reason}. "
            "Raise its seq to publish a version that a trusted key signs",
            id=str(sealed.id),
            seq=sealed.seq,
            reason=error.reason,
        ) from error


def _require_trusted(sealed: Span, trusted: frozenset[str]) -> None:
    try:
        verify(sealed, trusted or None)
    except VerificationFailed as error:
        raise VerificationFailed(f"{sealed.name} ({sealed.id}) seq {sealed.seq}", error.reason) from error


def summary(spans: Sequence[Span]) -> list[dict[str, Any]]:
    """Spans as a report names them."""
    return [{"id": str(span.id), "name": span.name, "seq": span.seq} for span in spans]
