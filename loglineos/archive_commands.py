"""`loglineos archive`: sealed spans into Parquet, what is archived, and whether it still is what was recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from ledger.errors import LedgerError, VerificationFailed
from ledger.proof import verify
from ledger.read import BEGINNING, cursor_of
from ledger.span import Span
from ledger.storage import Storage
from loglineos.arguments import json_option
from loglineos.backend import Backend, choose_backend
from loglineos.errors import CommandFailed
from loglineos.log_location import archive_storage, log_option, log_storage, note_keys
from loglineos.output import Output
from tlog.checkpoint import open_checkpoint, parse_checkpoint
from tlog.errors import ProofInvalid
from tlog.note import NoteKey
from tlog.tiles import CHECKPOINT, Tree

if TYPE_CHECKING:
    from db_migration.archive.check import Range

STRETCH_S = 20  # of work for each answer: how often the progress moves
PAGE = 500
_RECORDED = """
SELECT id, seq, entity_type, who, did, this, at, owner_id, tenant_id, visibility, status, metadata, prev_hash,
       curr_hash, signature, public_key, era, xid, position
  FROM ledger.universal_registry
 WHERE owner_id = 'archivist' AND tenant_id = 'system' AND entity_type = 'archive'
   AND (era, xid, position) > ($1::text::integer, $2::text::xid8, $3::text::bigint)
 ORDER BY era, xid, position LIMIT $4::text::integer
"""
COLUMNS = ["month", "from", "to", "spans", "bytes", "archived at", "file"]


@click.group(invoke_without_command=True)
@click.option(
    "--older-than",
    "days",
    type=click.IntRange(0, 36_500),
    default=365,
    show_default=True,
    metavar="DAYS",
    help="Archive what a checkpoint sealed so many days ago. 0: all that is sealed.",
)
@json_option
@click.pass_context
def archive(context: click.Context, days: int, as_json: bool) -> None:
    """Copy sealed spans to Parquet in storage, range by range. Nothing is taken out of the ledger."""
    if context.invoked_subcommand is not None:
        return
    output, backend, ranges = Output(as_json), choose_backend(), list[dict[str, Any]]()
    event = {"action": "archive", "older_than_days": days, "seconds": STRETCH_S}
    with output.progress("Archiving", "spans") as tell:
        while True:
            result = backend.deployment(event)
            for made in result["ranges"]:
                output.line(f"archived  {made['from']} to {made['to'] - 1}  {', '.join(map(_of_file, made['files']))}")
            ranges += result["ranges"]
            tell(result["archived"], result["sealed"])
            if not result["more"] or not result["ranges"]:
                break
    if as_json:
        output.json({**result, "ranges": ranges})
    elif not result["sealed"]:
        output.line(
            f"Nothing to archive: no checkpoint is {days} days old. `loglineos checkpoint` seals what there is."
        )
    else:
        output.line(f"All {result['sealed']} spans that were sealed {days} days ago are archived.")


def _of_file(file: dict[str, Any]) -> str:
    return f"{file['name']} ({file['bytes']} bytes)"


@archive.command(name="list")
@json_option
def list_ranges(as_json: bool) -> None:
    """The ranges that are archived, as the ledger records them."""
    output = Output(as_json)
    spans = list(_recorded(choose_backend()))
    if as_json:
        output.json({"ranges": [{"seq": span.seq, "at": _at(span), **(span.metadata or {})} for span in spans]})
        return
    rows = [
        (_month(file["name"]), said["from"], said["to"], file["count"], file["bytes"], _at(span), file["name"])
        for span in spans
        if (said := span.metadata or {})
        for file in said["files"]
    ]  # fmt: skip
    output.table(COLUMNS, rows)


def _month(name: str) -> str:
    return name.split("/")[1].partition("=")[2]


def _at(span: Span) -> str:
    return span.at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _recorded(backend: Backend) -> Iterator[Span]:
    """All `archive` spans in the ledger's order."""
    after = BEGINNING
    while True:
        params = [str(after.era), str(after.xid), str(after.position), str(PAGE)]
        rows = backend.migration({"action": "query", "sql": _RECORDED, "params": params})["rows"]
        spans = [Span.model_validate(row) for row in rows]
        yield from spans
        if len(spans) < PAGE:
            return
        after = cursor_of(spans[-1])


