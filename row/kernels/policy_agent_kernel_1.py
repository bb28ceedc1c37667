"""policy_agent_kernel: shows policies what was committed, each span once, and carries out what they ask for.

For each policy in turn: read a stretch after its cursor, evaluate it in the sandbox outside any transaction, then
append the effects and the cursor's next version in one. Of two agents at the same policy one gets that version;
the other's effects are undone with it, and it reads again.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt

from ledger.database import Identity
from ledger.errors import InvalidInput, LedgerError, NotPermitted, QuotaExceeded, VerificationFailed, VersionConflict
from ledger.follow import spans_at, stretch_of, stretch_of_all
from ledger.ids import derived_id
from ledger.proof import verify
from ledger.read import BEGINNING, Cursor, latest
from policies.actions import OF_TENANTS, OF_THE_SYSTEM, Metric, Report, parse_actions
from policies.definition import AGENT, SYSTEM, Definition, Policy, parse_policy
from policies.effects import Effect, drafts_of, effect_of, failed, over_quota, paused
from policies.seen import as_json, caused_by, is_shown
from sandbox import SandboxError

if TYPE_CHECKING:
    from ledger.follow import Place, Stretch
    from ledger.span import Span
    from policies.actions import Action
    from stage0_loader.context import Context

WORK_S: Final = 20.0  # the alarm on the loader's duration is at 25 s (manual 5.3)
TURN_S: Final = 5.0  # of one policy, while others wait
RESERVE_S: Final = 4.0  # for a transaction, and for what follows it
SPANS_A_RUN: Final = 1000
BATCH: Final = 100  # spans whose effects stand in one transaction
BATCH_BYTES: Final = 8_000_000  # of what policies answered to them
SLICE: Final = 8  # spans that are held, and evaluated, at once: 1 MB of JSON can be 30 MB of objects
SCAN: Final = 10_000  # spans that are passed over at once
PAGE: Final = 1000  # the same in a tenant's timeline
FAILURES_TO_PAUSE: Final = 5
ATTEMPTS: Final = 3
FREE_S: Final = 1.0  # a turn that took longer makes the tenant's policies wait

NOW_SQL: Final = "SELECT clock_timestamp() AS now"
TAKE_SQL: Final = "SELECT * FROM ledger.take_policy(%s)"
FIND_SQL: Final = "SELECT * FROM ledger.find_policy(%s)"
RAN_SQL: Final = "SELECT ledger.policy_ran(%s, %s, %s)"
FIRST_SQL: Final = "SELECT era, xid, position FROM ledger.universal_registry WHERE id = %s ORDER BY seq LIMIT 1"
EXECUTIONS_SQL: Final = "SELECT ledger.quota_used('exec.per_tenant.daily') AS used"
APPENDS_SQL: Final = "SELECT ledger.quota_used('append.per_tenant.daily') AS used"
SPEND_SQL: Final = "SELECT ledger.spend_quota('append.per_tenant.daily', %s, %s)"


class Input(BaseModel):
    """One policy, be it on demand, or all in turn. `limit`: spans of each policy."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    policy_id: Annotated[UUID, BeforeValidator(str)] | None = None
    limit: Annotated[StrictInt, Field(ge=1, le=1_000_000)] | None = None


@dataclass(frozen=True)
class State:
    """What the cursor holds. `failures` in a row by tenant; `paused`: the tenants that this version is paused for."""

    head: Span | None
    cursor: Cursor
    failures: dict[str, int] = field(default_factory=dict)
    paused: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Verdict:
    """What came of one place. Without a span: it was not shown to the policy."""

    place: Place
    span: Span | None = None
    actions: Sequence[Action] = ()
    effects: Sequence[Effect] = ()
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Batch:
    """What one transaction is to hold: the cursor's next state, what the policy `asked` for, what the agent `said`."""

    state: State
    verdicts: Sequence[Verdict] = ()
    asked: Sequence[Effect] = ()
    said: Sequence[Effect] = ()


