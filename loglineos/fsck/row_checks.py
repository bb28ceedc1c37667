"""What is checked of one span by itself: its hash, its signature, and the version that it follows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ledger.errors import InvalidInput
from ledger.keys import KeyRing
from ledger.proof import signature_matches, span_hash
from ledger.read import Cursor

from .findings import Finding
from .trust import use_of


def cursor_of_row(row: Mapping[str, Any]) -> Cursor:
    """Where a row stands."""
    return Cursor(row["era"], row["xid"], row["position"])


def name_of(row: Mapping[str, Any]) -> str:
    """How findings name a span."""
    return f"{row['id']} seq {row['seq']}"


def check_row(row: Mapping[str, Any], ring: KeyRing) -> tuple[str | None, list[Finding]]:
    """The hash of the row's columns (None: they cannot be hashed), and what is wrong with it."""
    try:
        computed: str | None = span_hash(row)
        unhashable = ""
    except InvalidInput as error:
        computed, unhashable = None, f": {error.message}"
    problems = [*_check_version(row)]
    if computed != row["curr_hash"]:
        sentence = f"its columns do not match its hash{unhashable}" if computed is None else (
            f"its columns hash to {computed[:16]}…, its own hash is {_short(row['curr_hash'])}"
        )  # fmt: skip
        problems.append(("edited", sentence))
    else:
        problems += _check_signature(row, ring)
    found = [Finding(kind, said, name_of(row), cursor=cursor_of_row(row)) for kind, said in problems]
    return computed, found


def _check_signature(row: Mapping[str, Any], ring: KeyRing) -> Iterator[tuple[str, str]]:
    use, signer = use_of(row), row["public_key"]
    if signer is None:
        # What tenants made happen before the loader had a key stays unsigned for ever: that is counted, not found.
        if ring.asks(use) and use != "loader":
            yield "signature_missing", f"it is not signed, and has to be by a {use} key"
        return
    if row["signature"] is None or not signature_matches(row["curr_hash"], row["signature"], signer):
        yield "signature_wrong", f"its signature is not of its key {signer[:16]}… over its hash"
    elif ring.asks(use) and signer not in ring.trusted(use, cursor_of_row(row)):
        known = ring.keys.get(signer)
        if known is not None and known.use == use and known.retired_at is not None:
            yield "key_retired", f"its key {signer[:16]}… was retired from {known.retired_at.size} spans on"
        else:
            yield "key_unknown", f"it is signed by {signer[:16]}…, which is no trusted {use} key"


def _check_version(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if row["before_seq"] is None:
        if row["keyed"] and row["prev_hash"] is not None:
            yield "chain_broken", f"it follows {_short(row['prev_hash'])}, of which the ledger has no version"
        return
    if row["prev_hash"] != row["before_hash"]:
        before = f"seq {row['before_seq']} ({_short(row['before_hash'])})"
        yield "fork", f"it follows {_short(row['prev_hash'])}, and not {before} before it"
    if not row["before_same"]:
        yield "taken_over", f"its owner, tenant or type is not that of seq {row['before_seq']}"
    if row["before_later"]:
        yield "moved", f"it stands before seq {row['before_seq']}, which it follows"


def _short(digest: str | None) -> str:
    return f"{digest[:16]}…" if digest else "nothing"
