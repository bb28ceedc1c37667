"""prompt_fetch_kernel: renders a prompt's template with the caller's variables, once and only once."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, StrictStr
from pydantic_core import PydanticCustomError

if TYPE_CHECKING:
    from stage0_loader.context import Context

BY_NAME_SQL: Final = """
SELECT id FROM ledger.current_span
WHERE visibility = 'public' AND entity_type = 'prompt' AND owner_id = 'system' AND name = %s
"""
PLACE: Final = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")


def _as_text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise PydanticCustomError("variable", "text or a number")
    return str(value)


class Input(BaseModel):
    """Which prompt, by id or name, which of its versions (the latest), and what to put in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt_id: Annotated[UUID, BeforeValidator(str)] | None = None
    name: StrictStr | None = None
    variables: dict[str, Annotated[str, BeforeValidator(_as_text)]] | None = None
    seq: Annotated[StrictInt, Field(ge=0)] | None = None


def main(ctx: Context) -> dict[str, Any]:
    """The rendered text, and which template it came from."""
    request = ctx.parse(Input)
    if (request.prompt_id is None) == (request.name is None):
        raise ctx.rejected("prompt_id: expected either prompt_id or name", field="prompt_id")
    prompt_id = request.prompt_id or _id_of(ctx, request.name)
    span = ctx.system_span(prompt_id, "prompt", request.seq) if prompt_id else None
    if span is None:
        field = "prompt_id" if request.name is None else "name"
        raise ctx.rejected(f"{field}: there is no such prompt", field=field)
    metadata = span.metadata or {}
    values = request.variables or {}
    for name in metadata["variables"]:
        if name not in values:
            raise ctx.rejected(f"variables.{name}: is required by {span.name}", field=f"variables.{name}")
    for name in values:
        if name not in metadata["variables"]:
            raise ctx.rejected(
                f"variables.{name}: {span.name} only has {', '.join(metadata['variables'])}",
                field=f"variables.{name}",
            )
    template = metadata["template"]
    return {
        # One pass: what a value contains is text, whatever it looks like.
        "text": PLACE.sub(lambda found: values[found[1]], template),
        "prompt_id": str(span.id),
        "name": span.name,
        "seq": span.seq,
        "template_hash": hashlib.sha256(template.encode()).hexdigest(),
        "curr_hash": span.curr_hash,
    }


def _id_of(ctx: Context, name: str | None) -> UUID | None:
    rows = ctx.ledger.query(BY_NAME_SQL, [name])
    return rows[0]["id"] if rows else None