def main(ctx: Context) -> dict[str, Any]:
    """Evaluate the policy that is named, or all in turn until the time is over."""
    request = ctx.parse(Input)
    agent = Agent(ctx, request.limit)
    try:
        if request.policy_id is not None:
            agent.turn(_named(ctx, request.policy_id), agent.until)
        else:
            for found in _in_turn(ctx, agent.until):
                agent.turn_of_many(found, time.monotonic() + TURN_S)
    finally:
        agent.notify()
    if agent.untrusted:  # everything else has been done by now
        raise agent.untrusted[0]
    # Policies belong to tenants: only who runs the agent for all is told of all.
    return {"looked_at": agent.looked_at, "policies": agent.reports if ctx.tenant_id == SYSTEM.tenant_id else []}


def _named(ctx: Context, policy_id: UUID) -> Mapping[str, Any]:
    found = ctx.ledger.query(FIND_SQL, [policy_id])
    if not found or ctx.tenant_id not in (SYSTEM.tenant_id, found[0]["tenant_id"]):
        raise ctx.rejected("policy_id: there is no such active policy", field="policy_id")
    return found[0]


def _in_turn(ctx: Context, until: float) -> Iterator[Mapping[str, Any]]:
    """The one that has waited longest first, each once in this boot."""
    started = ctx.ledger.query(NOW_SQL)[0]["now"]
    while time.monotonic() < until and (found := ctx.ledger.query(TAKE_SQL, [started])):
        yield found[0]


def _as(ctx: Context, who: Identity) -> Context:
    return ctx.acting_as(who.user_id, str(who.tenant_id))


class Agent:
    """One boot: the time it has, and what it has to tell in the end."""

    def __init__(self, ctx: Context, limit: int | None) -> None:
        self.ctx = ctx
        self.limit = limit or SPANS_A_RUN
        self.until = time.monotonic() + min(WORK_S, ctx.deadline.left_s() - RESERVE_S)
        self.looked_at = 0
        self.reports: list[dict[str, Any]] = []
        self.messages: list[str] = []
        self.untrusted: list[VerificationFailed] = []

    def turn(self, found: Mapping[str, Any], until: float) -> None:
        """One policy's turn."""
        self.looked_at += 1
        try:
            policy = load(self.ctx, found)
        except VerificationFailed as error:
            self.ctx.log.error("ERROR a policy does not verify", **error.details)
            self.untrusted.append(error)
        else:
            if policy is not None:
                self._follow(policy, min(until, self.until))

    def turn_of_many(self, found: Mapping[str, Any], until: float) -> None:
        """The same; a policy that cannot be followed leaves the others their turns."""
        try:
            self.turn(found, until)
        except Exception as error:
            code = error.code if isinstance(error, LedgerError) else type(error).__name__
            if code in ("ledger_unavailable", "sandbox_unavailable"):
                raise
            self.ctx.log.error("ERROR a policy cannot be followed", policy_id=str(found["id"]), exc_info=error)
            self.reports.append({"policy_id": str(found["id"]), "error": code})

    def _follow(self, policy: Policy, until: float) -> None:
        began = time.monotonic()
        counts = Counter(evaluated=0, actions=0, failures=0)
        state = load_state(self.ctx, policy)
        waits = policy.keeper.tenant_id in state.paused
        more = not waits
        while more and counts["evaluated"] < self.limit and time.monotonic() < until:
            batch, more = next_batch(self.ctx, policy, state, min(self.limit - counts["evaluated"], BATCH), until)
            if not (batch.verdicts or batch.said) and not (more and batch.state.cursor != state.cursor):
                break  # nothing to say, and not far enough for a new version of the cursor
            state, moved = commit(self.ctx, policy, batch)
            if moved:
                counts.update(self._note(policy, batch))
            waits = policy.keeper.tenant_id in state.paused
            more = (more or not moved) and not waits
        took_s = time.monotonic() - began
        if took_s > FREE_S or (policy.definition and policy.definition.on_demand):
            self.ctx.ledger.query(RAN_SQL, [policy.span.id, more, took_s])
        if more or waits or counts.total():
            named = {"policy_id": str(policy.span.id), "name": policy.name, "cursor": str(state.cursor)}
            self.reports.append({**named, **counts, "more": more, "paused": waits})

    def _note(self, policy: Policy, batch: Batch) -> Counter[str]:
        """After the commit: what this boot's answer, CloudWatch and the operators are told."""
        shown = [verdict for verdict in batch.verdicts if verdict.span]
        done = [pair for verdict in shown for pair in zip(verdict.actions, verdict.effects, strict=True)]
        if policy.system:  # a tenant's metrics are in the ledger alone: in CloudWatch each costs the operator
            series: dict[tuple[Any, ...], list[float]] = {}
            for action, effect in done:
                if isinstance(action, Metric):
                    key = (action.name, action.unit, tuple(sorted(action.dimensions.items())))
                    series.setdefault(key, []).append(action.value)
                elif isinstance(action, Report):
                    tenant = effect.owner.tenant_id
                    self.messages.append(f"{action.message} (tenant {tenant}, error_report {effect.id})")
            for (name, unit, dimensions), values in series.items():
                self.ctx.metric(name, values, unit, dict(dimensions))
        failures = sum(verdict.error is not None for verdict in shown)
        return Counter(evaluated=len(shown), actions=len(done), failures=failures)

    def notify(self) -> None:
        """One message for the whole boot."""
        if self.messages:
            many = len(self.messages)
            self.ctx.notify(f"LogLineOS: {many} error report{'s' if many > 1 else ''}", "\n".join(self.messages))


