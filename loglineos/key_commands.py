"""`loglineos keys`: make, list and sign with keys; what changes which of them count is in `key_rotation`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from nacl.signing import SigningKey

from ledger.errors import Misconfigured
from ledger.keys import USES, Use
from ledger.proof import parse_public_keys, public_key_of
from loglineos.arguments import OutFile, json_option
from loglineos.errors import CommandFailed
from loglineos.key_places import KeyPlaces, key_places, log_origin
from loglineos.key_rotation import retire, rotate
from loglineos.output import Output
from loglineos.private_file import read_private_key, write_private
from loglineos.row_files import check_rows, sign_rows
from tlog.note import NoteKey, is_key_name

FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def keys() -> None:
    """The keys that sign: of rows, of the loader, of checkpoints (docs/keys.md)."""


@keys.command()
@click.option("--use", type=click.Choice(USES), default="row", show_default=True, help="What it is to sign.")
@click.option("--out", type=OutFile(), help="Write the private key here.  [default: ./<use>-<start of public key>.key]")
@click.option("--origin", help="Name of the log, for a checkpoint key.  [default: the environment's]")
@json_option
def new(use: Use, out: Path | None, origin: str | None, as_json: bool) -> None:
    """Make a key.

    The private half goes into a file that only you can read, and is never shown."""
    output, key = Output(as_json), SigningKey.generate()
    public = public_key_of(key)
    file = out or Path(f"{use}-{public[:8]}.key")
    if file.exists():
        raise click.BadParameter(f"{file} exists: a key is not overwritten", param_hint="--out")
    made: dict[str, Any] = {"use": use, "private_key_file": str(file), "public_key": public}
    if use == "checkpoint":
        origin = origin or log_origin()
        if not is_key_name(origin):
            raise click.BadParameter("expected a name without spaces and +", param_hint="--origin")
        made["log_key"] = str(NoteKey(origin, bytes(key.verify_key)))
    write_private(file, bytes(key).hex() + "\n")
    if as_json:
        output.json(made)
        return
    output.line(f"private key  {file} (mode 0600: who has it signs; keep a copy where it is safe)")
    output.line(f"public key   {public}")
    if "log_key" in made:
        output.line(f"log key      {made['log_key']}")


@keys.command("list", short_help="Show the keys that count or counted.")
@json_option
def list_keys(as_json: bool) -> None:
    """Show the keys that count or counted.

    By use, with what trusts them, and how many spans each signed.
    """
    output, places = Output(as_json), key_places()
    rows = _rows(places)
    if as_json:
        about = {name: places.answer[name] for name in ("manifest_seq", "rows_must_be_signed", "log_key", "unheard")}
        output.json({"keys": rows, **about, "counted": places.answer["counted"]})
        return
    output.table(
        ["use", "public key", "trusted by", "state", "spans", "name"],
        [(r["use"], r["public_key"] or "(unsigned)", r["trusted_by"], r["state"], r["spans"], r["name"]) for r in rows],
    )
    output.line(f"Counted: all rows, and what is among the newest {places.answer['counted']:,} spans of the others.")
    if not places.answer["rows_must_be_signed"]:
        output.line("No row key is configured: of rows the hash alone is checked (docs/keys.md).", "yellow")
    for row in rows:
        if row["state"] == "in force" and not row["trusted_by"]:
            step = "the manifest does not announce it; the first step of `keys rotate` does"
            output.line(f"The {row['use']} key in force counts by its own word: {step}.", "yellow")
        elif row["state"] == "UNKNOWN":
            output.line(f"{row['public_key']} signed spans, and nothing announces it: find out whose it is.", "yellow")
    for version in places.answer["unheard"]:
        output.line(f"Manifest seq {version['seq']} announces nothing: {version['reason']}", "yellow")


def _rows(places: KeyPlaces) -> list[dict[str, Any]]:
    """A line for each key that is known, in force, or has signed something."""
    signed = {(one["use"], one["public_key"]): one["spans"] for one in places.answer["signed"]}
    rows: list[dict[str, Any]] = []
    for use in USES:
        known, current = places.known(use), places.current(use)
        others = [key for of, key in signed if of == use and key not in known and key != current]
        for public in [*known, *([current] if current and current not in known else []), *others]:
            rows.append(_row(use, public, known.get(public or ""), current, signed.get((use, public), 0)))
    return rows


def _row(use: Use, public: str | None, key: dict[str, Any] | None, current: str | None, spans: int) -> dict[str, Any]:
    by = ["configuration"] if key and (key["root"] or (use == "row" and key["announced_seq"] is None)) else []
    by += [f"manifest seq {key['announced_seq']}"] if key and key["announced_seq"] is not None else []
    retired = key["retired_at"] if key else None
    state = "in force" if public and public == current else ""
    if retired:
        state = f"retired from size {retired['size']} on"
    elif public and not key and not state:
        state = "UNKNOWN"
    return {
        "use": use,
        "public_key": public,
        "trusted_by": ", ".join(by) or None,
        "state": state or None,
        "retired_at": retired,
        "spans": spans,
        "name": key["name"] if key else None,
    }


@keys.command(short_help="Sign rows without a ledger, or check them.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True), metavar="FILE…")
@click.option("--key", type=FILE, help="The file with the private key (of `keys new`).")
@click.option("--again", is_flag=True, help="Sign anew what is signed already.")
@click.option("--check", is_flag=True, help="Change nothing; fail unless keys that count signed every row.")
@click.option("--public", multiple=True, metavar="HEX", help="With --check: a public key that counts.")
@json_option
def sign(
    paths: tuple[Path, ...], key: Path | None, again: bool, check: bool, public: tuple[str, ...], as_json: bool
) -> None:
    """Sign rows without a ledger, or check them.

    FILE is a file of `row/`, or a folder of them. So no row key has to be in AWS. --check asks whether a new ledger
    that trusts the keys given, and those that its manifest announces, would take the rows.
    """
    output = Output(as_json)
    if check == bool(key) or check != bool(public) or (check and again):
        raise click.UsageError("give either --key FILE, or --check with one --public HEX or more")
    if check:
        _check(output, list(paths), public)
        return
    done = sign_rows(paths, read_private_key(key or Path(), "--key"), again=again)
    fresh = [span for _, span, signed in done if signed]
    if as_json:
        output.json(
            {
                "signed": [{"id": str(span.id), "seq": span.seq, "name": span.name} for span in fresh],
                "unchanged": len(done) - len(fresh),
            }
        )
        return
    for span in fresh:
        output.line(f"signed  {span.name} seq {span.seq}")
    output.line(f"{len(fresh)} rows signed, {len(done) - len(fresh)} were already.")


def _check(output: Output, paths: list[Path], public: tuple[str, ...]) -> None:
    try:
        trusted = parse_public_keys(",".join(public), "--public")
    except Misconfigured:
        raise click.BadParameter("expected 64 hex digits", param_hint="--public") from None
    checked = check_rows(paths, trusted)
    wrong = [one for one in checked if one.problem]
    if output.as_json:
        found = [
            {"place": one.place, "name": one.span.name, "seq": one.span.seq, "problem": one.problem} for one in wrong
        ]
        output.json({"rows": len(checked), "problems": found})
    for one in wrong:
        output.line(f"{one.place}: {one.span.name} seq {one.span.seq}: {one.problem}")
    if wrong:
        raise CommandFailed(f"{len(wrong)} of {len(checked)} rows are not signed by a key that counts: `keys sign`")
    output.line(f"All {len(checked)} rows are signed by keys that count.")


keys.add_command(rotate)
keys.add_command(retire)
