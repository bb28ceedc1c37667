"""The `health` action: what is seeded, what is signed, what is broken, as a boot would find it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from db_migration.handler import answer as migration
from ledger.ids import MANIFEST_ID
from ledger.proof import public_key_of
from tests.conftest import LOADER_KEY, ROW_KEY, TestLedger
from tests.stage0_loader.stage import MEMORY_KERNEL, NOTHING, PROMPT_KERNEL, UNSEEDED, Answer, Stage, row


def kernels(answer: Answer) -> dict[str, dict[str, Any]]:
    """The kernels of a healthy answer, by id."""
    assert answer.status == 200, answer.raw
    return {kernel["id"]: kernel for kernel in answer.body["kernels"]}


def test_health_names_manifest_kernels_and_database(stage: Stage) -> None:
    answer = stage.send({"action": "health"})
    head = stage.spans(id=MANIFEST_ID)[-1]
    reference = {"id": str(MANIFEST_ID), "seq": head.seq, "curr_hash": head.curr_hash}
    assert answer.body["manifest"] == {**reference, "proof": "signed"}
    assert set(answer.body) == {"ok", "trace_id", "manifest", "kernels", "database", "sandbox", "signing_key"}
    assert answer.body["signing_key"] == public_key_of(LOADER_KEY)
    assert answer.body["sandbox"]["seccomp"] == "on"
    assert answer.body["database"].endswith(f"/{stage.ledger.name} as lambda_exec")
    found = kernels(answer)
    assert found[str(MEMORY_KERNEL)] == {
        "id": str(MEMORY_KERNEL), "name": "memory_store_kernel", "seq": 3, "proof": "signed"
    }  # fmt: skip
    assert found[str(PROMPT_KERNEL)]["proof"] == "signed"
    assert set(found) == set((head.metadata or {})["allowed_boot_ids"])
    assert found[str(UNSEEDED)] == {
        "id": str(UNSEEDED), "name": "", "seq": None, "proof": "not seeded"
    }  # fmt: skip


def test_without_keys_health_says_unsigned(unsigned: Stage) -> None:
    answer = unsigned.send({"action": "health"})
    assert answer.body["manifest"]["proof"] == "unsigned"
    assert kernels(answer)[str(MEMORY_KERNEL)]["proof"] == "unsigned"


@pytest.mark.parametrize(("user", "tenant"), [("alice", "acme"), ("bob", "other")])
def test_anybody_may_ask(stage: Stage, user: str, tenant: str) -> None:
    answer = stage.send({"action": "health", "user_id": user, "tenant_id": tenant})
    assert kernels(answer)[str(MEMORY_KERNEL)]["seq"] == 3


def broken(stage: Stage, kernel: UUID, how: str) -> Stage | None:
    """Break a kernel so that it does not boot; some ways need another loader."""
    match how:
        case "tampered":
            stage.tamper("code = 'x'", kernel)
        case "unsigned":
            stage.tamper("signature = NULL, public_key = NULL", kernel)
        case "paused":
            stage.publish(NOTHING, kernel=kernel, seq=2, status="paused")
        case "deleted":
            stage.publish(None, kernel=kernel, seq=2, is_deleted=True)
        case "too old":
            return Stage(stage.ledger, MINIMUM_SEQS=f'{{"{kernel}": 5}}')
        case "of another type":
            stage.tamper("id = gen_random_uuid()", kernel)
            stage.insert_as_admin(row(kernel, "prompt", 1, name="x", code=NOTHING), ROW_KEY)
        case "of another owner":
            stage.tamper("id = gen_random_uuid()", kernel)
            stranger = row(kernel, "function", 1, name="x", code=NOTHING).with_values(owner_id="mallory")
            stage.insert_as_admin(stranger, ROW_KEY)
    return None


@pytest.mark.parametrize(
    "how", ["tampered", "unsigned", "paused", "deleted", "too old", "of another type", "of another owner"]
)
def test_a_kernel_that_would_not_boot_is_not_called_signed(stage: Stage, tenant: str, how: str) -> None:
    kernel = stage.publish(NOTHING)
    asked = broken(stage, kernel, how) or stage
    boot = asked.boot(kernel, tenant=tenant)
    proof = kernels(asked.send({"action": "health"}))[str(kernel)]["proof"]
    assert boot.status in (404, 409)
    assert proof == "not seeded" if how == "deleted" else proof.startswith("broken: "), proof
    if how != "deleted":
        assert boot.error["reason"] in proof
    if asked is not stage:
        asked.close()


def test_a_broken_manifest_is_409(own: Stage) -> None:
    own.tamper("metadata = metadata - 'throttle'", MANIFEST_ID)
    answer = own.send({"action": "health"})
    assert answer.status == 409
    assert answer.error["span_id"] == str(MANIFEST_ID)
    assert own.spans(entity_type="security_alert") == []  # who only looks appends nothing


@pytest.fixture
def unseeded(empty: TestLedger) -> Iterator[Stage]:
    """A loader on a ledger that was migrated and never seeded."""
    assert migration({"action": "migrate"}, empty.environment)["ok"]
    stage = Stage(empty)
    yield stage
    stage.close()


def test_a_ledger_that_was_not_seeded_is_409_and_says_what_to_do(unseeded: Stage) -> None:
    for event in ({"action": "health"}, {"action": "boot", "boot_function_id": str(MEMORY_KERNEL)}):
        answer = unseeded.send(event)
        assert answer.status == 409
        assert answer.error["reason"] == "there is no manifest: seed the ledger"


def test_a_database_that_was_not_migrated_is_a_500_without_sql(empty: TestLedger) -> None:
    stage = Stage(empty)
    answer = stage.send({"action": "health"})
    assert (answer.status, answer.error["code"]) == (500, "internal")
    assert "universal_registry" not in answer.raw
    assert answer.errors != []
    stage.close()
