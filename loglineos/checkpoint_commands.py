"""`loglineos checkpoint`: seal the ledger, look at what is sealed, write the log again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from loglineos.arguments import OutFile, json_option
from loglineos.backend import choose_backend
from loglineos.checkpoints import MAX_BEHIND, is_signed_by, newest_in, newest_of, prove_consistency, told_by
from loglineos.errors import CommandFailed
from loglineos.log_location import log_option, log_storage
from loglineos.output import Output

BUSY = "another notary is sealing this ledger at this moment: look again in a minute (`loglineos checkpoint show`)"


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def checkpoint(context: click.Context, as_json: bool) -> None:
    """Seal what is new now: a deployment does so every five minutes by itself."""
    if context.invoked_subcommand is not None:
        return
    output, backend = Output(as_json), choose_backend()
    sealed: list[dict[str, Any]] = []
    with output.step("Sealing the ledger"):
        while True:
            said = backend.deployment({"action": "checkpoint"})
            sealed += said["sealed"]
            if not said["more"]:
                break
    if as_json:
        output.json({**said, "sealed": sealed})
    elif said["busy"]:
        raise CommandFailed(BUSY)
    else:
        _tell(output, said, sealed)


def _tell(output: Output, said: dict[str, Any], sealed: list[dict[str, Any]]) -> None:
    if said["republished"]:
        output.line(f"put {said['republished']} checkpoints into the log that an interrupted run had left out")
    if said["taken_over"]:
        output.line("took the log's newest checkpoint over into the ledger, which had lost its span", "yellow")
    for one in sealed:
        output.line(f"sealed {one['spans']} new spans: {one['size']} in all, root {one['root']}")
    if not sealed:
        newest = said["newest"]
        upto = f"the newest checkpoint, of {newest['at']}, has {newest['size']} spans" if newest else "no spans yet"
        output.line(f"Nothing new to seal: {upto}.")
    output.line(f"log  {said['log']}")
    output.line(f"key  {said['public_key']}")


@checkpoint.command()
@log_option
@click.option("--out", "-o", type=OutFile(), metavar="FILE", help="Keep it in a file.")
@json_option
def show(log: str | None, out: Path | None, as_json: bool) -> None:
    """Show the newest checkpoint: origin, size, root; of the environment's own log also when, by whose key, and how
    many spans are not sealed yet.

    Keep the key, and now and then a checkpoint, outside of what it seals: `fsck` and `verify` ask for them.
    """
    output, backend = Output(as_json), choose_backend() if log is None else None
    storage = log_storage(backend, log)
    noted = newest_in(storage)
    if out is not None:
        out.write_bytes(noted.note.encode())
    told = told_by(backend, noted.checkpoint.origin) if backend else None
    signed = told is not None and is_signed_by(noted, told.key)
    if as_json:
        ledger = {**told.as_json(), "signed_by_key": signed} if told else None
        output.json({**noted.as_json(), "log": str(storage), "note": noted.note, "ledger": ledger})
        return
    for name, value in noted.as_json().items():
        output.line(f"{name:7} {value}")
    output.line(f"log     {storage}")
    if told:
        more = " or more" if told.behind == MAX_BEHIND else ""
        output.line(f"at      {told.at}")
        output.line(f"key     {told.key}")
        output.line(f"behind  {told.behind}{more} spans are not sealed yet")
        if not signed:
            output.line("Warning: that key has not signed it: `loglineos checkpoint`, then `loglineos fsck`", "yellow")
    output.line()
    output.line(noted.note.rstrip("\n"))


@checkpoint.command("list")
@log_option
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@json_option
def list_command(log: str | None, limit: int, as_json: bool) -> None:
    """List the newest checkpoints of the log, the largest first."""
    output = Output(as_json)
    found = newest_of(log_storage(choose_backend() if log is None else None, log), limit)
    if as_json:
        output.json({"checkpoints": [{**one.as_json(), "note": one.note} for one in found]})
    else:
        output.table(["size", "root"], [(one.checkpoint.size, one.checkpoint.root.hex()) for one in found])


@checkpoint.command()
@click.argument("old", type=click.IntRange(1))
@click.argument("new", type=click.IntRange(1))
@click.option("--out", "-o", type=OutFile(), metavar="FILE")
@log_option
@json_option
def consistency(old: int, new: int, out: Path | None, log: str | None, as_json: bool) -> None:
    """Prove that the checkpoint of NEW spans continues that of OLD: nothing in between was changed or taken away.

    The proof is what C2SP's tlog-witness takes: `verify` checks it, and so can a witness.
    """
    if old > new:
        raise click.BadParameter(f"expected the size of a checkpoint from {old} on", param_hint="NEW")
    output = Output(as_json)
    proof = prove_consistency(log_storage(choose_backend() if log is None else None, log), old, new)
    if out is not None:
        out.write_text(str(proof))
    if as_json:
        output.json({"old": old, "new": new, "file": str(out) if out else None, "proof": str(proof)})
    elif out is None:
        click.echo(str(proof), nl=False)
    else:
        output.line(f"{out}: the checkpoint of {new} spans begins with that of {old}.")


@checkpoint.command()
@json_option
def rebuild(as_json: bool) -> None:
    """Write the log again from the ledger's spans, each checkpoint's root checked on the way.

    Files that are missing are written, those that differ from what was signed are replaced; no checkpoint changes.
    """
    output, backend = Output(as_json), choose_backend()
    said: dict[str, Any] = {"size": 0, "more": True, "written": 0, "mended": [], "checkpoints": 0}
    with output.progress("Rebuilding the log", "spans") as tell:
        while said["more"]:
            before = said
            said = backend.deployment({"action": "checkpoint", "rebuild": True, "after": before["size"]})
            said["written"] += before["written"]
            said["mended"] = before["mended"] + said["mended"]
            said["checkpoints"] += before["checkpoints"]
            tell(said["size"], said["of"])
    if as_json:
        output.json(said)
        return
    if said["busy"]:
        raise CommandFailed(BUSY)
    output.line(
        f"{said['checkpoints']} checkpoints of {said['size']} spans hold: {said['written']} files were missing,"
        f" {len(said['mended'])} differed"
    )
    for name in said["mended"]:
        output.line(f"replaced  {name}", "yellow")
