"""What a search of memories reads: by what the caller sees and by fixed bounds, never by the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from psycopg.errors import Diagnostic

from ledger.database import Identity
from loglineos.local.postgres import Server
from tests.conftest import TestLedger
from tests.ledger.kit import ask, copied_database, set_context

WALKED = 10_000  # as in ledger.search_memory
MEMORIES = 12_000
BATCH = 2_400  # each span takes a lock for the transaction
# Twenty of the tenant `small` throughout, twenty of nobody's tenant, the others of `big`: its two users share all.
_FILL = """
INSERT INTO ledger.universal_registry
  (id, seq, entity_type, who, did, this, at, owner_id, tenant_id, visibility, metadata, curr_hash, name)
SELECT gen_random_uuid(), 0, 'memory', 'w', 'd', 't', now(),
       CASE WHEN n %% 600 = 3 THEN 'alone' WHEN n %% 2 = 0 THEN 'bea' ELSE 'ben' END,
       CASE n %% 600 WHEN 3 THEN NULL WHEN 7 THEN 'small' ELSE 'big' END,
       CASE WHEN n %% 600 = 3 THEN 'private' ELSE 'tenant' END,
       jsonb_build_object('content', concat_ws(' ', 'the things', n, CASE WHEN n <= 20 THEN 'zq firstword' END,
         CASE WHEN n > 11980 THEN 'yq' END, CASE WHEN n <= 7000 THEN 'olden' END,
         CASE WHEN n %% 100 = 1 THEN 'rare' END)),
       encode(sha256(n::text::bytea), 'hex'), n
  FROM generate_series(%s::int, %s::int) n
"""
BIG, SMALL, ALONE = Identity("bea", "big"), Identity("ben", "small"), Identity("alone", None)
NOBODIES = [Identity("bea", "empty"), Identity("bea", None), Identity("nobody", "nowhere"), Identity("alone", "other")]
SHORT = ["zq", "h", "%", "🌙", "q_z"]


@pytest.fixture(scope="module")
def crowded(cluster: Server) -> Iterator[TestLedger]:
    with copied_database(cluster) as ledger:
        with ledger.connect("postgres") as connection:
            for start in range(1, MEMORIES, BATCH):
                connection.execute(_FILL, [start, start + BATCH - 1])
        ask(ledger, "postgres", "ANALYZE ledger.universal_registry")
        yield ledger


def of(caller: Identity) -> list[int]:
    """The numbers of the tenant's memories, newest first."""
    place = {"small": 7, None: 3}.get(caller.tenant_id)
    return [n for n in range(MEMORIES, 0, -1) if (n % 600 not in (3, 7) if place is None else n % 600 == place)]


def numbers(ledger: TestLedger, caller: Identity, *terms: str, limit: int = 100) -> list[int]:
    """What one page finds, in its order."""
    rows = ask(ledger,
        "lambda_exec", "SELECT m.name FROM ledger.search_memory(%s, %s) WITH ORDINALITY f(id, seq, score, place)"
        " JOIN ledger.universal_registry m USING (id, seq) ORDER BY f.place", [list(terms), limit], caller,
    )  # fmt: skip
    return [int(row["name"]) for row in rows]


