"""policy_agent_kernel: whose spans a policy sees, what failing costs, and what stops it from feeding itself."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

import pytest

from ledger.ids import derived_id
from tests.row.policy_kit import (
    COUNT,
    NAMES,
    add_policy,
    boot_agent,
    cursor,
    next_version,
    note,
    put,
    run_agent,
    seen_by,
    system_policy,
)
from tests.row.queue_kit import WORKER, add_function, agent, executions
from tests.stage0_loader.stage import Stage, manifest

FAILING = "def on(span):\n    return 1 // 0\n"
LOOPING = "def on(span):\n    while True:\n        pass\n"


def statuses(stage: Stage, policy: UUID) -> list[str | None]:
    """The marks on a policy."""
    return [span.status for span in stage.spans(parent_id=policy, entity_type="status_patch")]


def errors(stage: Stage, policy: UUID) -> list[Any]:
    """What went wrong with a policy."""
    return [span.error for span in stage.spans(parent_id=policy, entity_type="policy_error")]


def test_a_tenants_policy_sees_what_its_owner_may_see_and_nothing_else(own: Stage) -> None:
    policies = {
        user: add_policy(own, COUNT, user=user[0], tenant=user[1])
        for user in [("alice", "acme"), ("bob", "acme"), ("alice", "other")]
    }
    secret = note(own)
    shared = note(own, visibility="tenant")
    bobs = note(own, user="bob")
    foreign = note(own, tenant="other", visibility="tenant")
    run_agent(own)
    assert seen_by(own, policies["alice", "acme"]) == [secret, shared]
    assert seen_by(own, policies["bob", "acme"]) == [shared, bobs]
    assert seen_by(own, policies["alice", "other"]) == [foreign]
    for (user, tenant), policy in policies.items():
        effects = [span for span in own.spans(entity_type="metric") if policy in (span.related_to or [])]
        assert {(span.owner_id, span.tenant_id, span.visibility) for span in effects} == {(user, tenant, "private")}


def test_the_systems_policy_sees_all_tenants_and_acts_as_the_owner_of_each_span(own: Stage) -> None:
    policy = system_policy(0, COUNT)
    own.seed(policy)
    notes = [note(own, user=user, tenant=tenant) for user, tenant in [("a", "one"), ("b", "two"), ("a", "one")]]
    run_agent(own)
    assert sorted(seen_by(own, policy.id)) == sorted(notes)
    for metric in own.spans(entity_type="metric"):
        seen = own.one(id=metric.parent_id)
        assert (metric.owner_id, metric.tenant_id, metric.visibility) == (seen.owner_id, seen.tenant_id, "private")


def test_spans_of_the_seeder_and_of_no_tenant_are_shown_to_nobody(own: Stage) -> None:
    policy = system_policy(0, COUNT, watches=["security_alert", "note", "prompt"])
    own.seed(policy)
    mine = add_policy(own, COUNT, ["prompt"])
    own.superuser.execute(
        "INSERT INTO ledger.universal_registry"
        " (id, seq, entity_type, who, did, this, at, owner_id, tenant_id, curr_hash)"
        " SELECT gen_random_uuid(), 0, 'note', 'w', 'd', 't', now(), o, t, repeat('0', 64)"
        " FROM (VALUES ('system', 'system'), ('alice', NULL)) AS given (o, t)"
    )
    own.seed(own.one(name="welcome_message").with_values(seq=2, prev_hash=None, curr_hash=None, signature=None))
    run_agent(own)
    assert seen_by(own, policy.id) == seen_by(own, mine) == []


def test_a_policy_begins_after_itself_or_with_the_ledger(own: Stage) -> None:
    before = note(own)
    new, all_of_it = add_policy(own, COUNT), add_policy(own, COUNT, metadata={"since": "beginning"})
    after = note(own)
    run_agent(own)
    assert seen_by(own, new) == [after]
    assert seen_by(own, all_of_it) == [before, after]
    next_version(own, new)
    run_agent(own)
    assert seen_by(own, new) == [after]


def test_watched_types_alone_are_shown(own: Stage) -> None:
    one, two = add_policy(own, COUNT, ["a"]), add_policy(own, COUNT, ["a", "c"])
    a, _, c = (note(own, entity_type=kind) for kind in "abc")
    run_agent(own)
    assert seen_by(own, one) == [a]
    assert sorted(seen_by(own, two)) == sorted([a, c])


@pytest.mark.parametrize("changes", [{"status": "inactive"}, {"is_deleted": True}, {"status": None}])
def test_a_policy_that_is_not_active_does_not_run(own: Stage, changes: dict[str, Any]) -> None:
    policy = add_policy(own, COUNT)
    next_version(own, policy, **changes)
    note(own)
    run_agent(own)
    assert seen_by(own, policy) == []
    assert boot_agent(own, {"policy_id": str(policy)}).status == 422


def test_nothing_new_leaves_nothing(own: Stage) -> None:
    policy = add_policy(own, COUNT)
    note(own)
    run_agent(own)
    before = cursor(own, policy)
    assert run_agent(own, policy) == {}
    assert cursor(own, policy) == before
    assert len(seen_by(own, policy)) == 1


def test_a_failing_policy_goes_on_and_is_paused_after_five_in_a_row(own: Stage) -> None:
    code = "def on(span):\n    1 // span['input']\n    return None\n"
    policy = add_policy(own, code)
    good = add_policy(own, COUNT)
    for given in (0, 0, 0, 0, 1, 0, 0, 0, 0):
        note(own, input=given)
    assert run_agent(own)[str(policy)]["failures"] == 8
    assert {error["code"] for error in errors(own, policy)} == {"runtime"}
    assert statuses(own, policy) == []
    last = [note(own, input=0) for _ in range(3)]
    assert run_agent(own)[str(policy)]["paused"]
    assert statuses(own, policy) == ["paused"]
    assert len(errors(own, policy)) == 9
    assert len(seen_by(own, good)) == 12
    run_agent(own)
    assert len(errors(own, policy)) == 9
    next_version(own, policy, code=COUNT)  # goes on where it was paused, and misses nothing
    run_agent(own)
    assert seen_by(own, policy) == last[1:]


def test_the_systems_policy_is_paused_for_the_tenant_that_it_fails_for(own: Stage) -> None:
    code = COUNT.replace("return", "if span['input'] == 'bad':\n        fail()\n    return")
    policy = system_policy(0, code)
    own.seed(policy)
    for _ in range(7):
        note(own, tenant="bad", input="bad")
    fine = [note(own, tenant="good") for _ in range(3)]
    note(own, tenant="bad")
    run_agent(own)
    assert seen_by(own, policy.id) == fine
    assert len(errors(own, policy.id)) == 5
    (mark,) = own.spans(parent_id=policy.id, entity_type="status_patch")
    assert (mark.status, mark.tenant_id, mark.owner_id) == ("paused", "bad", "edge:policy_agent")
    own.seed(system_policy(0, COUNT, seq=2))
    late = note(own, tenant="bad")
    run_agent(own)
    assert sorted(seen_by(own, policy.id)) == sorted([*fine, late])


def test_endless_policies_cost_a_bounded_time_and_others_have_their_turn(own: Stage) -> None:
    endless = [add_policy(own, LOOPING, tenant=f"t{n}") for n in range(3)]
    own.seed(manifest(1001, sandbox={"policy_timeout_ms": 300}))
    for n in range(3):
        for _ in range(30):
            note(own, tenant=f"t{n}")
    good = add_policy(own, COUNT)
    note(own)
    started = time.monotonic()
    run_agent(own)
    assert time.monotonic() - started < 28
    for policy in endless:
        assert [error["code"] for error in errors(own, policy)] == ["timeout"] * 5
        assert statuses(own, policy) == ["paused"]
    assert len(seen_by(own, good)) == 1


def test_a_tenant_with_many_endless_policies_has_one_turn_and_others_theirs(own: Stage) -> None:
    endless = [add_policy(own, LOOPING, tenant="bad") for _ in range(8)]
    own.seed(manifest(1001, sandbox={"policy_timeout_ms": 1200}))
    note(own, tenant="bad")
    good = add_policy(own, COUNT)
    note(own)
    run_agent(own)
    assert sum(len(errors(own, policy)) for policy in endless) == 1
    assert len(seen_by(own, good)) == 1


HOSTILE = [
    "def on(span):\n    return 'x' * 10**9\n",
    "def on(span):\n    return on(span)\n",
    "def on(span):\n    return [{'action': 'metric', 'name': 'N', 'value': 1.0}] * 10**7\n",
    "def on(span):\n    x = [span]\n    for n in range(60):\n        x = [x, x]\n    return x\n",
    "def on(span):\n    raise SystemExit(0)\n",
    "def on(span):\n    return {'action': 'metric', 'name': 'N', 'value': 1e308 * 10}\n",
    "def on(span):\n    return {'action': 'metric', 'name': 'N', 'value': 10**400}\n",
    "def on(span):\n    return {1: 2}\n",
    "def on(span):\n    raise ValueError(chr(0) + chr(0xd800) * 1000)\n",
    "def on(span):\n    return {'action': 'metric', 'name': 'N', 'value': 1, chr(0) + 'x' * 900000: 1}\n",
    "def on(span):\n    return {'action': 'emit_span', 'span': {'entity_type': 'x', chr(0xd800): 1}}\n",
    "def on(span):\n    return {'action': 'emit_span', 'span': {'entity_type': 'x', 'policy': 1, 'values': 2}}\n",
    "def on(span):\n    return {'action': 'emit_span', 'span': {'entity_type': 'x', 'metadata': {'a': chr(0)}}}\n",
]


@pytest.mark.parametrize("code", HOSTILE, ids=[str(n) for n in range(len(HOSTILE))])
def test_hostile_answers_are_failures_and_the_next_policy_runs(stage: Stage, tenant: str, code: str) -> None:
    policy = add_policy(stage, code, tenant=tenant)
    good = add_policy(stage, COUNT, tenant=tenant)
    seen = note(stage, tenant=tenant)
    assert run_agent(stage, policy)[str(policy)]["failures"] == 1
    run_agent(stage, good)
    assert seen_by(stage, good) == [seen]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "metadata.watches: is required"),
    ({"watches": "note"}, "metadata.watches: expected"),
    ({"watches": []}, "metadata.watches: expected"),
    ({"watches": ["note"], "facts": "yes"}, "metadata.facts: expected"),
    ({"watches": ["note"], "since": "today"}, "metadata.since: expected"),
]


@pytest.mark.parametrize(("metadata", "message"), WRONG)
def test_a_definition_that_is_wrong_is_refused_when_it_is_appended(
    stage: Stage, tenant: str, metadata: dict[str, Any], message: str
) -> None:
    span = {"entity_type": "policy", "did": "d", "this": "t", "status": "active", "code": COUNT, "metadata": metadata}
    answer = stage.append(span, tenant=tenant)
    assert (answer.status, answer.error["message"][: len(message) + 9]) == (400, f"spans[0].{message}")


def test_one_that_a_policy_emitted_is_paused_at_once_and_goes_on_with_its_next_version(own: Stage) -> None:
    wrong = {
        "entity_type": "policy",
        "status": "active",
        "language": "python",
        "code": COUNT,
        "metadata": {"watches": 5},
    }
    maker = add_policy(own, f"def on(span):\n    return {{'action': 'emit_span', 'span': {wrong!r}}}\n", ["order"])
    note(own, entity_type="order")
    run_agent(own, maker)
    (made,) = [span.id for span in own.spans(entity_type="policy", tenant_id="acme") if span.id != maker]
    run_agent(own)
    run_agent(own)
    assert [error["message"][:27] for error in errors(own, made)] == ["metadata.watches: expected "]
    assert statuses(own, made) == ["paused"]
    seen = note(own)
    next_version(own, made, metadata={"watches": ["note"]})
    run_agent(own)
    assert seen_by(own, made) == [seen]


def test_a_policy_does_not_see_what_it_appended_nor_what_followed(own: Stage) -> None:
    function = add_function(own, "acme")
    run = f"def on(span):\n    return {{'action': 'run', 'function_id': '{function}'}}\n"
    policies = [
        add_policy(own, run, ["execution", "request", "status_patch", "metric", "policy_cursor"]) for _ in range(2)
    ]
    put(own, {"status": "complete"})
    for _ in range(8):
        run_agent(own)
        agent(own, WORKER)
    # Each sees the first one, and the run that the other asked for; neither sees what came of its own asking.
    assert len(executions(own, function)) == 4
    chains = sorted(len((span.metadata or {})["caused_by"]["policies"]) for span in executions(own, function))
    assert chains == [1, 1, 2, 2]
    for policy in policies:
        assert len(seen_by(own, policy, "request")) == 2


def test_a_slow_run_that_a_policy_asked_for_is_not_shown_to_it_again(own: Stage) -> None:
    own.seed(manifest(1001, policy={"slow_ms": 1}))
    slow = "def main(input):\n    n = 0\n    for _ in range(200000):\n        n += 1\n    return n\n"
    own.seed(manifest(1002, policy={"slow_ms": 1}, sandbox={"timeout_ms": 5000}))
    function = add_function(own, "acme", slow)
    code = f"def on(span):\n    return {{'action': 'run', 'function_id': '{function}'}}\n"
    add_policy(own, code, ["status_patch"])
    put(own, {"entity_type": "status_patch", "status": "slow"})
    for _ in range(4):
        run_agent(own)
        agent(own, WORKER)
    assert len(executions(own, function)) == 1
    assert [span.status for span in own.spans(entity_type="status_patch", parent_id=executions(own, function)[0].id)]


def test_the_agents_own_boots_are_shown_to_nobody(own: Stage) -> None:
    policy = system_policy(0, COUNT, watches=["boot_event", "execution"])
    own.seed(policy)
    for _ in range(3):
        run_agent(own)
    assert seen_by(own, policy.id) == []
    note(own)
    own.store("remembered")
    run_agent(own)
    assert len(seen_by(own, policy.id)) == 2


def test_effects_spend_the_tenants_quota_of_appends(own: Stage) -> None:
    throttle = {"per_tenant_daily_exec_limit": 100, "per_tenant_daily_append_limit": 12}
    policy = add_policy(own, COUNT)
    for _ in range(7):
        note(own)  # eight appends so far
    own.seed(manifest(1001, throttle=throttle))
    other = add_policy(own, COUNT, tenant="other")
    elsewhere = note(own, tenant="other")
    run_agent(own)
    assert len(seen_by(own, policy)) == 4
    (error,) = errors(own, policy)
    assert (error["code"], error["limit"]) == ("quota_exceeded", 12)
    assert seen_by(own, other) == [elsewhere]
    used = own.superuser.execute("SELECT used FROM ledger_idx.usage WHERE tenant_id = 'acme'").fetchall()
    assert used == [{"used": 12}]


def test_a_policys_name_may_be_as_long_as_a_span_lets_it(own: Stage) -> None:
    policy = add_policy(own, FAILING, name="n" * 1_000_000)
    good = add_policy(own, COUNT, name="")
    seen = note(own)
    assert run_agent(own)[str(policy)]["failures"] == 1
    assert seen_by(own, good) == [seen]


def test_policies_take_turns(own: Stage) -> None:
    own.superuser.execute("UPDATE ledger_idx.policy SET ran_at = 'infinity' WHERE tenant_id = 'system'")
    policies = [add_policy(own, COUNT) for _ in range(4)]
    seen = [note(own) for _ in range(3)]
    assert sorted(run_agent(own, limit=2)) == sorted(map(str, policies))
    run_agent(own, limit=2)
    for policy in policies:
        assert seen_by(own, policy) == seen


def test_what_dies_between_evaluation_and_commit_leaves_nothing(own: Stage) -> None:
    policy = add_policy(own, COUNT)
    seen = [note(own) for _ in range(3)]
    # It fails at the very end: everything has been appended, and the transaction is to be committed.
    own.superuser.execute(
        "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'died'; END $$;"
        "CREATE CONSTRAINT TRIGGER die AFTER INSERT ON ledger.universal_registry DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW WHEN (NEW.entity_type = 'metric') EXECUTE FUNCTION die()"
    )
    assert boot_agent(own, {"policy_id": str(policy)}).status == 500
    assert own.spans(entity_type="metric") == own.spans(entity_type="policy_cursor") == []
    own.superuser.execute("DROP TRIGGER die ON ledger.universal_registry")
    run_agent(own, policy)
    assert seen_by(own, policy) == seen


def test_an_earlier_era_is_read_to_its_end_and_then_the_next(own: Stage) -> None:
    policy, system = add_policy(own, COUNT), system_policy(0, COUNT)
    own.seed(system)
    first = note(own)
    run_agent(own)
    second = note(own)
    own.superuser.execute("INSERT INTO ledger_idx.era (era, reason) VALUES (2, 'restored')")
    third = note(own)
    run_agent(own)
    assert seen_by(own, policy) == seen_by(own, system.id) == [first, second, third]
    assert (cursor(own, policy).metadata or {})["era"] == 2


def test_the_cursor_belongs_to_the_policys_owner_and_nobody_can_squat_on_it(own: Stage) -> None:
    policy = add_policy(own, COUNT, user="bob")
    note(own, user="bob")
    span = {"id": str(derived_id("policy_cursor", str(policy))), "entity_type": "x", "did": "d", "this": "t"}
    assert own.append(span).status == 403
    run_agent(own)
    assert (cursor(own, policy).owner_id, cursor(own, policy).visibility) == ("bob", "private")
    put(own, {"status": "complete"})
    run_agent(own)
    theirs = cursor(own, NAMES["metrics_exec_duration"])
    assert (theirs.owner_id, theirs.tenant_id) == ("edge:policy_agent", "system")


@pytest.mark.parametrize("given", [{"policy_id": "x"}, {"limit": 0}, {"policies": []}, {"policy_id": str(WORKER)}])
def test_input_that_is_wrong_is_named(stage: Stage, given: dict[str, Any]) -> None:
    answer = boot_agent(stage, given)
    assert answer.status == 422
    assert answer.error["field"] == next(iter(given))


def test_a_tampered_policy_of_a_tenants_does_not_run(own: Stage) -> None:
    policy = add_policy(own, COUNT)
    own.tamper("code = 'def on(span):\n    return None'", policy)
    note(own)
    answer = boot_agent(own)
    assert (answer.status, answer.error["span_id"]) == (409, str(policy))


def test_a_sandbox_that_is_not_there_is_not_the_policys_failure(own: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = add_policy(own, COUNT)
    seen = note(own)
    own.seed(manifest(1001, sandbox={"policy_timeout_ms": -1}))
    assert boot_agent(own).error["code"] == "sandbox_unavailable"
    assert errors(own, policy) == []
    own.seed(manifest(1002))
    run_agent(own)
    assert seen_by(own, policy) == [seen]
