"""`keys rotate` and `keys retire`: each run takes the next step that is due, and says what the one after it is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from nacl.signing import SigningKey

from ledger.errors import InvalidInput
from ledger.keys import USES, Announced, Retirement, Use
from ledger.proof import public_key_of
from loglineos.arguments import json_option
from loglineos.errors import CommandFailed
from loglineos.key_places import KeyPlaces, deploy_command, key_places
from loglineos.output import Output
from loglineos.private_file import read_private_key
from loglineos.row_files import ROWS, add_manifest, manifest_keys

SIGNER = click.option(
    "--key", "signer", type=click.Path(path_type=Path, dir_okay=False), help="The row key that signs the manifest."
)
ROWS_OPTION = click.option(
    "--rows", type=click.Path(path_type=Path, file_okay=False, exists=True), default=ROWS, help="The folder `row/`."
)
WARM = "Warm functions take it within five minutes"


@dataclass(frozen=True)
class Step:
    """What a run did, and what comes next."""

    done: str
    said: str
    next: str | None = None

    def show(self, output: Output, **facts: Any) -> None:
        """To a person or a script."""
        if output.as_json:
            output.json({"step": self.done, "said": self.said, "next": self.next, **facts})
            return
        output.line(self.said)
        if self.next:
            output.line(f"Next: {self.next}")


@click.command()
@click.option("--use", type=click.Choice(USES), required=True, help="Which of the three keys.")
@click.option("--new", required=True, metavar="FILE", help="The new key: its file, of a row key also its public hex.")
@SIGNER
@ROWS_OPTION
@json_option
def rotate(use: Use, new: str, signer: Path | None, rows: Path, as_json: bool) -> None:
    """Go over to a new key.

    What the old one signed stays valid. The manifest announces the new key first; run it again after the deployment,
    and it puts the key in force.
    """
    output, row_key = Output(as_json), read_private_key(signer, "--key") if signer else None
    if use == "row":
        _rotate_row(output, new, row_key, rows)
        return
    key, places = read_private_key(Path(new), "--new"), key_places()
    public, current = public_key_of(key), places.current(use)
    if current is None:
        raise CommandFailed(f"there is no {use} key in this environment (sign_executions in stacks/environment.py)")
    if current == public:
        Step("done", f"The {use} key in force is {public} already.").show(output, public_key=public)
        return
    announced = [Announced(public_key=one, use=use, name=places.name) for one in (current, public)]
    if step := _announce(places, announced, row_key, rows):
        step.show(output, public_key=public)
        return
    if places.known(use)[public]["retired_at"]:
        raise CommandFailed(f"{public} is retired: make another with `loglineos keys new --use {use}`")
    where = places.put(use, key)
    by = f" --key {signer}" if signer else ""
    after = (
        "`loglineos keys list` shows both. When nothing signs with the old one any more: `loglineos checkpoint`, then"
        f" `loglineos keys retire {current} --from-size now{by}`"
    )
    Step("in force", f"{where} holds the new key. {WARM}.", after).show(output, public_key=public)


def _rotate_row(output: Output, new: str, row_key: SigningKey | None, rows: Path) -> None:
    if row_key is None:
        raise click.UsageError("a new row key is announced by the old one: give it with --key FILE")
    public = (
        new.lower() if re.fullmatch("[0-9a-fA-F]{64}", new) else public_key_of(read_private_key(Path(new), "--new"))
    )
    old = public_key_of(row_key)
    if public == old:
        raise click.BadParameter("is the key of --key: give another", param_hint="--new")
    seq, known = manifest_keys(rows)
    if {old, public} <= {entry.public_key for entry in known if entry.use == "row"}:
        Step("announced", f"Manifest seq {seq} announces {public} already.", f"{_deploy()}.").show(
            output, public_key=public
        )
        return
    entries = [Announced(public_key=one, use="row") for one in (old, public)]
    step = _written(rows, entries, row_key, "sign new rows with the new key, and put it first in trusted_row_keys")
    step.show(output, public_key=public)


def _announce(places: KeyPlaces, entries: list[Announced], row_key: SigningKey | None, rows: Path) -> Step | None:
    """The step that is missing until the ledger's manifest knows all of them; None if it does."""
    known = places.known(entries[0].use)
    if all(entry.public_key in known and known[entry.public_key]["announced_seq"] is not None for entry in entries):
        return None
    _require_current(places, rows)
    seq, in_rows = manifest_keys(rows)
    if {entry.public_key for entry in entries} <= {entry.public_key for entry in in_rows}:
        _not_deployed(places, seq)
    _require_signer(places, row_key)
    return _written(rows, entries, row_key, "run this command again")


def _written(rows: Path, entries: list[Announced], row_key: SigningKey | None, then: str) -> Step:
    file, manifest = add_manifest(rows, entries, row_key)
    signed = "signed" if row_key else "not signed: no row key is configured here"
    return Step("announced", f"{file} has manifest seq {manifest.seq} ({signed}).", f"{_deploy()}, then {then}.")