def buffers(ledger: TestLedger, caller: Identity, *terms: str) -> int:
    """Buffers of a search, the second time in a session: catalogues are cached by then."""
    plan: dict[str, Any] = {}
    with ledger.connect("lambda_exec") as connection:
        for _ in range(2):
            with connection.transaction():
                set_context(connection, caller)
                statement = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM ledger.search_memory(%s, 20)"
                plan = connection.execute(statement, [list(terms)]).fetchall()[0]["QUERY PLAN"][0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def plans(ledger: TestLedger, caller: Identity, *terms: str) -> list[str]:
    """The plans of the statements that a search consists of."""
    messages: list[str] = []

    def heard(diagnostic: Diagnostic) -> None:
        messages.append(diagnostic.message_primary or "")

    with ledger.connect("rdsadmin") as connection, connection.transaction():
        set_context(connection, caller)
        connection.add_notice_handler(heard)
        connection.execute("LOAD 'auto_explain'")
        connection.execute(
            "SELECT set_config('auto_explain.log_min_duration', '0', true),"
            " set_config('client_min_messages', 'log', true),"
            " set_config('auto_explain.log_nested_statements', 'on', true)"
        )
        connection.execute("SELECT * FROM ledger.search_memory(%s, 20)", [list(terms)])
    return [message for message in messages if "Scan" in message and "universal_registry" in message]


def heap_pages(ledger: TestLedger) -> int:
    statement = "SELECT pg_relation_size('ledger.universal_registry') / 8192 AS pages"
    return int(ask(ledger, "postgres", statement)[0]["pages"])


@pytest.mark.parametrize("term", [*SHORT, "the", "olden", "rare"])
@pytest.mark.parametrize("caller", NOBODIES)
def test_who_sees_no_memories_reads_next_to_nothing(crowded: TestLedger, caller: Identity, term: str) -> None:
    assert buffers(crowded, caller, term) < 30
    assert numbers(crowded, caller, term) == []


@pytest.mark.parametrize("term", [*SHORT, "the", "olden", "rare"])
@pytest.mark.parametrize("caller", [SMALL, ALONE, Identity("newcomer", "small")])
def test_who_sees_few_reads_few(crowded: TestLedger, caller: Identity, term: str) -> None:
    read = buffers(crowded, caller, term)
    assert read < 200
    assert read < heap_pages(crowded) / 2, "or a scan of the ledger would not be noticed"


@pytest.mark.parametrize("term", [*SHORT, "the", "olden", "rare", "firstword"])
@pytest.mark.parametrize("caller", [BIG, SMALL, ALONE])
def test_no_search_scans_the_ledger(crowded: TestLedger, caller: Identity, term: str) -> None:
    asked = plans(crowded, caller, term)
    assert asked
    assert not [plan for plan in asked if "Seq Scan on universal_registry" in plan]
    for plan in asked:
        assert "Index Cond" in plan, plan


def test_a_common_word_is_read_from_the_newest_until_the_page_is_full(crowded: TestLedger) -> None:
    assert numbers(crowded, BIG, "the", limit=20) == of(BIG)[:20]
    assert numbers(crowded, BIG, "th", "things", limit=20) == of(BIG)[:20]
    assert buffers(crowded, BIG, "the") < 300


def test_a_common_word_of_long_ago_is_found_newest_first(crowded: TestLedger) -> None:
    # More than the index may offer; the walk meets the first of them after 5,000 others.
    assert numbers(crowded, BIG, "olden") == [n for n in of(BIG) if n <= 7000][:100]


def test_a_rare_word_is_found_however_old(crowded: TestLedger) -> None:
    assert numbers(crowded, BIG, "firstword") == [n for n in of(BIG) if n <= 20]
    assert numbers(crowded, BIG, "rare", limit=100) == [n for n in of(BIG) if n % 100 == 1][:100]
    assert buffers(crowded, BIG, "firstword") < 500


def test_a_short_word_is_looked_for_among_the_newest(crowded: TestLedger) -> None:
    assert numbers(crowded, BIG, "yq") == [n for n in of(BIG) if n > 11980]
    assert of(BIG)[-1] < 20
    assert numbers(crowded, BIG, "zq") == [], "they lie behind 10,000 newer ones"
    assert buffers(crowded, BIG, "zq") < 3 * WALKED
    for caller in (SMALL, ALONE):
        assert numbers(crowded, caller, "zq") == [n for n in of(caller) if n <= 20] != []
    # With another word, whose trigrams the index knows, it is found everywhere.
    assert numbers(crowded, BIG, "zq", "firstword") == [n for n in of(BIG) if n <= 20]
