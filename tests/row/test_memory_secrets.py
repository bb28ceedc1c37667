"""memory_store_kernel: `sensitivity: secret` is ciphertext at rest, opened by its tenant's key and for its own id."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from tests.conftest import MEMORY_KEY
from tests.stage0_loader.stage import Stage

OTHER_KEY = b"another memory key, 32 bytes too"


@pytest.fixture
def text() -> str:
    """A text that stands nowhere yet."""
    return f"geheim {uuid4().hex}"


@pytest.fixture(scope="module")
def keyless(stage: Stage) -> Iterator[Stage]:
    """A deployment without a memory key, on the same ledger."""
    other = Stage(stage.ledger, MEMORY_KEY_HEX="")
    yield other
    other.close()


@pytest.fixture(scope="module")
def rekeyed(stage: Stage) -> Iterator[Stage]:
    """A deployment with another memory key, on the same ledger."""
    other = Stage(stage.ledger, MEMORY_KEY_HEX=OTHER_KEY.hex())
    yield other
    other.close()


def secret(stage: Stage, text: str, tenant: str, **given: Any) -> dict[str, Any]:
    """Store a secret memory."""
    return stage.store(text, tenant=tenant, sensitivity="secret", **given)


def get(stage: Stage, memory_id: str, tenant: str, user: str = "alice") -> Any:
    """What `get` shows of a memory."""
    return stage.memory({"action": "get", "memory_id": memory_id}, tenant=tenant, user=user).output["memory"]


def box(tenant: str, key: bytes = MEMORY_KEY) -> SecretBox:
    """The tenant's data key, derived as the kernel derives it."""
    return SecretBox(hmac.new(key, f"loglineos/memory/v1\n{tenant}".encode(), hashlib.sha256).digest())


def stored(stage: Stage, memory_id: str) -> dict[str, Any]:
    """The metadata at rest, of the latest version."""
    return stage.spans(id=UUID(memory_id))[-1].metadata or {}


def test_a_secret_is_ciphertext_at_rest_and_clear_to_its_owner(stage: Stage, tenant: str, text: str) -> None:
    memory = secret(stage, text, tenant)
    assert (memory["content"], memory["sensitivity"]) == (text, "secret")
    metadata = stored(stage, memory["memory_id"])
    assert "content" not in metadata
    assert stage.places_of(text) == []
    assert get(stage, memory["memory_id"], tenant) == memory
    listed = stage.memory({"action": "list"}, tenant=tenant).output["memories"]
    assert [item["content"] for item in listed] == [text]


def test_a_secret_is_not_searchable(stage: Stage, tenant: str, text: str) -> None:
    memory = secret(stage, text, tenant)
    ciphertext = stored(stage, memory["memory_id"])["ciphertext"]
    for query in (text, "geheim", text[-8:], ciphertext[:12], "ciphertext"):
        found = stage.memory({"action": "search", "search_query": query}, tenant=tenant)
        assert found.output["memories"] == []


def test_the_same_text_twice_is_two_different_ciphertexts(stage: Stage, tenant: str, text: str) -> None:
    first, second = (stored(stage, secret(stage, text, tenant)["memory_id"])["ciphertext"] for _ in range(2))
    assert first != second


def test_a_tenants_key_opens_its_own_secrets_only(stage: Stage, tenant: str, text: str) -> None:
    memory_id = secret(stage, text, tenant)["memory_id"]
    sealed = base64.b64decode(stored(stage, memory_id)["ciphertext"])
    assert json.loads(box(tenant).decrypt(sealed)) == [memory_id, text]
    for other in (box(tenant + "-b"), box(""), box(tenant, OTHER_KEY), SecretBox(MEMORY_KEY)):
        with pytest.raises(CryptoError):
            other.decrypt(sealed)


def test_the_readonly_role_sees_ciphertext(stage: Stage, tenant: str, text: str) -> None:
    secret(stage, text, tenant)
    rows = stage.ledger.execute(
        "readonly", "SELECT t::text AS whole FROM ledger.visible_timeline t WHERE tenant_id = %s", [tenant]
    )
    assert len(rows) == 3
    assert all(text not in row["whole"] for row in rows)


def test_with_another_key_a_secret_stays_closed_and_nothing_breaks(
    stage: Stage, rekeyed: Stage, keyless: Stage, tenant: str, text: str
) -> None:
    memory_id = secret(stage, text, tenant, tags=["t"])["memory_id"]
    stage.store("open", tenant=tenant)
    for other in (rekeyed, keyless):
        assert get(other, memory_id, tenant)["content"] is None
        listed = other.memory({"action": "list"}, tenant=tenant).output["memories"]
        assert [item["content"] for item in listed] == ["open", None]
        update = {"action": "update", "memory_id": memory_id, "tags": ["u"]}
        answer = other.memory(update, tenant=tenant)
        assert (answer.status, answer.error["field"]) == (422, "memory_id")
        assert "cannot be opened with the present memory key" in answer.error["message"]
    assert get(stage, memory_id, tenant)["content"] == text
    assert rekeyed.memory({"action": "delete", "memory_id": memory_id}, tenant=tenant).status == 200