def _deploy() -> str:
    return f"commit it and deploy (here: `{deploy_command()}`)"


def _not_deployed(places: KeyPlaces, seq: int) -> None:
    raise CommandFailed(
        f"manifest seq {seq} of the rows says it already, but the ledger's is seq {places.answer['manifest_seq']}:"
        f" {_deploy()}, then run this command again"
    )


def _require_current(places: KeyPlaces, rows: Path) -> None:
    seq, in_ledger = manifest_keys(rows)[0], places.answer["manifest_seq"]
    if seq < in_ledger:
        raise CommandFailed(f"{rows} has manifest seq {seq}, the ledger {in_ledger}: take the rows that were deployed")


def _require_signer(places: KeyPlaces, row_key: SigningKey | None, retiring: str = "") -> None:
    if row_key is None:
        if places.answer["rows_must_be_signed"]:
            raise click.UsageError("rows have to be signed here: give a trusted row key with --key FILE")
        return
    public, known = public_key_of(row_key), places.known("row")
    if places.answer["rows_must_be_signed"] and (public not in known or known[public]["retired_at"]):
        raise click.BadParameter(f"{public} is no row key that counts: `loglineos keys list`", param_hint="--key")
    if public == retiring:
        raise click.BadParameter("a key cannot retire itself: sign with another row key", param_hint="--key")


@click.command(short_help="End a key: what it signs later does not count.")
@click.argument("public")
@click.option("--from-size", required=True, metavar="SIZE|now", help="The last checkpoint up to which it counts.")
@click.option("--compromised", is_flag=True, help="Also if spans that it signed later will not count any more.")
@click.option("--forsake-log", is_flag=True, help="Also if its log can then not be rebuilt or archived, for ever.")
@SIGNER
@ROWS_OPTION
@json_option
def retire(
    public: str,
    from_size: str,
    compromised: bool,
    forsake_log: bool,
    signer: Path | None,
    rows: Path,
    as_json: bool,
) -> None:
    """End a key: what it signs later does not count.

    Its signatures count up to the checkpoint of that size, and no further; from size 0 on: none of them.
    """
    output, public, places = Output(as_json), public.lower(), key_places()
    size = _size(from_size)
    row_key = read_private_key(signer, "--key") if signer else None
    use = _require_retirable(places, public)
    event = {"action": "keys", "retire": public, **({} if size is None else {"from_size": size})}
    found = places.backend.deployment(event)
    place = Retirement.model_validate(found["retired_at"])
    known = places.known(use)[public]["retired_at"]
    if known and Retirement.model_validate(known).end <= place.end:
        Step("retired", f"{public} is retired from size {known['size']} on.").show(output, public_key=public)
        return
    if found["of_log"] and not forsake_log:
        raise CommandFailed(
            f"{found['of_log']} checkpoint and archive spans behind checkpoint size {place.size} are signed by this"
            " key: without them the log can be neither rebuilt nor archived any more, and no retirement is ever taken"
            " back. Retire it from a checkpoint that the key in force has signed: append a span, `loglineos"
            " checkpoint`, then --from-size now. --forsake-log does it all the same: for a log that you end"
        )
    if found["later"] and not compromised:
        raise CommandFailed(
            f"{found['later']} spans after checkpoint size {place.size} are signed by this key and would not count any"
            " more: make a checkpoint (`loglineos checkpoint`) once nothing signs with it, and retire it from there on;"
            " if somebody else has the key, give --compromised"
        )
    _require_current(places, rows)
    seq, in_rows = manifest_keys(rows)
    if any(e.public_key == public and e.retired_at and e.retired_at.end <= place.end for e in in_rows):
        _not_deployed(places, seq)
    _require_signer(places, row_key, public)
    step = _written(rows, [Announced(public_key=public, use=use, retired_at=place)], row_key, _after(use))
    step.show(output, public_key=public, retired_at=place.as_json(), later=found["later"])


def _after(use: Use) -> str:
    if use != "row":
        return "look: `loglineos keys list`"
    return (
        "look: `loglineos keys list`. For new ledgers sign the older rows anew (`keys sign row --again --key FILE`),"
        " and take the key out of trusted_row_keys"
    )


def _size(text: str) -> int | None:
    if text == "now":
        return None
    if not re.fullmatch("[0-9]{1,18}", text):
        raise click.BadParameter("expected the size of a checkpoint, or now", param_hint="--from-size")
    return int(text)


def _require_retirable(places: KeyPlaces, public: str) -> Use:
    """The use of the key. Raises CommandFailed if it is in force, or the last of its use."""
    for use in USES:
        known = places.known(use)
        if public not in known:
            continue
        if places.current(use) == public:
            raise CommandFailed(f"the {use} key is in force: `loglineos keys rotate --use {use}` first")
        others = [key for key, entry in known.items() if key != public and not entry["retired_at"]]
        if not others:
            raise CommandFailed(f"it is the last {use} key: announce another with `loglineos keys rotate` first")
        return use
    raise InvalidInput("PUBLIC", "expected a public key that the manifest or the configuration names: `keys list`")
