"""What kernels that work for others get: transactions over several identities, and other kernels in the same boot."""

from __future__ import annotations

from uuid import UUID

import pytest

from ledger.ids import MANIFEST_ID
from tests.stage0_loader.stage import ACTING_KERNELS, MANIFEST_SEQ, NOTHING, UNSEEDED, Stage, manifest

NOTE = "entity_type='note', who='kernel', did='wrote', this='it'"
BOTH = f"""
def main(ctx):
    with ctx.transaction() as tx:
        for user, tenant in (('bob', ctx.input['t'] + '-b'), ('carol', ctx.input['t'] + '-c')):
            tx.acting_as(user, tenant).ledger.append({NOTE})
        {{}}
    return 'done'
"""
CALL = "def main(ctx):\n    return ctx.run_kernel(ctx.input['name'], {'x': 1})\n"
SLEEPING = "SELECT pg_sleep(60)"


def notes(stage: Stage, tenant: str) -> int:
    return sum(len(stage.spans(tenant_id=f"{tenant}{end}", entity_type="note")) for end in ("", "-b", "-c"))


def acting(stage: Stage, source: str, place: int = 0) -> UUID:
    """A kernel that the manifest lists under `may_act_as`, in its next version."""
    kernel = ACTING_KERNELS[place]
    return stage.publish(source, kernel=kernel, seq=len(stage.spans(id=kernel)) + 1)


@pytest.mark.parametrize(
    ("ending", "status", "appended"),
    [
        ("pass", 200, 2),
        ("raise ValueError('no')", 500, 0),
        ("raise ctx.rejected('no')", 422, 0),
        ("raise SystemExit(1)", 500, 0),
        ("tx.ledger.query('SELECT 1 / 0')", 500, 0),
        ("tx.acting_as('bob', 'x').ledger.append(**{**dict(" + NOTE + "), 'owner_id': 'mallory'})", 403, 0),
        ("__import__('time').sleep(60)", 504, 0),
        (f"tx.ledger.query('{SLEEPING}')", 504, 0),
        # An error that is swallowed must not pass for a commit.
        (
            "\n        try:\n            tx.ledger.query('SELECT 1 / 0')\n        except Exception:\n            pass",
            500,
            0,
        ),
        # Within a part of its own it may fail, and undoes that part alone.
        (
            "\n        try:\n            with tx.transaction() as part:\n"
            f"                part.acting_as('bob', ctx.input['t'] + '-b').ledger.append({NOTE})\n"
            "                part.ledger.query('SELECT 1 / 0')\n        except Exception as error:\n"
            "            assert type(error).__name__ == 'QueryFailed', error",
            200,
            2,
        ),
    ],
)
def test_a_transaction_is_all_or_nothing_over_all_identities(
    stage: Stage, tenant: str, ending: str, status: int, appended: int
) -> None:
    remaining_ms = 3_000 if status == 504 else 30_000
    answer = stage.boot(acting(stage, BOTH.format(ending)), {"t": tenant}, tenant=tenant, remaining_ms=remaining_ms)
    assert answer.status == status, answer.raw
    assert notes(stage, tenant) == appended
    left = stage.superuser.execute(
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND usename = 'lambda_exec' "
        "AND state <> 'idle'"
    ).rowcount
    assert left == 0, "the connection is clean"
    assert stage.boot(stage.publish(NOTHING), tenant=tenant).status == 200


def test_each_statement_of_a_transaction_has_its_own_identity(stage: Stage, tenant: str) -> None:
    who = "tx.ledger.query(\"SELECT current_setting('app.user_id', true) AS u\")[0]['u']"
    other = who.replace("tx.", "tx.acting_as('bob', 'x').")
    source = f"def main(ctx):\n    with ctx.transaction() as tx:\n        return [{who}, {other}, {who}]\n"
    assert stage.boot(acting(stage, source), tenant=tenant).output == ["alice", "bob", "alice"]


def test_what_others_commit_meanwhile_is_seen_within_a_transaction(stage: Stage, tenant: str) -> None:
    count = "tx.ledger.query(\"SELECT count(*) AS n FROM ledger.visible_timeline WHERE entity_type = 'note'\")[0]['n']"
    source = (
        "from ledger.connection import connect\nfrom ledger.database import Database, Identity\n"
        "from ledger.append import append\n"
        f"def main(ctx):\n    with ctx.transaction() as tx:\n        before = {count}\n"
        "        other = Database(ctx.settings.target)\n"
        f"        from dataclasses import replace\n        replace(ctx.ledger, database=other).append({NOTE})\n"
        f"        other.close()\n        return {count} - before\n"
    )
    assert stage.boot(stage.publish(source), tenant=tenant).output == 1


