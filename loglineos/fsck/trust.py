"""Which key has to have signed which span (ledger.md, "Hash and signature": three separate keys)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ledger.keys import Use

_ROWS: Final = frozenset({"manifest", "function", "policy", "prompt", "provider"})
_NOTARYS: Final = frozenset({"checkpoint", "archive"})


def use_of(row: Mapping[str, Any]) -> Use:
    """Who is to sign the span: the release's key, the notary's, or the loader's."""
    if row["entity_type"] in _NOTARYS:
        return "checkpoint"
    of_system = row["owner_id"] == "system" and row["tenant_id"] == "system"
    return "row" if of_system and row["entity_type"] in _ROWS else "loader"
