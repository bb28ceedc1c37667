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
from ledger.ids import MANIFEST_ID
from ledger.keys import KeyRing, announced_keys
from ledger.proof import seal
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
        trusted: the configured public keys. One of them, or of those that the manifest announces, these rows'
            included, must have signed every row; empty asks for no signature.

    Raises:
        SeedConflict: the ledger holds other content under a row's id and seq.
        VerificationFailed: a row is not signed by a key that counts, or a manifest would announce nothing.
        InvalidInput: a manifest's `keys` are malformed.
    """
    report = SeedReport()
    with connection.transaction():
        stored: dict[UUID, list[Span]] = {}
        for found in connection.execute(_STORED, [[*rows, MANIFEST_ID]]):
            stored.setdefault(found["id"], []).append(span_of(found))
        for span_id, versions in rows.items():
            _plan(versions, stored.get(span_id, []), key, report)
        keys = _keys(stored.get(MANIFEST_ID, []), report.inserted, trusted)
        for sealed in report.inserted:
            _require_trusted(sealed, keys)
        replaced = {span.id for span in report.inserted}
        for head in (stored[span_id][-1] for span_id in rows if span_id in stored and span_id not in replaced):
            _require_head_trusted(head, keys)
        insert_sealed(connection, report.inserted)
    return report


def _keys(stored: Sequence[Span], inserted: Sequence[Span], trusted: frozenset[str]) -> KeyRing:
    """The keys that count once the rows are in the ledger. What a new manifest says of keys has to hold."""
    manifests = [span for span in inserted if span.id == MANIFEST_ID]
    for manifest in manifests:
        announced_keys(manifest.metadata, f"manifest seq {manifest.seq}: metadata")
    keys = KeyRing.build({"row": trusted}, [*stored, *manifests])
    for manifest in manifests:
        keys.require_heard(manifest.seq)
    return keys


def _plan(
    versions: Sequence[Span],
    stored: Sequence[Span],
    key: SigningKey | None,
    report: SeedReport,
) -> None:
    """Sort the versions of one row into the report."""
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
            _require_same(sealed, present)
            report.unchanged.append(sealed)
        else:
            report.inserted.append(sealed)
        previous = sealed


def _before(row: Span, stored: Sequence[Span]) -> Span | None:
    return next((span for span in reversed(stored) if span.seq < row.seq), None)


def _sealed(row: Span, prev_hash: str | None, key: SigningKey | None) -> Span:
    linked = row.with_values(prev_hash=prev_hash)
    if row.signature is None:
        return seal(linked, key)
    return seal(linked, None).with_values(signature=row.signature, public_key=row.public_key)


def _require_same(sealed: Span, present: Span) -> None:
    if sealed.curr_hash != present.curr_hash:
        raise SeedConflict(
            f"{sealed.name} ({sealed.id}) seq {sealed.seq} is in the ledger with other content: "
            "raise its seq to publish a new version",
            id=str(sealed.id),
            seq=sealed.seq,
            stored_hash=present.curr_hash,
            given_hash=sealed.curr_hash,
        )


def _require_head_trusted(head: Span, keys: KeyRing) -> None:
    """The latest version is what runs. Of an earlier one its content is enough: its key may have been retired."""
    try:
        keys.verify(head, "row")
    except VerificationFailed as error:
        raise SeedConflict(
            f"{head.name} ({head.id}) seq {head.seq} in the ledger cannot be trusted: {error.reason}. "
            "Set TRUSTED_ROW_KEYS to the deployment's keys (to nothing where rows are not signed); if it is: "
            "raise the row's seq to publish a version that a trusted key signs",
            id=str(head.id),
            seq=head.seq,
            reason=error.reason,
        ) from error


def _require_trusted(sealed: Span, keys: KeyRing) -> None:
    try:
        keys.verify(sealed, "row")
    except VerificationFailed as error:
        reason = f"{error.reason}. Sign it with one that counts: `loglineos keys sign` (docs/keys.md)"
        raise VerificationFailed(f"{sealed.name} ({sealed.id}) seq {sealed.seq}", reason) from error


def summary(spans: Sequence[Span]) -> list[dict[str, Any]]:
    """Spans as a report names them."""
    return [{"id": str(span.id), "name": span.name, "seq": span.seq} for span in spans]
