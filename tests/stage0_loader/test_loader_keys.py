"""Keys that the manifest announces count without a change of the deployment; retired ones do not count any more."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

import boto3
import pytest
from moto import mock_aws
from nacl.signing import SigningKey

from ledger.database import Database
from ledger.ids import MANIFEST_ID
from ledger.keys import NOTHING_COUNTS
from ledger.proof import public_key_of
from ledger.read import cursor_of
from ledger.secret import KEEP_S
from ledger.span import Span
from stage0_loader.signing import SigningKeys
from tests.conftest import LOADER_KEY, ROW_KEY
from tests.stage0_loader.stage import NOTHING, PROMPT_KERNEL, ROW_PUBLIC, TEST_KERNELS, Answer, Stage, manifest, row

NEXT = SigningKey(b"the row key that comes after it!")
NEXT_PUBLIC = public_key_of(NEXT)
ANNOUNCED = {"public_key": NEXT_PUBLIC, "use": "row"}


def end_of(span: Span) -> str:
    return str(cursor_of(span))


def put(stage: Stage, span: Span, key: SigningKey) -> None:
    """Append a next version as the seeder would, without its checks."""
    stage.insert_as_admin(span, key)


def announce(stage: Stage, *keys: dict[str, Any], key: SigningKey = ROW_KEY) -> Span:
    """The next manifest version, which says this of keys."""
    head = stage.spans(id=MANIFEST_ID)[-1]
    put(stage, manifest(head.seq + 1, keys=list(keys)), key)
    return stage.spans(id=MANIFEST_ID)[-1]


def kernel_by(stage: Stage, number: int, key: SigningKey, seq: int = 1) -> UUID:
    """A kernel that the key signed."""
    put(stage, row(TEST_KERNELS[number], "function", seq, name=f"kernel {number}", code=NOTHING), key)
    return TEST_KERNELS[number]


def take_out(stage: Stage, span: Span) -> None:
    """Remove a stored version behind the ledger's back."""
    for trigger in ("ur_append_only", "ur_append_only_row"):
        stage.superuser.execute(f"ALTER TABLE ledger.universal_registry DISABLE TRIGGER {trigger}".encode())
    stage.superuser.execute("DELETE FROM ledger.universal_registry WHERE (id, seq) = (%s, %s)", [span.id, span.seq])


def retired(public_key: str, end: str, size: int = 7) -> dict[str, Any]:
    return {"public_key": public_key, "use": "row", "retired_at": {"size": size, "end": end}}


def require_refused(answer: Answer, span_id: UUID, reason: str) -> None:
    assert answer.status == 409, answer.raw
    assert (answer.error["span_id"], reason in answer.error["reason"]) == (str(span_id), True), answer.error


def test_a_kernel_that_an_announced_key_signed_runs_in_warm_and_cold_processes(own: Stage) -> None:
    kernel = kernel_by(own, 0, NEXT)
    require_refused(own.boot(kernel), kernel, "is not a trusted one")
    announce(own, ANNOUNCED)
    for loader in (own.loader, own.new_loader()):
        answer = own.boot(kernel, loader=loader)
        assert (answer.status, answer.body["proof"]) == (200, "signed")
    health = {k["id"]: k["proof"] for k in own.send({"action": "health"}).body["kernels"]}
    assert health[str(kernel)] == "signed"


def test_the_announced_key_signs_the_next_manifest_too(own: Stage) -> None:
    announce(own, ANNOUNCED)
    announce(own, key=NEXT)
    assert own.send({"action": "health"}).body["manifest"]["proof"] == "signed"
    kernel = kernel_by(own, 0, NEXT)
    assert own.boot(kernel).status == 200, "an older version announced it"


def test_what_a_retired_key_signs_after_its_place_is_refused_and_what_it_signed_before_is_not(own: Stage) -> None:
    before = kernel_by(own, 0, ROW_KEY)
    announce(own, ANNOUNCED)
    end = end_of(own.spans(id=MANIFEST_ID)[-1])
    announce(own, retired(ROW_PUBLIC, end), key=NEXT)
    after = kernel_by(own, 1, ROW_KEY)
    for loader in (own.loader, own.new_loader()):
        assert own.boot(before, loader=loader).status == 200
        require_refused(own.boot(after, loader=loader), after, "was retired from checkpoint size 7 on")


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_a_manifest_signed_by_a_retired_key_lets_nothing_run(own: Stage, warm: bool) -> None:
    kernel = kernel_by(own, 0, ROW_KEY)
    announce(own, ANNOUNCED)
    announce(own, retired(ROW_PUBLIC, end_of(own.spans(id=kernel)[-1])), key=NEXT)
    if warm:
        assert own.boot(kernel).status == 200
    announce(own)  # it says nothing of keys, and a configured key has signed it: only its history tells
    loader = own.loader if warm else own.new_loader()
    require_refused(own.boot(kernel, loader=loader), MANIFEST_ID, "was retired")