def load(ctx: Context, found: Mapping[str, Any]) -> Policy | None:
    """The policy as it is now; None if it is active no more. Raises VerificationFailed."""
    owner = Identity(found["owner_id"], found["tenant_id"])
    span = ctx.system_span(found["id"], "policy") if owner == SYSTEM else _as(ctx, owner).ledger.latest(found["id"])
    if span is None or span.is_deleted or span.status != "active":
        return None
    verify(span, None)
    return parse_policy(span)


def load_state(ctx: Context, policy: Policy) -> State:
    """Where it stands. A new policy begins after its own first version, or with the ledger if it says so."""
    ledger = _as(ctx, policy.keeper).ledger
    head = ledger.latest(_cursor_id(policy))
    if head is None:
        if policy.definition and policy.definition.since == "beginning":
            return State(None, BEGINNING)
        first = ledger.query(FIRST_SQL, [policy.span.id])[0]
        return State(None, Cursor(first["era"], first["xid"], first["position"]))
    kept = head.metadata or {}
    cursor = Cursor(kept["era"], int(kept["xid"]), kept["position"])
    if kept["policy_seq"] != policy.span.seq:  # a new version begins with a clean slate
        return State(head, cursor)
    return State(head, cursor, kept["failures"], kept["paused"])


def _cursor_id(policy: Policy) -> UUID:
    return derived_id("policy_cursor", str(policy.span.id))


def next_batch(ctx: Context, policy: Policy, state: State, limit: int, until: float) -> tuple[Batch, bool]:
    """The next spans, evaluated, and whether there may be more after them."""
    if policy.definition is None:
        return refused(policy, state), False
    stretch = _stretch(ctx, policy, policy.definition, state.cursor, limit)
    verdicts = Evaluation(ctx, policy, policy.definition, state, until).of(stretch.places)
    cut = len(verdicts) < len(stretch.places)
    end = stretch.end if not cut else verdicts[-1].place.cursor if verdicts else state.cursor
    shown = any(verdict.span for verdict in verdicts)
    return account(policy, replace(state, cursor=end), verdicts if shown else []), cut or stretch.more


def _stretch(ctx: Context, policy: Policy, definition: Definition, after: Cursor, limit: int) -> Stretch:
    database = ctx.ledger.database
    if policy.system:
        return stretch_of_all(database, after, definition.watches, scan=SCAN, limit=limit)
    return stretch_of(database, policy.keeper, after, definition.watches, scan=PAGE, limit=limit)