@archive.command(name="verify")
@log_option
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="KEY|FILE",
    envvar="LOGLINEOS_LOG_KEY",
    help="A checkpoint key (`checkpoint show` prints it): what no such key has signed does not count, range or log.",
)
@json_option
def verify_files(log: str | None, keys: tuple[str, ...], as_json: bool) -> None:
    """Read every archived file back: its SHA-256, each span's hash from its columns, the digest, the log's entries."""
    output, backend = Output(as_json), choose_backend()
    given = note_keys(keys)
    trusted = frozenset(key.public_key.hex() for key in given) or None
    storage, spans = archive_storage(backend), list(_recorded(backend))
    tree = _tree(log_storage(backend, log), given)  # after the spans: it is at least as long as what they are of
    found, checked = list[dict[str, Any]](), 0
    total = sum(int((span.metadata or {}).get("count", 0)) for span in spans)
    with output.progress("Reading back", "spans") as tell:
        for span, problems in _checked(spans, storage, tree, trusted):
            found += [{"archive_seq": span.seq, "file": file, "problem": problem} for file, problem in problems]
            checked += int((span.metadata or {}).get("count", 0))
            tell(checked, total)
    said = {"ranges": len(spans), "spans": total, "log": tree.size, "findings": found}
    if as_json:
        output.json({"ok": not found, **said})
    for one in found:
        output.line(f"archive span seq {one['archive_seq']}: {one['file'] or 'the range'}: {one['problem']}")
    if found:
        wrong = len({one["archive_seq"] for one in found})
        raise CommandFailed(f"{wrong} of {len(spans)} archived ranges are not what was recorded")
    output.line(
        f"{total} spans in {len(spans)} ranges are what was recorded (held against the log of {tree.size} entries)."
    )


def _tree(log: Storage, keys: Sequence[NoteKey]) -> Tree:
    """The log as far as its newest checkpoint goes, empty where there is none. Without keys, whose checkpoint that is,
    `loglineos fsck` asks."""
    note = log.read(CHECKPOINT)
    if note is None:
        return Tree(log, 0)
    try:
        text = note.decode()
        newest = open_checkpoint(text, keys) if keys else parse_checkpoint(text.partition("\n\n")[0] + "\n")
    except (ProofInvalid, UnicodeDecodeError) as error:
        raise CommandFailed(f"{log}/{CHECKPOINT} does not count: {error}; run `loglineos fsck`") from None
    return Tree(log, newest.size)


def _checked(
    spans: Sequence[Span], storage: Storage, tree: Tree, trusted: frozenset[str] | None
) -> Iterator[tuple[Span, list[tuple[str | None, str]]]]:
    """Each range with what is wrong with it."""
    from db_migration.archive.check import Range, problems_of  # pyarrow is slow to import

    before: dict[str, Range] = {}
    for span in spans:
        try:
            verify(span, trusted)
            told, last = Range.of(span.metadata or {}), before.get(str(span.id))
        except VerificationFailed as error:
            yield span, [(None, f"the archive span itself: {error.reason}")]
            continue
        except LedgerError as error:
            yield span, [(None, error.message)]
            continue
        reached = told.to <= tree.size
        problems = list(problems_of(told, last.end if last else BEGINNING, storage, tree if reached else None))
        if not reached:
            beyond = f"it ends at {told.to}, and the log in {tree.storage} at {tree.size}: it was not held against it"
            problems.append((None, beyond))
        if told.begin != (last.to if last else 0):
            problems.append(
                (None, f"it begins at {told.begin}, and the one before it ends at {last.to if last else 0}")
            )
        before[str(span.id)] = told
        yield span, problems
