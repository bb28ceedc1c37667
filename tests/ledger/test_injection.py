"""Whatever stands in a text stays a text: classic payloads in every field, in the context and in the readers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ledger.append import append, append_within
from ledger.database import Database, Identity
from ledger.proof import verify
from ledger.read import BEGINNING, newest_page, next_page, versions
from tests.conftest import LOADER_KEY, TestLedger
from tests.ledger.kit import ask, draft, someone

PAYLOADS = [
    "'; DROP TABLE ledger.universal_registry; --",
    "' OR '1'='1",
    "x', true); SELECT set_config('app.user_id', 'alice",
    "alice'--",
    'alice"; SET ROLE admin; --',
    "$$; DELETE FROM ledger.universal_registry; $$",
    "\\'; SELECT pg_sleep(10); --",
    "%s %(x)s {} {0} $1 :name ?",
    "E'\\\\x27' U&'\\0027'",
    "alice/**/UNION/**/SELECT",
    "*",
    "%",
    "alice\r\nRESET ROLE;",
    "a\tb\u2028c\u202ed\ufeff",
    '{"$ne": null}',
    "null",
    "system' AND visibility = 'public",
]
TEXTS = ("who", "did", "this", "status", "name", "description", "code", "language", "runtime", "trace_id")


@pytest.fixture(scope="module")
def database(shared: TestLedger) -> Iterator[Database]:
    victim = someone("victim")
    database = shared.database()
    append(database, victim, [draft(victim)], None)
    yield database
    database.close()


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_in_every_text_stays_a_text(shared: TestLedger, database: Database, payload: str) -> None:
    me = someone()
    before = ask(shared, "readonly", "SELECT count(*) AS n FROM ledger.visible_timeline")[0]["n"]
    values = dict.fromkeys(TEXTS, payload) | {"entity_type": payload}
    json = {name: {payload: [payload]} for name in ("input", "output", "error", "metadata")}
    span = draft(me, **values, **json)
    append(database, me, [span], LOADER_KEY)
    (stored,) = versions(database, me, span.id)
    assert {name: getattr(stored, name) for name in values} == values
    assert {name: getattr(stored, name) for name in json} == json
    assert verify(stored, {str(stored.public_key)})
    for page in (newest_page(database, me, entity_type=payload),
                 next_page(database, me, after=BEGINNING, entity_type=payload)):  # fmt: skip
        assert [found.id for found in page.spans] == [span.id]
    assert ask(shared, "readonly", "SELECT count(*) AS n FROM ledger.visible_timeline")[0]["n"] == before + 1


@pytest.mark.parametrize("place", ["user_id", "tenant_id", "both"])
@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_as_a_name_is_a_person_of_that_name(database: Database, payload: str, place: str) -> None:
    plain = someone()
    me = Identity(
        payload + plain.user_id if place != "tenant_id" else plain.user_id,
        payload + str(plain.tenant_id) if place != "user_id" else plain.tenant_id,
    )
    span, within = draft(me), draft(me)
    append(database, me, [span], None)
    with database.transaction(me) as connection:
        append_within(connection, [within], None)
    rows = database.query(
        me, "SELECT current_setting('app.user_id') AS u, current_setting('app.tenant_id') AS t, current_user::text AS r"
    )
    assert rows == [{"u": me.user_id, "t": me.tenant_id, "r": "lambda_exec"}]
    seen = newest_page(database, me, entity_type="note").spans
    assert {found.id for found in seen} == {span.id, within.id}
    assert {(found.owner_id, found.tenant_id) for found in seen} == {(me.user_id, me.tenant_id)}
    assert newest_page(database, plain, entity_type="note").spans == []


def test_a_payload_is_searched_for_as_it_stands(database: Database) -> None:
    me = someone()
    spans = [draft(me, entity_type="memory", metadata={"content": payload}) for payload in PAYLOADS]
    append(database, me, spans, None)
    for payload in PAYLOADS:
        rows = database.query(
            me,
            "SELECT m.metadata ->> 'content' AS content FROM ledger.search_memory(ARRAY[%s], 100)"
            " JOIN ledger.universal_registry m USING (id, seq)",
            [payload],
        )
        assert {row["content"] for row in rows} == {other for other in PAYLOADS if payload in other}
