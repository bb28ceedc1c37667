"""Read the whole ledger in commit order, in stretches that several processes take at once."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, LiteralString
from uuid import UUID

from ledger.connection import Connection, Target, connect
from ledger.ids import MANIFEST_ID
from ledger.keys import KeyRing, Use
from ledger.read import BEGINNING, Cursor, span_of

from .findings import Finding
from .row_checks import check_row, cursor_of_row, name_of
from .trust import use_of

STRETCH: Final = 2048  # spans
AT_ONCE: Final = 200  # rows that a connection holds: a span may have 1 MB

_HORIZON: Final[LiteralString] = """
SELECT ledger.current_era() AS era, pg_snapshot_xmin(pg_current_snapshot()) AS xmin, EXISTS (
  SELECT FROM pg_index i
   WHERE i.indrelid = 'ledger.universal_registry'::regclass AND i.indisunique AND i.indisvalid AND i.indisready
     AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indnkeyatts = 2
     AND pg_get_indexdef(i.indexrelid, 1, true) = 'id' AND pg_get_indexdef(i.indexrelid, 2, true) = 'seq'
) AS keyed
"""
_LAST_POSITION: Final[LiteralString] = "SELECT ledger.last_position() AS position"
_MANIFESTS: Final[LiteralString] = "SELECT * FROM ledger.universal_registry WHERE id = %s ORDER BY seq"
_ESTIMATE: Final[LiteralString] = """
SELECT greatest(reltuples, 0)::bigint AS spans FROM pg_class WHERE oid = 'ledger.universal_registry'::regclass
"""
_END: Final[LiteralString] = """
SELECT era, xid, position FROM ledger.universal_registry
 WHERE position >= 0 AND (era, xid, position) > (%s, %s::text::xid8, %s) AND (era, xid) < (%s, %s::text::xid8)
 ORDER BY era, xid, position OFFSET %s LIMIT 1
"""
_SPANS: Final[LiteralString] = """
SELECT r.*, %s::boolean AS keyed, b.seq AS before_seq, b.curr_hash AS before_hash,
       (b.era, b.xid, b.position) > (r.era, r.xid, r.position) AS before_later,
       (b.owner_id, b.entity_type) = (r.owner_id, r.entity_type)
         AND b.tenant_id IS NOT DISTINCT FROM r.tenant_id AS before_same
  FROM ledger.universal_registry r
  LEFT JOIN LATERAL (
    SELECT * FROM ledger.universal_registry e WHERE e.id = r.id AND e.seq < r.seq ORDER BY e.seq DESC LIMIT 1
  ) b ON %s::boolean
 WHERE r.position >= 0 AND (r.era, r.xid, r.position) > (%s, %s::text::xid8, %s)
   AND (r.era, r.xid, r.position) <= (%s, %s::text::xid8, %s) AND (r.era, r.xid) < (%s, %s::text::xid8)
 ORDER BY r.era, r.xid, r.position
"""
# A superuser can put a row where the order's index does not have it, or where it would be read only in years. Where the
# order ends is asked in the same snapshot: since the walk began others have appended, and may have begun an era.
_MISPLACED: Final[LiteralString] = """
SELECT id, seq, era, xid, position FROM ledger.universal_registry
 WHERE position < 0 OR era IS NULL OR xid IS NULL OR position IS NULL
UNION ALL
SELECT id, seq, era, xid, position FROM ledger.universal_registry
 WHERE position >= 0 AND (
   era > ledger.current_era()
   OR (era, xid, position) >= (ledger.current_era(), pg_snapshot_xmax(pg_current_snapshot()), 0::bigint)
 )
 LIMIT 1000
"""
_TWICE: Final[LiteralString] = """
SELECT id, seq, count(*) AS times FROM ledger.universal_registry GROUP BY id, seq HAVING count(*) > 1
 ORDER BY id, seq LIMIT 1000
"""
_LAST: Final = Cursor(2**31 - 1, 2**64 - 1, 2**63 - 1)


@dataclass(frozen=True)
class Horizon:
    """Up to where the ledger is final: below the oldest transaction that is open.

    `keyed`: the table has its primary key. Without, the version before another could be looked for only in all spans.
    """

    era: int
    xmin: int
    keyed: bool


@dataclass(frozen=True)
class Leaf:
    """What the tree needs of a span, and how it is named. `computed` is None where its columns cannot be hashed."""

    id: UUID
    seq: int
    cursor: Cursor
    computed: bytes | None
    stored: bytes


@dataclass(frozen=True)
class Stretch:
    """What one process made of a stretch: its leaves in order, what is wrong, who signed how many.

    `loader_signed` and `loader_unsigned` are the numbers in it of the first span of the loader's that is signed, and of
    those that are not.
    """

    leaves: list[Leaf] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    signatures: dict[str, int] = field(default_factory=dict)
    loader_signed: list[int] = field(default_factory=list)
    loader_unsigned: list[int] = field(default_factory=list)

    def take(self, row: dict[str, Any], ring: KeyRing) -> None:
        """Check the next row."""
        computed, found = check_row(row, ring)
        self.findings.extend(found)
        cursor, signer = cursor_of_row(row), row["public_key"] or ""
        self.signatures[signer] = self.signatures.get(signer, 0) + 1
        if use_of(row) == "loader":
            if not signer:
                self.loader_unsigned.append(len(self.leaves))
            elif not self.loader_signed:
                self.loader_signed.append(len(self.leaves))
        hashed = bytes.fromhex(computed) if computed else None
        self.leaves.append(Leaf(row["id"], row["seq"], cursor, hashed, _digest(row["curr_hash"])))


def _digest(stored: str | None) -> bytes:
    """Its bytes; none where the table's checks were dropped and it is no hash: the row is found as edited."""
    try:
        return bytes.fromhex(stored or "")
    except ValueError:
        return b""