def test_a_retirement_that_was_tampered_away_lets_nothing_run(own: Stage) -> None:
    announce(own, ANNOUNCED)
    retiring = announce(own, retired(ROW_PUBLIC, end_of(own.spans(id=MANIFEST_ID)[-1])), key=NEXT)
    announce(own, key=NEXT)
    own.tamper("metadata = CASE seq WHEN %s THEN metadata - 'keys' ELSE metadata END", MANIFEST_ID, [retiring.seq])
    require_refused(own.boot(PROMPT_KERNEL, loader=own.new_loader()), MANIFEST_ID, f"version {retiring.seq}")


def test_an_older_manifest_presented_as_the_newest_is_refused(own: Stage) -> None:
    announce(own, ANNOUNCED)
    newest = announce(own, retired(ROW_PUBLIC, str(NOTHING_COUNTS.end), 0), key=NEXT)
    take_out(own, newest)
    pinned = own.new_loader(MINIMUM_SEQS=f'{{"{MANIFEST_ID}": {newest.seq}}}')
    require_refused(own.boot(PROMPT_KERNEL, loader=pinned), MANIFEST_ID, "older than this deployment accepts")


def test_the_loaders_key_does_not_sign_rows_though_it_is_announced(own: Stage) -> None:
    announce(own, {"public_key": public_key_of(LOADER_KEY), "use": "loader"})
    kernel = kernel_by(own, 0, LOADER_KEY)
    require_refused(own.boot(kernel), kernel, "is not a trusted one")


def test_a_manifest_with_a_malformed_announcement_lets_nothing_run(own: Stage) -> None:
    announce(own, {**ANNOUNCED, "retired": True})
    require_refused(own.boot(PROMPT_KERNEL), MANIFEST_ID, "retired: unknown field")


def test_without_configured_keys_announcements_and_retirements_change_nothing(own: Stage) -> None:
    announce(own, retired(ROW_PUBLIC, str(NOTHING_COUNTS.end), 0))
    answer = own.boot(PROMPT_KERNEL, {"prompt_id": "x"}, loader=own.new_loader(TRUSTED_ROW_KEYS=""))
    assert answer.status == 422, "the kernel itself answers"


def test_the_history_of_a_manifest_is_read_once_in_a_process(own: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    query = Database.query

    def counted(self: Database, identity: Any, sql: Any, parameters: Any = None) -> list[Any]:
        asked.append(sql)
        return query(self, identity, sql, parameters)

    monkeypatch.setattr(Database, "query", counted)
    kernel = kernel_by(own, 0, ROW_KEY)
    counts = []
    for _ in range(3):
        asked.clear()
        assert own.boot(kernel).status == 200
        counts.append(len(asked))
    assert counts == [counts[1] + 1, counts[1], counts[1]]
    announce(own, ANNOUNCED)
    asked.clear()
    assert own.boot(kernel).status == 200
    assert len(asked) == counts[0], "a new manifest is new"


def test_the_signing_key_is_read_again_after_five_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with mock_aws():
        secrets = boto3.client("secretsmanager")
        secrets.create_secret(Name="rotated-signing-key", SecretString=bytes(LOADER_KEY).hex())
        keys = SigningKeys({"SIGNING_KEY_SECRET": "rotated-signing-key"})
        secrets.put_secret_value(SecretId="rotated-signing-key", SecretString=bytes(NEXT).hex())
        assert keys.current() == LOADER_KEY
        now += KEEP_S
        assert keys.current() == NEXT
        secrets.put_secret_value(SecretId="rotated-signing-key", SecretString="no key")
        now += KEEP_S
        assert keys.current() == NEXT, "what it had is as good as before"
        now += KEEP_S
        secrets.put_secret_value(SecretId="rotated-signing-key", SecretString=bytes(ROW_KEY).hex())
        assert keys.current() == ROW_KEY


def test_a_fork_by_a_former_root_is_refused_once_it_left_the_configuration(own: Stage) -> None:
    kernel = kernel_by(own, 0, ROW_KEY)
    announcing = announce(own, ANNOUNCED)
    retiring = announce(own, ANNOUNCED, retired(ROW_PUBLIC, end_of(announcing)), key=NEXT)
    loader = own.new_loader(TRUSTED_ROW_KEYS=NEXT_PUBLIC)
    assert own.boot(kernel, loader=loader).status == 200, "it was signed in its time"
    take_out(own, retiring)
    announce(own)
    require_refused(
        own.boot(kernel, loader=own.new_loader(TRUSTED_ROW_KEYS=NEXT_PUBLIC)), MANIFEST_ID, "not a trusted one"
    )
