"""Append spans: many in one statement, one transaction, one round trip; the same span twice is a success."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString
from uuid import UUID

import orjson
import psycopg
from nacl.signing import SigningKey

from .connection import Connection
from .database import Identity, Queries, raise_typed
from .errors import InvalidInput
from .proof import seal
from .span import WRITTEN_COLUMNS, Span

MAX_BATCH = 1000  # each span takes a lock for the transaction, and PostgreSQL's lock table is finite

# The rows travel as one JSON text. ON CONFLICT lets a repeat of the identical span pass (the guard has
# compared the hashes by then); any other conflict is the guard's error.
_INSERT: Final[LiteralString] = """
INSERT INTO ledger.universal_registry (
  id, seq, entity_type, who, did, this, at, parent_id, related_to, owner_id, tenant_id, visibility, status,
  is_deleted, name, description, code, language, runtime, input, output, error, metadata, duration_ms, trace_id,
  prev_hash, curr_hash, signature, public_key)
SELECT
  id, seq, entity_type, who, did, this, at, parent_id, related_to, owner_id, tenant_id, visibility, status,
  is_deleted, name, description, code, language, runtime, input, output, error, metadata, duration_ms, trace_id,
  prev_hash, curr_hash, signature, public_key
FROM """
_GIVEN: Final[LiteralString] = """jsonb_to_recordset(%s::jsonb) AS given (
  id uuid, seq integer, entity_type text, who text, did text, this text, at timestamptz, parent_id uuid,
  related_to uuid[], owner_id text, tenant_id text, visibility text, status text, is_deleted boolean, name text,
  description text, code text, language text, runtime text, input jsonb, output jsonb, error jsonb,
  metadata jsonb, duration_ms integer, trace_id text, prev_hash text, curr_hash text, signature text,
  public_key text)
ON CONFLICT (id, seq) DO NOTHING
RETURNING id, seq, era, xid, position
"""
# Policies and guards look at a row when it is inserted, and the rows come out of `context`: so it is set by then,
# and one statement does what a pipeline of two would (a quarter slower, measured).
_CONTEXT: Final[LiteralString] = """
WITH context AS MATERIALIZED (
  SELECT set_config('app.user_id', %s, true), set_config('app.tenant_id', %s, true))"""
INSERT_SPANS: Final[LiteralString] = _INSERT + _GIVEN
INSERT_SPANS_AS: Final[LiteralString] = _CONTEXT + _INSERT + "context, " + _GIVEN


@dataclass(frozen=True)
class Appended:
    """What became of a span: as it was sealed, and whether it is new (False: the ledger had it already)."""

    span: Span
    inserted: bool


def append(database: Queries, identity: Identity, spans: Sequence[Span], key: SigningKey | None) -> list[Appended]:
    """Seal the spans and append them, all or none, in a transaction of their own, in one round trip.

    Raises:
        InvalidInput: a span is too large, or there are more than 1,000.
        NotPermitted: an id, type, owner, tenant or visibility that is not the identity's to append.
        VersionConflict: the (id, seq) is taken by another hash, or does not follow the latest version.
    """
    sealed = [seal(span, key) for span in spans]
    parameters = [identity.user_id, identity.tenant_id or "", _payload(sealed)]
    rows = database.query(None, INSERT_SPANS_AS, parameters) if sealed else []
    return _outcome(sealed, rows)


def append_within(connection: Connection, spans: Sequence[Span], key: SigningKey | None) -> list[Appended]:
    """The same inside a transaction that the caller holds (`Database.transaction`)."""
    sealed = [seal(span, key) for span in spans]
    return insert_sealed(connection, sealed)


def insert_sealed(connection: Connection, sealed: Sequence[Span]) -> list[Appended]:
    """Insert spans that have their hash already, such as rows that were signed elsewhere."""
    try:
        rows = connection.execute(INSERT_SPANS, [_payload(sealed)]).fetchall() if sealed else []
    except psycopg.Error as error:
        raise_typed(error)
    return _outcome(sealed, rows)


def _payload(sealed: Sequence[Span]) -> str:
    if len(sealed) > MAX_BATCH:
        raise InvalidInput("spans", f"at most {MAX_BATCH} in one append, got {len(sealed)}")
    # In the order of ids, so that two batches which share some never wait for each other in a circle.
    ordered = sorted(sealed, key=lambda span: (span.id, span.seq))
    return orjson.dumps([_row(span) for span in ordered]).decode()


def _row(span: Span) -> dict[str, Any]:
    values = span.columns()
    return {name: values[name] for name in WRITTEN_COLUMNS if values[name] is not None}


def _outcome(sealed: Sequence[Span], rows: list[dict[str, Any]]) -> list[Appended]:
    inserted: dict[tuple[UUID, int], dict[str, Any]] = {(row["id"], row["seq"]): row for row in rows}
    return [
        Appended(span.with_values(**inserted[key]), True)
        if (key := (span.id, span.seq)) in inserted
        else Appended(span, False)
        for span in sealed
    ]
