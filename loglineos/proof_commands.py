"""`loglineos prove` and `loglineos verify`: one span, shown to somebody who has a key and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from uuid import UUID

import click

from ledger.span import Span
from loglineos.arguments import OutFile, json_option, read_text
from loglineos.backend import choose_backend
from loglineos.log_location import key_option, log_option, log_storage, note_keys
from loglineos.output import Output
from loglineos.private_file import write_private
from loglineos.proving import check, prove
from tlog.checkpoint import Checkpoint, encode_hash, open_checkpoint
from tlog.errors import ProofInvalid
from tlog.note import NoteKey
from tlog.proofs import INCLUSION_HEADER, ConsistencyProof

CONSISTENCY_HEADER: Final = "old "
NOT_COVERED: Final = "not_covered"


@click.command("prove")
@click.argument("span", metavar="SPAN")
@click.option("--seq", type=click.IntRange(0), help="The version.  [default: the latest]")
@click.option("--size", type=click.IntRange(1), help="Of the checkpoint to prove it against.  [default: the newest]")
@click.option("--hash-only", is_flag=True, help="Leave the span's columns out: whoever checks it brings its hash.")
@click.option("--out", "-o", type=OutFile(), metavar="FILE")
@log_option
@json_option
def prove_command(
    span: str, seq: int | None, size: int | None, hash_only: bool, out: Path | None, log: str | None, as_json: bool
) -> None:
    """Write a file that proves that the log has SPAN (its id): `verify` checks it without database and AWS.

    The file is C2SP's tlog-proof, and holds the span's columns, be they private or not.
    """
    output, backend = Output(as_json), choose_backend()
    try:
        span_id = UUID(span)
    except ValueError:
        raise click.BadParameter("expected the id of a span, a UUID", param_hint="SPAN") from None
    found, proof = prove(backend, log_storage(backend, log), span_id, seq, size, content=not hash_only)
    path = write_private(out or Path(f"{found.id}-{found.seq}.tlog-proof"), str(proof))
    if as_json:
        output.json({"file": str(path), "id": str(found.id), "seq": found.seq, "index": proof.index})
        return
    output.line(f"{path}: {found.entity_type} {found.id} seq {found.seq} is number {proof.index} of the log.")
    output.line(f"Anybody checks it by: loglineos verify {path} --key KEY")


@click.command("verify")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@key_option
@click.option("--old", type=click.Path(path_type=Path, dir_okay=False), metavar="CHECKPOINT",
              help="The older checkpoint, for a proof of consistency.")  # fmt: skip
@json_option
def verify_command(file: Path, keys: tuple[str, ...], old: Path | None, as_json: bool) -> None:
    """Check FILE with nothing but a public key: an inclusion proof, a consistency proof, or a checkpoint.

    Exit code 1 if it does not prove what it says.
    """
    output, trusted = Output(as_json), note_keys(keys)
    text = read_text(file, "FILE")
    try:
        facts = _facts(text, old, trusted)
    except ProofInvalid as error:
        if as_json:
            output.json({"ok": False, "error": {"code": error.code, "message": error.message}})
        raise
    if as_json:
        output.json({"ok": True, **facts})
        return
    for name, value in facts.items():
        if name not in ("span", NOT_COVERED):
            output.line(f"{name:12} {value}")
    if facts.get("span"):
        output.json(facts["span"])
    if facts.get(NOT_COVERED):
        output.line("Not covered by the log: anybody can sign a span anew. Compare the key with those that you know.")
        output.line(f"{'signed by':12} {facts[NOT_COVERED]['public_key']}")


def _facts(text: str, old: Path | None, keys: list[NoteKey]) -> dict[str, Any]:
    if old is not None and not text.startswith(CONSISTENCY_HEADER):
        raise click.UsageError(
            "--old is for a proof of consistency, and FILE is none: `loglineos checkpoint consistency` writes it"
        )
    if text.startswith(INCLUSION_HEADER.partition("@")[0]):
        proved = check(text, keys)
        return {
            "proved": "the log has this span" if proved.span else "the log has a span of this hash",
            "hash": proved.curr_hash,
            "index": proved.index,
            **_stated(proved.checkpoint),
            **_shown(proved.span),
        }
    if text.startswith(CONSISTENCY_HEADER):
        if old is None:
            raise click.UsageError("a proof of consistency is checked against the older checkpoint: give --old FILE")
        before = open_checkpoint(read_text(old, "--old"), keys)
        newer = ConsistencyProof.parse(text).verify(before, keys)
        return {
            "proved": f"the log of {newer.size} spans begins with the one of {before.size}",
            **_stated(newer),
        }
    return {"proved": "the checkpoint is signed by the key", **_stated(open_checkpoint(text, keys))}


def _shown(span: Span | None) -> dict[str, Any]:
    """The columns that the log covers, and apart from them the signature, which no hash covers."""
    given = span.model_dump(mode="json", exclude_none=True) if span else {}
    signed = {name: given.pop(name, None) for name in ("public_key", "signature")}
    return {"span": given or None, NOT_COVERED: signed if all(signed.values()) else None}


def _stated(checkpoint: Checkpoint) -> dict[str, Any]:
    return {"log": checkpoint.origin, "size": checkpoint.size, "root": encode_hash(checkpoint.root)}
