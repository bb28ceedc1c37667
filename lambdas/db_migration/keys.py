"""Whose signatures count in this ledger, how many spans each key signed, and what retiring one would mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, LiteralString

from ledger.connection import Connection
from ledger.errors import InvalidInput
from ledger.ids import MANIFEST_ID, derived_id
from ledger.keys import NOTHING_COUNTS, KeyRing, KnownKey, Retirement
from ledger.proof import parse_public_keys, parse_signing_key
from ledger.read import Cursor, span_of
from ledger.secret import read_secret
from tlog.note import NoteKey

from .notary.settings import keys_before

# What is counted of what the loader signs, and of what is sealed: rows are few, so all of them are.
COUNTED: Final = 100_000
_VERSIONS: Final[LiteralString] = "SELECT * FROM ledger.universal_registry WHERE id = %s ORDER BY seq"
_HEAD: Final[LiteralString] = "SELECT max(seq) AS seq FROM ledger.universal_registry WHERE id = %s"
_SIGNED: Final[LiteralString] = """
SELECT 'row' AS use, public_key, count(*) AS spans FROM ledger.universal_registry
WHERE id >= '00000000-0000-4000-8000-000000000000' AND id <= '00000000-0000-4000-8000-ffffffffffff'
GROUP BY public_key
UNION ALL
SELECT 'checkpoint', public_key, count(*) FROM (
  SELECT public_key FROM ledger.universal_registry WHERE owner_id IN ('notary', 'archivist') AND tenant_id = 'system'
  LIMIT %(counted)s
) sealed GROUP BY public_key
UNION ALL
SELECT 'loader', public_key, count(*) FROM (
  SELECT id, owner_id, tenant_id, public_key FROM ledger.universal_registry WHERE position >= 0
  ORDER BY era DESC, xid DESC, position DESC LIMIT %(counted)s
) newest
WHERE NOT (id >= '00000000-0000-4000-8000-000000000000' AND id <= '00000000-0000-4000-8000-ffffffffffff')
  AND NOT (owner_id IN ('notary', 'archivist') AND tenant_id IS NOT DISTINCT FROM 'system')
GROUP BY public_key
"""
_CHECKPOINT: Final[LiteralString] = """
SELECT * FROM ledger.universal_registry
WHERE id = %s AND entity_type = 'checkpoint' AND (%s::text IS NULL OR metadata ->> 'size' = %s)
ORDER BY seq DESC LIMIT 1
"""
_LATER: Final[LiteralString] = """
SELECT count(*) AS spans FROM (
  SELECT public_key FROM ledger.universal_registry
  WHERE position >= 0 AND (era, xid, position) > (%s, %s::text::xid8, %s)
  ORDER BY era, xid, position LIMIT %s
) later WHERE public_key = %s
"""
# Behind the place, of the log's own spans.
_OF_LOG: Final[LiteralString] = """
SELECT count(*) AS spans FROM ledger.universal_registry
WHERE id = ANY(%s) AND (era, xid, position) > (%s, %s::text::xid8, %s) AND public_key = %s
"""


def log_key(environment: Mapping[str, str]) -> NoteKey | None:
    """The public key of the log's checkpoints under the log's name; None where the private one is not at hand."""
    private, origin = read_secret("CHECKPOINT_KEY", environment), environment.get("LOG_ORIGIN")
    if not private or not origin:
        return None
    return NoteKey(origin, bytes(parse_signing_key(private, "CHECKPOINT_KEY_HEX").verify_key))


def key_ring(connection: Connection, environment: Mapping[str, str]) -> KeyRing:
    """The keys that count in this ledger. Raises Misconfigured."""
    current = log_key(environment)
    rows = parse_public_keys(environment.get("TRUSTED_ROW_KEYS", ""), "TRUSTED_ROW_KEYS")
    sealed = {current.public_key.hex()} if current else set[str]()
    if before := environment.get("CHECKPOINT_KEYS_BEFORE"):
        sealed |= keys_before(before, environment.get("LOG_ORIGIN", ""))
    versions = [span_of(row) for row in connection.execute(_VERSIONS, [MANIFEST_ID])]
    return KeyRing.build({"row": rows, "checkpoint": sealed}, versions)


def show_keys(connection: Connection, environment: Mapping[str, str]) -> dict[str, Any]:
    """Known keys, manifest versions that announce nothing, and how many spans which key signed (None: unsigned).

    `signed` counts all rows, and of what the loader and the notary sign the newest 100,000 each.
    """
    ring, current = key_ring(connection, environment), log_key(environment)
    (head,) = connection.execute(_HEAD, [MANIFEST_ID]).fetchall()
    signed = connection.execute(_SIGNED, {"counted": COUNTED}).fetchall()
    return {
        "manifest_seq": head["seq"],
        "rows_must_be_signed": ring.row_roots,
        "keys": [_described(key) for key in ring.keys.values()],
        "unheard": [{"seq": version.seq, "reason": version.reason} for version in ring.unheard],
        "log_key": str(current) if current else None,
        "signed": [dict(row) for row in signed],
        "counted": COUNTED,
    }


def _described(key: KnownKey) -> dict[str, Any]:
    return {
        "public_key": key.public_key,
        "use": key.use,
        "root": key.root,
        "name": key.name,
        "announced_seq": key.announced_seq,
        "retired_at": key.retired_at.as_json() if key.retired_at else None,
    }


def show_retirement(
    connection: Connection, environment: Mapping[str, str], public_key: str, from_size: int | None
) -> dict[str, Any]:
    """From which checkpoint on a key would be retired, and how many spans that it signed later would not count.

    `from_size` None: the newest checkpoint. 0: all of its signatures are taken back. At most 100,000 are looked at;
    `of_log`, how many of the log's own spans are among them, is counted over all.

    Raises:
        InvalidInput: there is no checkpoint of that size.
        VerificationFailed: its span is not as it was signed.
    """
    place = NOTHING_COUNTS if from_size == 0 else _checkpoint(connection, environment, from_size)
    end = [place.end.era, str(place.end.xid), place.end.position]
    (later,) = connection.execute(_LATER, [*end, COUNTED, public_key]).fetchall()
    log = [derived_id(kind, environment.get("LOG_ORIGIN", "")) for kind in ("checkpoint", "archive")]
    (of_log,) = connection.execute(_OF_LOG, [log, *end, public_key]).fetchall()
    return {"retired_at": place.as_json(), "later": later["spans"], "of_log": of_log["spans"]}


def _checkpoint(connection: Connection, environment: Mapping[str, str], size: int | None) -> Retirement:
    span_id = derived_id("checkpoint", environment.get("LOG_ORIGIN", ""))
    given = None if size is None else str(size)
    rows = connection.execute(_CHECKPOINT, [span_id, given, given]).fetchall()
    if not rows:
        step = "`loglineos checkpoint list` names them, `loglineos checkpoint` makes one"
        raise InvalidInput("from_size", f"expected the size of a checkpoint of this ledger: {step}")
    span = span_of(rows[0])
    key_ring(connection, environment).verify(span, "checkpoint")
    metadata = span.metadata or {}
    return Retirement(size=metadata["size"], end=Cursor.parse(metadata["end"]))