def open_ledger(target: Target) -> Connection:
    """A read-only connection that walks the ledger's order by its index. Raises LedgerUnavailable."""
    connection = connect(target)
    connection.execute(
        "SELECT set_config('enable_seqscan', 'off', false), set_config('enable_bitmapscan', 'off', false)"
    )
    connection.read_only = True
    return connection


def horizon_of(connection: Connection) -> Horizon:
    """As it is now."""
    row = connection.execute(_HORIZON).fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM has a row
    return Horizon(row["era"], row["xmin"], row["keyed"])


def key_ring(connection: Connection, roots: Mapping[Use, Collection[str]]) -> KeyRing:
    """The keys that were given, and those that the ledger's manifest announces on their word."""
    return KeyRing.build(roots, [span_of(row) for row in connection.execute(_MANIFESTS, [MANIFEST_ID])])


def last_position(connection: Connection) -> int:
    """The newest position that the database gave out, whatever became of the span."""
    row = connection.execute(_LAST_POSITION).fetchone()
    return int(row["position"]) if row else 0


def estimated_spans(connection: Connection) -> int:
    """For the progress bar."""
    row = connection.execute(_ESTIMATE).fetchone()
    return int(row["spans"]) if row else 0


def misplaced(connection: Connection) -> list[Finding]:
    """Spans that no reader of the ledger's order would meet."""
    found = connection.execute(_MISPLACED).fetchall()
    return [
        Finding(
            "misplaced",
            f"it stands at era {row['era']}, transaction {row['xid']}, position {row['position']}",
            name_of(row),
            cursor=None if None in row.values() else cursor_of_row(row),
        )
        for row in found
    ]


def unguarded(connection: Connection, horizon: Horizon) -> list[Finding]:
    """What the primary key would have refused, where somebody took it away."""
    if horizon.keyed:
        return []
    sentence = (
        "ledger.universal_registry has no valid primary key (id, seq): no version was held against the one before"
    )
    found = connection.execute(_TWICE).fetchall()
    return [
        Finding("unguarded", sentence),
        *(Finding("fork", f"this version is there {row['times']} times", name_of(row)) for row in found),
    ]


def boundaries(connection: Connection, horizon: Horizon) -> Iterator[tuple[Cursor, Cursor]]:
    """Stretches of the ledger, each after its first cursor up to and with its second."""
    after = BEGINNING
    while True:
        given = [*_place(after), horizon.era, str(horizon.xmin), STRETCH - 1]
        row = connection.execute(_END, given).fetchone()
        end = cursor_of_row(row) if row else _LAST
        yield after, end
        if row is None:
            return
        after = end


def read_stretch(connection: Connection, after: Cursor, end: Cursor, horizon: Horizon, ring: KeyRing) -> Stretch:
    """Recompute a stretch. Memory is that of its leaves, whatever the size of its spans."""
    stretch = Stretch()
    given = [horizon.keyed, horizon.keyed, *_place(after), *_place(end), horizon.era, str(horizon.xmin)]
    with connection.transaction(), connection.cursor("fsck") as cursor:
        cursor.itersize = AT_ONCE
        for row in cursor.execute(_SPANS, given):
            stretch.take(row, ring)
    return stretch


def read_all(target: Target, connection: Connection, horizon: Horizon, ring: KeyRing, jobs: int) -> Iterator[Stretch]:
    """All stretches in order, recomputed by `jobs` processes at once; 1 does it in this one."""
    if jobs == 1:
        with open_ledger(target) as own:
            for after, end in boundaries(connection, horizon):
                yield read_stretch(own, after, end, horizon, ring)
        return
    waiting: deque[Future[Stretch]] = deque()
    # Not forked: a child would share this process's connections.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(target, horizon, ring)) as pool:
        for after, end in boundaries(connection, horizon):
            waiting.append(pool.submit(_work, after, end))
            if len(waiting) > 2 * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def processors() -> int:
    """How many processes are worth while here."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_process: dict[str, Any] = {}


def _begin(target: Target, horizon: Horizon, ring: KeyRing) -> None:
    _process.update(connection=open_ledger(target), horizon=horizon, ring=ring)


def _work(after: Cursor, end: Cursor) -> Stretch:
    return read_stretch(_process["connection"], after, end, _process["horizon"], _process["ring"])


def _place(cursor: Cursor) -> tuple[int, str, int]:
    return cursor.era, str(cursor.xid), cursor.position