def test_without_a_key_no_secret_is_stored_and_the_refusal_says_why(keyless: Stage, tenant: str, text: str) -> None:
    given = {"action": "store", "content": text, "sensitivity": "secret"}
    answer = keyless.memory(given, tenant=tenant)
    assert (answer.status, answer.error["field"]) == (422, "sensitivity")
    assert "it has no loglineos-memory-key" in answer.error["message"]
    assert keyless.places_of(text) == []
    assert keyless.store("plain", tenant=tenant)["content"] == "plain"


@pytest.mark.parametrize("key", ["zz" * 32, "00" * 5, "x"])
def test_a_memory_key_that_is_none_stores_no_secret_and_shows_nothing_of_it(
    stage: Stage, tenant: str, text: str, key: str
) -> None:
    broken = Stage(stage.ledger, MEMORY_KEY_HEX=key)
    answer = broken.memory({"action": "store", "content": text, "sensitivity": "secret"}, tenant=tenant)
    plain = broken.memory({"action": "store", "content": "plain"}, tenant=tenant)
    broken.close()
    assert answer.status in (422, 500), "a key of the wrong length protects nothing"
    assert text not in answer.raw + answer.log
    assert stage.places_of(text) == []
    assert plain.status == 200


def test_a_secret_stays_secret_when_it_is_updated(stage: Stage, tenant: str, text: str) -> None:
    memory_id = secret(stage, "first", tenant)["memory_id"]
    for change in ({"content": text}, {"tags": ["t"]}, {"content": text + "!", "sensitivity": "secret"}):
        answer = stage.memory({"action": "update", "memory_id": memory_id, **change}, tenant=tenant)
        assert answer.output["memory"]["sensitivity"] == "secret"
        assert answer.output["memory"]["content"].startswith(text)
        assert "content" not in stored(stage, memory_id)
    assert stage.places_of(text) == []


def test_a_secret_may_be_made_normal(stage: Stage, tenant: str, text: str) -> None:
    memory_id = secret(stage, text, tenant)["memory_id"]
    change = {"action": "update", "memory_id": memory_id, "sensitivity": "normal"}
    assert stage.memory(change, tenant=tenant).output["memory"]["content"] == text
    assert stored(stage, memory_id)["content"] == text
    assert "ciphertext" not in stored(stage, memory_id)
    found = stage.memory({"action": "search", "search_query": text}, tenant=tenant)
    assert len(found.output["memories"]) == 1


def test_a_normal_memory_cannot_be_made_secret_because_its_versions_stay(stage: Stage, tenant: str, text: str) -> None:
    memory_id = stage.store(text, tenant=tenant)["memory_id"]
    answer = stage.memory({"action": "update", "memory_id": memory_id, "sensitivity": "secret"}, tenant=tenant)
    assert (answer.status, answer.error["field"]) == (422, "sensitivity")
    assert "earlier versions stay readable" in answer.error["message"]
    assert len(stage.spans(id=UUID(memory_id))) == 1


def test_a_memory_that_was_ever_normal_cannot_come_back_as_secret(stage: Stage, tenant: str, text: str) -> None:
    memory_id = secret(stage, "closed", tenant)["memory_id"]
    stage.memory({"action": "update", "memory_id": memory_id, "sensitivity": "normal"}, tenant=tenant)
    answer = stage.memory({"action": "update", "memory_id": memory_id, "sensitivity": "secret"}, tenant=tenant)
    assert answer.status == 422


@pytest.mark.parametrize("user", ["alice", "mallory"])
def test_a_ciphertext_under_another_memorys_id_is_not_opened(stage: Stage, tenant: str, text: str, user: str) -> None:
    memory_id = secret(stage, text, tenant, visibility="tenant")["memory_id"]
    stolen = {
        "entity_type": "memory", "did": "stored", "this": "memory", "metadata": stored(stage, memory_id)
    }  # fmt: skip
    appended = stage.append(stolen, user=user, tenant=tenant)
    if appended.status == 200:
        answer = stage.memory({"action": "get", "memory_id": appended.body["spans"][0]["id"]}, user=user, tenant=tenant)
        assert answer.status == 200
        assert answer.output["memory"]["content"] is None
    else:
        assert appended.status in (400, 403)


def test_a_ciphertext_of_another_tenant_is_not_opened_even_under_its_own_id(
    stage: Stage, tenant: str, text: str
) -> None:
    memory_id = secret(stage, text, tenant)["memory_id"]
    stage.tamper("tenant_id = %s", UUID(memory_id), [tenant + "-b"])
    assert get(stage, memory_id, tenant + "-b")["content"] is None


def test_a_secret_for_the_tenant_is_open_to_the_tenant(stage: Stage, tenant: str, text: str) -> None:
    memory_id = secret(stage, text, tenant, visibility="tenant")["memory_id"]
    assert get(stage, memory_id, tenant, user="bob")["content"] == text
    assert stage.places_of(text) == []
