"""Spans as a person reads them, each proved on this side: the answer is not simply believed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from ledger.errors import LedgerError
from ledger.proof import verify
from ledger.span import Span
from loglineos.output import Output

COLUMNS = ["at", "type", "who", "did", "this", "status", "proof", "id", "seq"]


def proof_of(span: dict[str, Any]) -> str:
    """`signed` or `hash` (unsigned) where the columns match; else `BROKEN`, with the reason."""
    try:
        return "signed" if verify(Span.model_validate(span), None) else "hash"
    except LedgerError as error:
        return f"BROKEN: {error.details['reason']}"


def show_spans(output: Output, spans: Sequence[dict[str, Any]], *, header: bool = True) -> None:
    """A table, or with JSON a line for each."""
    if output.as_json:
        for span in spans:
            click.echo(json.dumps({**span, "proof": proof_of(span)}, ensure_ascii=False))
        return
    rows = [
        (span["at"][:23], span["entity_type"], span["who"], span["did"], span["this"], span.get("status"),
         proof_of(span), span["id"], span["seq"])
        for span in spans
    ]  # fmt: skip
    if rows or header:
        output.table(COLUMNS if header else [""] * len(COLUMNS), rows)