class Evaluation:
    """Spans shown to one policy, tenant by tenant: no sandbox session sees two tenants."""

    def __init__(self, ctx: Context, policy: Policy, definition: Definition, state: State, until: float) -> None:
        self.ctx = ctx
        self.policy = policy
        self.definition = definition
        self.state = state
        self.until = until
        self.verdicts: dict[int, Verdict] = {}
        self.bytes = 0

    def of(self, places: Sequence[Place]) -> list[Verdict]:
        """A verdict on each place, in their order, as far as time and room were enough."""
        tenants: dict[str | None, list[int]] = {}
        for number, place in enumerate(places):
            tenants.setdefault(place.tenant_id, []).append(number)
        for tenant, numbers in tenants.items():
            self._of_tenant(tenant, numbers, places)
        done = next((number for number in range(len(places)) if number not in self.verdicts), len(places))
        return [self.verdicts[number] for number in range(done)]

    def _of_tenant(self, tenant: str | None, numbers: Sequence[int], places: Sequence[Place]) -> None:
        failures = self.state.failures.get(tenant or "", 0)
        stopped = tenant is None or tenant in self.state.paused  # for no tenant nobody can act
        size = SLICE if self.policy.system else 1
        while numbers and not stopped and time.monotonic() < self.until and self.bytes < BATCH_BYTES:
            part = numbers[: self._affordable(size)]
            for number, verdict in zip(part, self._judge([places[number] for number in part]), strict=True):
                self.verdicts[number] = verdict
                failures = failures + 1 if verdict.error else 0 if verdict.span else failures
                stopped = failures >= FAILURES_TO_PAUSE
                if stopped:
                    break
            numbers = [number for number in numbers if number not in self.verdicts]
            size = 1 if failures else 2 * size  # one that fails costs little until it is paused
        if stopped and self.policy.system:  # the other tenants go on; a tenant's own policy waits where it is
            self.verdicts.update({number: Verdict(places[number]) for number in numbers})

    def _affordable(self, size: int) -> int:
        """How many may each take the longest that they are allowed, and still be done in time."""
        left_ms = (self.ctx.deadline.left_s() - RESERVE_S) * 1000
        return max(1, min(size, SLICE, int(left_ms / self.ctx.sandbox.policy_limits.timeout_ms)))

    def _judge(self, places: Sequence[Place]) -> list[Verdict]:
        spans = self._read(places)
        shown = [span for place in places if (span := spans.get((place.id, place.seq)))]
        answers = iter(self._evaluate(shown) if shown else [])
        return [
            self._verdict(place, spans[place.id, place.seq], next(answers))
            if (place.id, place.seq) in spans
            else Verdict(place)
            for place in places
        ]

    def _read(self, places: Sequence[Place]) -> dict[tuple[UUID, int], Span]:
        """The spans that the policy may be shown, read with the rights of those on whose behalf it acts."""
        readers: dict[Identity, list[Place]] = {}
        for place in places:
            if place.owner_id != "system":
                reader = Identity(place.owner_id, place.tenant_id) if self.policy.system else self.policy.keeper
                readers.setdefault(reader, []).append(place)
        found: dict[tuple[UUID, int], Span] = {}
        for reader, own in readers.items():
            ledger = _as(self.ctx, reader).ledger
            found.update(spans_at(ledger.database, ledger.identity, own))
        return {key: span for key, span in found.items() if is_shown(self.policy, span, self.ctx.kernel_id)}

    def _evaluate(self, spans: Sequence[Span]) -> Sequence[Any]:
        extra = {"facts": facts(_as(self.ctx, self.policy.acts_as(spans[0])))} if self.definition.facts else {}
        given = [{**as_json(span), **extra} for span in spans]
        try:
            # Signed code has one worker for all tenants, with a session for each; a tenant's has its tenant's worker.
            sandbox = _as(self.ctx, self.policy.keeper).sandbox
            return sandbox.run_each(str(self.policy.span.code), "on", given, sandbox.policy_limits)
        except SandboxError as error:
            if error.code == "sandbox_unavailable":
                raise  # not the policy's failure: nothing has been done, the next boot tries again
            return [error] * len(spans)

    def _verdict(self, place: Place, span: Span, answer: Any) -> Verdict:
        span = span.with_values(input=None, output=None, error=None, code=None)  # many are held until the commit
        if isinstance(answer, SandboxError):
            return Verdict(place, span, error={"code": answer.code, "message": answer.message})
        try:
            actions = parse_actions(answer.output, OF_THE_SYSTEM if self.policy.system else OF_TENANTS)
            effects = [effect_of(self.policy, span, action, f"actions[{n}]") for n, action in enumerate(actions)]
        except (InvalidInput, NotPermitted) as error:
            return Verdict(place, span, error={"code": error.code, "message": error.message})
        self.bytes += len(json.dumps(answer.output))
        return Verdict(place, span, actions, effects)


def facts(ctx: Context) -> dict[str, Any]:
    """What a policy is told beside the span, where its metadata asks for `facts`."""
    return {
        "manifest": {name: ctx.manifest.get(name, {}) for name in ("throttle", "policy")},
        "executions_today": ctx.ledger.query(EXECUTIONS_SQL)[0]["used"],
        "today": ctx.now().date().isoformat(),
    }


