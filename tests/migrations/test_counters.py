"""The quota of a tenant and the refusals of a caller: counted exactly, and on nobody else's account."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from ledger.database import Identity
from ledger.errors import QuotaExceeded
from tests.conftest import TestLedger
from tests.ledger.kit import acting, ask, someone

_SPEND = "SELECT ledger.spend_quota('appends', %s, %s) AS used"
_REFUSE = "SELECT * FROM ledger.count_refusal('boot')"


def spend(ledger: TestLedger, who: Identity, amount: int, limit: int) -> int:
    used: int = ask(ledger, "lambda_exec", _SPEND, [amount, limit], who)[0]["used"]
    return used


def test_a_quota_is_spent_up_to_its_limit(shared: TestLedger) -> None:
    me, other = someone(), someone()
    colleague = Identity("colleague", me.tenant_id)
    assert [spend(shared, me, 4, 10), spend(shared, colleague, 6, 10), spend(shared, other, 1, 10)] == [4, 10, 1]
    with pytest.raises(psycopg.Error) as refusal:
        spend(shared, me, 1, 10)
    assert refusal.value.sqlstate == "LL004"
    detail = json.loads(refusal.value.diag.message_detail or "")
    assert {name: detail[name] for name in ("quota", "limit", "used")} == {"quota": "appends", "limit": 10, "used": 10}
    assert spend(shared, me, 1, 11) == 11


def test_what_is_rolled_back_is_not_spent(shared: TestLedger) -> None:
    me = someone()
    with pytest.raises(ZeroDivisionError), acting(shared, "lambda_exec", me) as connection:  # noqa: PT012
        connection.execute(_SPEND.encode(), [9, 10])
        raise ZeroDivisionError
    assert spend(shared, me, 10, 10) == 10


def test_concurrent_callers_share_one_quota(shared: TestLedger) -> None:
    me = someone()

    def take(_: int) -> bool:
        database = shared.database()
        try:
            database.query(me, "SELECT ledger.spend_quota('appends', 1, 7)")
        except QuotaExceeded:
            return False
        finally:
            database.close()
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(take, range(12))) == 7


def test_nobody_gives_a_quota_back(shared: TestLedger) -> None:
    me = someone()
    spend(shared, me, 10, 10)
    with pytest.raises(psycopg.Error):
        spend(shared, me, -5, 10)


def test_refusals_are_counted_for_each_caller_and_closed_minutes_handed_over_once(shared: TestLedger) -> None:
    me, other = someone(), someone()
    # All in one minute, however late in it the test runs: the clock of the first call decides.
    counts = [ask(shared, "lambda_exec", _REFUSE, None, me)[0]["count"] for _ in range(3)]
    assert counts in ([1, 2, 3], [1, 2, 1], [1, 1, 2])
    assert ask(shared, "lambda_exec", _REFUSE, None, other)[0]["count"] == 1
    ask(shared, "postgres", "DELETE FROM ledger_idx.refusal")
    ask(
        shared,
        "postgres",
        "INSERT INTO ledger_idx.refusal SELECT %s, %s, 'boot', date_trunc('minute', now()) - n * interval '1 minute', n"
        " FROM generate_series(1, 3) n",
        [me.tenant_id, me.user_id],
    )
    assert [row["closed"] for row in ask(shared, "lambda_exec", _REFUSE, None, other)] == [False]
    first = ask(shared, "lambda_exec", _REFUSE, None, me)
    assert sorted(row["count"] for row in first if row["closed"]) == [2, 3], "a single refusal was written already"
    assert [row["closed"] for row in ask(shared, "lambda_exec", _REFUSE, None, me)] == [False]
