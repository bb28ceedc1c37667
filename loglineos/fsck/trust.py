"""Which key has to have signed which span (ledger.md, "Hash and signature": three separate keys)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from ledger.read import Cursor

Use = Literal["row", "loader", "checkpoint"]
_ROWS: Final = frozenset({"manifest", "function", "policy", "prompt", "provider"})
_NOTARYS: Final = frozenset({"checkpoint", "archive"})


class Trust(Protocol):
    """The keys whose signatures count."""

    def trusted(self, use: Use, cursor: Cursor | None = None) -> frozenset[str]:
        """Public keys (hex) for that use, at that place of the ledger; none: nobody has said which."""


def use_of(row: Mapping[str, Any]) -> Use:
    """Who is to sign the span: the release's key, the notary's, or the loader's."""
    if row["entity_type"] in _NOTARYS:
        return "checkpoint"
    of_system = row["owner_id"] == "system" and row["tenant_id"] == "system"
    return "row" if of_system and row["entity_type"] in _ROWS else "loader"


@dataclass(frozen=True)
class GivenKeys:
    """Keys that were given for each use, wherever a span stands."""

    row: frozenset[str] = frozenset()
    loader: frozenset[str] = frozenset()
    checkpoint: frozenset[str] = frozenset()

    def trusted(self, use: Use, cursor: Cursor | None = None) -> frozenset[str]:  # noqa: ARG002 - see Trust
        """See Trust."""
        return {"row": self.row, "loader": self.loader, "checkpoint": self.checkpoint}[use]
