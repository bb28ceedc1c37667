"""Every query of the manual's sections 4.2, 4.3, 5.2 and 8.1 runs as it is printed there, across tenants."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from db_migration.handler import answer
from ledger.database import Identity
from ledger.ids import MANIFEST_ID
from loglineos.local.postgres import Server
from tests.conftest import TestLedger
from tests.ledger.kit import copied_database, put, sealed

KERNEL_ID = "00000000-0000-4000-8000-000000000007"
KERNELS = (
    "SELECT id, name, seq, status FROM ledger.visible_timeline WHERE entity_type='function' ORDER BY name, seq DESC"
)
MANIFEST = "SELECT seq, metadata FROM ledger.visible_timeline WHERE entity_type='manifest' ORDER BY seq DESC LIMIT 1"
COUNTS = "SELECT entity_type, count(*) FROM ledger.visible_timeline GROUP BY entity_type ORDER BY count DESC"
APPS = (
    "SELECT id, metadata->>'app_name' as name, metadata->>'app_version' as version, at "
    "FROM ledger.visible_timeline WHERE entity_type='app_registration' ORDER BY at DESC"
)
EXECUTIONS = """
SELECT 
  date_trunc('hour', at) as hour,
  status,
  count(*) as executions
FROM ledger.visible_timeline
WHERE entity_type = 'execution'
  AND at > now() - interval '24 hours'
GROUP BY hour, status
ORDER BY hour DESC;
"""  # noqa: W291 - as the manual prints it
MEMORIES = """
SELECT 
  tenant_id,
  count(*) as memory_count,
  sum(length(metadata->>'content')) as total_bytes
FROM ledger.visible_timeline
WHERE entity_type = 'memory'
GROUP BY tenant_id;
"""  # noqa: W291
ACTIVE_APPS = """
SELECT 
  tenant_id,
  count(DISTINCT id) as app_count
FROM ledger.visible_timeline
WHERE entity_type = 'app_registration'
  AND status = 'active'
GROUP BY tenant_id;
"""  # noqa: W291
MANIFEST_ONLY = "SELECT metadata FROM ledger.visible_timeline WHERE entity_type='manifest' ORDER BY seq DESC LIMIT 1"
ONE_KERNEL = f"SELECT id, name, seq FROM ledger.visible_timeline WHERE id='{KERNEL_ID}'"
CONTEXT = "SELECT current_setting('app.user_id', true), current_setting('app.tenant_id', true);"


@pytest.fixture(scope="module")
def busy(cluster: Server) -> Iterator[TestLedger]:
    """A ledger in which two tenants have been at work."""
    with copied_database(cluster) as ledger:
        now = datetime.now(UTC)
        for tenant, memories in (("acme", 2), ("globex", 1)):
            me = Identity("alice", tenant)
            put(ledger, sealed(me, entity_type="execution", status="complete", at=now))
            app = {"app_name": f"{tenant} app", "app_version": "1.2"}
            put(ledger, sealed(me, entity_type="app_registration", status="active", metadata=app, at=now))
            for _ in range(memories):
                put(ledger, sealed(me, entity_type="memory", metadata={"content": "用户"}))
        put(ledger, sealed(Identity("a", "acme"), entity_type="execution", status="old", at="2020-01-01T00:00:00Z"))
        yield ledger


def query(ledger: TestLedger, sql: str) -> list[dict[str, Any]]:
    result = answer({"action": "query", "sql": sql}, ledger.environment)
    assert result["ok"], result
    assert result["row_count"] == len(result["rows"])
    assert result["truncated"] is None
    rows: list[dict[str, Any]] = result["rows"]
    return rows


def test_4_2_active_kernels(busy: TestLedger) -> None:
    rows = query(busy, KERNELS)
    assert {"id": KERNEL_ID, "name": "memory_store_kernel", "seq": 3, "status": "active"} in rows


@pytest.mark.parametrize("sql", [MANIFEST, MANIFEST_ONLY], ids=["4.2", "8.1"])
def test_4_2_and_8_1_the_manifest(busy: TestLedger, sql: str) -> None:
    (row,) = query(busy, sql)
    assert KERNEL_ID in row["metadata"]["allowed_boot_ids"]


def test_4_2_spans_by_type(busy: TestLedger) -> None:
    counts = {row["entity_type"]: row["count"] for row in query(busy, COUNTS)}
    assert (counts["memory"], counts["execution"], counts["app_registration"], counts["manifest"]) == (3, 3, 2, 1)
    assert list(counts.values()) == sorted(counts.values(), reverse=True)


def test_4_3_registered_apps(busy: TestLedger) -> None:
    rows = query(busy, APPS)
    assert {(row["name"], row["version"]) for row in rows} == {("acme app", "1.2"), ("globex app", "1.2")}


def test_5_2_executions_of_a_day(busy: TestLedger) -> None:
    rows = query(busy, EXECUTIONS)
    assert [(row["status"], row["executions"]) for row in rows] == [("complete", 2)]
    assert rows[0]["hour"].endswith(":00:00.000000Z")


def test_5_2_memories_by_tenant(busy: TestLedger) -> None:
    rows = {row["tenant_id"]: (row["memory_count"], row["total_bytes"]) for row in query(busy, MEMORIES)}
    assert rows == {"acme": (2, 4), "globex": (1, 2)}


def test_5_2_active_apps_by_tenant(busy: TestLedger) -> None:
    assert {row["tenant_id"]: row["app_count"] for row in query(busy, ACTIVE_APPS)} == {"acme": 1, "globex": 1}


def test_8_1_one_kernel(busy: TestLedger) -> None:
    assert query(busy, ONE_KERNEL) == [{"id": KERNEL_ID, "name": "memory_store_kernel", "seq": 3}]


def test_8_1_the_context_shows_two_columns_of_one_name(busy: TestLedger) -> None:
    assert query(busy, CONTEXT) == [{"current_setting": None, "current_setting_2": None}]


def test_health_counts_the_spans(busy: TestLedger) -> None:
    (row,) = query(busy, "SELECT count(*) FROM ledger.universal_registry")
    assert row["count"] > 9
    assert query(busy, f"SELECT id FROM ledger.current_span WHERE id = '{MANIFEST_ID}'") == [{"id": str(MANIFEST_ID)}]