def account(policy: Policy, state: State, verdicts: Sequence[Verdict]) -> Batch:
    """What the verdicts come to, in their order: effects, errors, and the tenants that the policy is paused for."""
    failures, stopped = dict(state.failures), list(state.paused)
    asked: list[Effect] = []
    said: list[Effect] = []
    for verdict in verdicts:
        tenant = str(verdict.place.tenant_id)
        if verdict.span is None:
            continue
        if verdict.error is None:
            failures.pop(tenant, None)
            asked += verdict.effects
            continue
        failures[tenant] = failures.get(tenant, 0) + 1
        said.append(failed(policy, verdict.span, verdict.error, policy.acts_as(verdict.span)))
        if failures[tenant] == FAILURES_TO_PAUSE:
            stopped.append(tenant)
            said.append(paused(policy, tenant))
    return Batch(replace(state, failures=failures, paused=stopped), verdicts, asked, said)


def refused(policy: Policy, state: State) -> Batch:
    """A definition that is wrong fails without any span, and pauses this version of the policy for good."""
    tenant = str(policy.keeper.tenant_id)
    error = {"code": "invalid_input", "message": policy.problem}
    said = [failed(policy, policy.span, error, policy.keeper), paused(policy, tenant)]
    return Batch(replace(state, paused=[tenant]), said=said)


def commit(ctx: Context, policy: Policy, batch: Batch) -> tuple[State, bool]:
    """Append the batch, all or nothing: where the policy then stands, and whether it was this that moved it."""
    state = batch.state
    for _ in range(ATTEMPTS):
        try:
            return _append(ctx, policy, batch), True
        except (VersionConflict, QuotaExceeded):
            state = load_state(ctx, policy)
            if _hash(state) != _hash(batch.state):
                break  # another agent was here; else it was an effect's id, or the end of the quota: look again
    return state, False


def _hash(state: State) -> str | None:
    return state.head.curr_hash if state.head else None


def _append(ctx: Context, policy: Policy, batch: Batch) -> State:
    asked, said = _within_quota(ctx, policy, batch)
    effects = [*asked, *said]
    with ctx.transaction() as tx:
        keeper = _as(tx, policy.keeper).ledger
        head = keeper.append(**_next_cursor(policy, batch))
        if asked and not policy.system:
            keeper.query(SPEND_SQL, [len(asked), _append_limit(ctx)])
        for owner in sorted({effect.owner for effect in effects}, key=lambda who: (str(who.tenant_id), who.user_id)):
            own = [effect for effect in effects if effect.owner == owner]
            ledger = _as(tx, owner).ledger
            known = [effect.id for effect in own if effect.once or effect.sums is not None]
            stored = latest(ledger.database, ledger.identity, known) if known else {}
            ledger.append_many(drafts_of(own, stored))
    return replace(batch.state, head=head)


def _next_cursor(policy: Policy, batch: Batch) -> dict[str, Any]:
    state, span_id = batch.state, _cursor_id(policy)
    place = {"era": state.cursor.era, "xid": str(state.cursor.xid), "position": state.cursor.position}
    kept = {**place, "policy_seq": policy.span.seq, "failures": state.failures, "paused": state.paused}
    return {
        "id": span_id,
        "seq": state.head.seq + 1 if state.head else 0,
        "prev_hash": _hash(state),
        "entity_type": "policy_cursor",
        "who": AGENT,
        "did": "advanced",
        "this": policy.name,
        "parent_id": policy.span.id,
        "status": "active",
        "metadata": {**kept, **caused_by(policy, policy.span, span_id)},
    }


def _append_limit(ctx: Context) -> int:
    limit: int = ctx.manifest["throttle"].get("per_tenant_daily_append_limit", 100_000)
    return limit


def _within_quota(ctx: Context, policy: Policy, batch: Batch) -> tuple[Sequence[Effect], Sequence[Effect]]:
    """A tenant's policies spend its quota of appends. What does not fit is dropped, and said once a day."""
    if policy.system or not batch.asked:
        return batch.asked, batch.said
    limit = _append_limit(ctx)
    left = max(0, limit - _as(ctx, policy.keeper).ledger.query(APPENDS_SQL)[0]["used"])
    if len(batch.asked) <= left:
        return batch.asked, batch.said
    return batch.asked[:left], [*batch.said, over_quota(policy, limit, len(batch.asked) - left)]
