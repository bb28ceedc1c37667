"""The rows of `row/`: NDJSON lines, one for each released version of a span, their code in files beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from ledger.errors import InvalidInput
from ledger.ids import is_reserved_id
from ledger.span import ASSIGNED_COLUMNS, Span, parse_span

OWNER = {"owner_id": "system", "tenant_id": "system", "visibility": "public"}


def read_rows(directory: Path) -> dict[UUID, list[Span]]:
    """All rows by id, versions in order of `seq`; not yet hashed.

    Raises:
        InvalidInput: names file, line and field.
    """
    rows: dict[UUID, list[Span]] = {}
    for path in sorted(directory.rglob("*.ndjson")):
        for span in _read_file(path, path.relative_to(directory).as_posix()):
            rows.setdefault(span.id, []).append(span)
    if not rows:
        raise InvalidInput("row", f"no NDJSON rows in {directory}: the package is incomplete")
    for versions in rows.values():
        versions.sort(key=lambda span: span.seq)
        for first, second in pairwise(versions):
            if first.seq == second.seq:
                raise InvalidInput(f"{first.name} seq {first.seq}", "stands twice in the rows: keep one")
    return rows


def _read_file(path: Path, shown: str) -> Iterator[Span]:
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        place = f"{shown} line {number}"
        try:
            values = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise InvalidInput(place, f"one JSON object a line: {error}") from error
        if not isinstance(values, dict):
            raise InvalidInput(place, "one JSON object a line")
        yield _row(values, path.parent, place)


def _row(values: dict[str, Any], directory: Path, place: str) -> Span:
    if (code_file := values.pop("code_file", None)) is not None:
        if "code" in values:
            raise InvalidInput(f"{place}.code", "code lives in the file that code_file names, and nowhere else")
        values["code"] = _code(directory, code_file, f"{place}.code_file")
    for name in (*ASSIGNED_COLUMNS, "curr_hash"):
        if name in values:
            raise InvalidInput(f"{place}.{name}", "is given by the ledger; leave it out")
    for name, other in (("signature", "public_key"), ("public_key", "signature")):
        if name in values and other not in values:
            raise InvalidInput(f"{place}.{other}", f"is required beside {name}")
    for name, value in OWNER.items():
        if values.setdefault(name, value) != value:
            raise InvalidInput(f"{place}.{name}", f"rows belong to the system: {value!r}")
    span = parse_span(values, place)
    if not is_reserved_id(span.id):
        raise InvalidInput(f"{place}.id", "rows have ids of the form 00000000-0000-4000-8000-…")
    return span


def _code(directory: Path, name: Any, place: str) -> str:
    """The text of a file beside the row: no other folder, no link out of it."""
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]*", name) or (directory / name).is_symlink():
        raise InvalidInput(place, "expected the plain name of a file beside the row")
    try:
        return (directory / name).read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidInput(place, f"expected a file beside the row; {name}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise InvalidInput(place, f"expected UTF-8 text in {name}") from None
