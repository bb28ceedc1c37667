"""Manifest, kernels and keys: is what boots what was released, and who signed it?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ledger.ids import MANIFEST_ID
from loglineos.health.facts import Facts
from loglineos.health.finding import FSCK, Finding


def manifest(facts: Facts) -> Iterator[Finding]:
    """Present, verified, and the seq that this checkout releases."""
    if "manifest" not in facts.loader:
        if not facts.unreachable:
            yield Finding("manifest", "failure", facts.problems.get("stage0-loader", "it was not told"),
                          f"Seed it again: `{facts.command} seed`; if it was changed: {FSCK}.")  # fmt: skip
        return
    found = {**facts.loader["manifest"], "id": str(MANIFEST_ID)}
    yield _row(facts, "manifest", found)


def kernels(facts: Facts) -> Iterator[Finding]:
    """Each kernel that the manifest lists."""
    for kernel in facts.loader.get("kernels", []):
        yield _row(facts, f"kernel {kernel['name'] or kernel['id']}", kernel)


def _row(facts: Facts, check: str, found: dict[str, Any]) -> Finding:
    seq, proof = found.get("seq"), str(found["proof"])
    shown = proof if seq is None else f"seq {seq}, {proof}"
    if proof not in ("signed", "unsigned"):
        remedy = (
            f"Seed it: `{facts.command} seed`."
            if proof == "not seeded"
            else f"See its security_alert, then publish the next seq, signed: `{facts.command} seed`."
        )
        return Finding(check, "failure", shown, remedy)
    newest = facts.released.get(found["id"])
    if newest is not None and seq is not None and seq < newest.seq:
        return Finding(check, "warning", f"{shown}; this checkout has seq {newest.seq}",
                       f"Deploy this release, or run `{facts.command} seed`.")  # fmt: skip
    if newest is not None and seq is not None and seq > newest.seq:
        return Finding(check, "ok", f"{shown}; this checkout is older, it has seq {newest.seq}")
    return Finding(check, "ok", shown)


def signing(facts: Facts) -> Iterator[Finding]:
    """Trusted keys configured, rows signed by one of them, executions signed."""
    if "manifest" not in facts.loader:
        return
    proofs = {str(item["proof"]) for item in (facts.loader["manifest"], *facts.loader["kernels"])}
    configured = facts.aws.get("functions", {}).get("stage0-loader", {}).get("trusted_row_keys")
    keys = len([key for key in (configured or "").split(",") if key.strip()])
    if "unsigned" in proofs:
        said = "no trusted key is configured: whoever owns the database can publish kernels"
        yield Finding("signing of rows", "warning", said,
                      "Make a key and deploy with it: docs/deploy.md, Row keys (-c trusted_row_keys=HEX).")  # fmt: skip
    elif proofs == {"signed"}:
        yield Finding("signing of rows", "ok", f"signed by a trusted key{f'; {keys} configured' if keys else ''}")
    else:
        yield Finding("signing of rows", "failure", "not every row that boots is signed by a trusted key",
                      f"Publish the next seq, signed: `{facts.command} seed`.")  # fmt: skip
    last = facts.section("pulse").get("last_execution")
    if last is None:
        yield Finding("signing of executions", "unknown", "nothing has been executed by schedule yet")
    elif last["signed"]:
        yield Finding("signing of executions", "ok", f"by the loader's key {last['public_key'][:16]}…")
    else:
        yield Finding("signing of executions", "warning", "the loader signs nothing that it appends",
                      "Deploy with -c sign_executions=true (with DATABASE_URL: set SIGNING_KEY_HEX).")  # fmt: skip


def sandbox(facts: Facts) -> Iterator[Finding]:
    """The walls around functions and policies."""
    told = facts.loader.get("sandbox")
    if told is None:
        return
    if problem := told.get("problem"):
        yield Finding(
            "sandbox", "failure", problem, "See docs/functions.md; `-c require_seccomp=false` runs without it."
        )
    elif told["seccomp"] != "on":
        yield Finding("sandbox", "warning", f"seccomp {told['seccomp']}",
                      "The interpreter's own walls are left: docs/deploy.md, First deployment, step 3.")  # fmt: skip
    else:
        yield Finding("sandbox", "ok", "seccomp on")