def test_a_kernel_runs_another_by_its_name_with_the_same_rights(own: Stage) -> None:
    inner = own.publish(
        "def main(ctx):\n    ctx.ledger.append(" + NOTE + ")\n"
        "    return [ctx.input, ctx.user_id, ctx.tenant_id, str(ctx.kernel_id), ctx.may_act_as, ctx.request_id]\n"
    )
    listed = {**(manifest().metadata or {})["kernels"], "inner": str(inner)}
    own.seed(manifest(MANIFEST_SEQ + 1, kernels=listed))
    outer = acting(own, CALL)
    answer = own.boot(outer, {"name": "inner"}, request_id="0192f8a0-0000-7000-8000-000000000000")
    assert answer.output == [{"x": 1}, "alice", "acme", str(inner), False, None]
    assert own.one(entity_type="note").owner_id == "alice"
    assert len(own.spans(entity_type="boot_event")) == 1, "it is the same boot"
    as_other = acting(own, CALL.replace("ctx.run", "ctx.acting_as('bob', 'b').run"), 1)
    assert own.boot(as_other, {"name": "inner"}).output[1:3] == ["bob", "b"]


@pytest.mark.parametrize(
    ("source", "status", "said"),
    [
        ("def main(ctx):\n    raise ctx.rejected('not so')\n", 422, "not so"),
        ("def main(ctx):\n    raise ctx.failed('busy', 'not now')\n", 429, "not now"),
        ("def main(ctx):\n    return 1 // 0\n", 500, "ZeroDivisionError"),
        ("def main(ctx):\n    return object()\n", 500, "TypeError"),
        ("def main(ctx):\n    return float('nan')\n", 500, "the kernel's output cannot be stored"),
        ("def main(ctx):\n    ctx.ledger.query('SELECT nothing')\n", 500, "Internal error"),
        ("def main(ctx):\n    ctx.acting_as('bob', 'b')\n", 403, "does not list this kernel under may_act_as"),
        ("x = 1\n", 500, "has no main(ctx)"),
        ("def main(ctx):\n    return (\n", 500, "SyntaxError"),
    ],
)
def test_what_the_other_kernel_raises_is_raised(own: Stage, source: str, status: int, said: str) -> None:
    inner = own.publish(source)
    listed = {**(manifest().metadata or {})["kernels"], "inner": str(inner)}
    own.seed(manifest(MANIFEST_SEQ + 1, kernels=listed))
    answer = own.boot(acting(own, CALL), {"name": "inner"})
    assert answer.status == status, answer.raw
    assert said in answer.error["message"]


@pytest.mark.parametrize(
    ("name", "kernel", "change", "status", "said"),
    [
        ("no such kernel", None, {}, 403, "Boot function not allowed by manifest"),
        ("inner", ACTING_KERNELS[3], {"allowed": False}, 403, "Boot function not allowed by manifest"),
        ("inner", UNSEEDED, {}, 404, "Function span not found"),
        ("inner", ACTING_KERNELS[3], {"tampered": True}, 409, "Span verification failed"),
    ],
)
def test_a_kernel_that_may_not_run_or_does_not_verify_is_not_run_by_another(
    own: Stage, name: str, kernel: UUID | None, change: dict[str, bool], status: int, said: str
) -> None:
    metadata = dict(manifest().metadata or {})
    listed = {**metadata["kernels"], "inner": str(kernel)} if kernel else metadata["kernels"]
    allowed = [one for one in metadata["allowed_boot_ids"] if change.get("allowed", True) or one != str(kernel)]
    own.seed(manifest(MANIFEST_SEQ + 1, kernels=listed, allowed_boot_ids=allowed))
    if kernel == ACTING_KERNELS[3]:
        own.publish(NOTHING, kernel=kernel)
    if change.get("tampered"):
        own.tamper("code = code || ' '", ACTING_KERNELS[3])
    answer = own.boot(acting(own, CALL), {"name": name})
    assert (answer.status, answer.error["message"]) == (status, said)
    assert len(own.spans(id=MANIFEST_ID)) == 3


@pytest.mark.parametrize(
    ("span", "status"),
    [
        ({"entity_type": "note"}, 200),
        ({"entity_type": "execution"}, 403),
        ({"entity_type": "status_patch"}, 403),
        ({"entity_type": "note", "visibility": "public"}, 403),
        ({"entity_type": "note", "metadata": {"caused_by": {}}}, 403),
        ({"entity_type": "note", "id": "00000000-0000-4000-8000-000000000777"}, 403),
        ({"entity_type": "note", "owner_id": "mallory"}, 403),
        ({"entity_type": "note", "tenant_id": "other"}, 403),
        ({"entity_type": "request", "status": "running"}, 403),
        ({"entity_type": "request", "status": "scheduled"}, 422),
    ],
)
def test_what_untrusted_code_composed_is_appended_as_a_caller_would(
    stage: Stage, tenant: str, span: dict[str, object], status: int
) -> None:
    base = {"who": "code", "did": "wrote", "this": "it"}
    source = f"def main(ctx):\n    spans = ctx.ledger.append_as_caller([{base!r}, {{**{base!r}, **ctx.input}}])\n"
    source = source.replace(f"[{base!r}", f"[{ {**base, 'entity_type': 'note'}!r}")
    kernel = stage.publish(source + "    return len(spans)\n")
    answer = stage.boot(kernel, span, tenant=tenant)
    assert answer.status == status, answer.raw
    assert notes(stage, tenant) == (2 if status == 200 else 0)
