"""Somebody at the ledger: what the commands ask the loader for as one user of one tenant, by that user's rights."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ledger.read import MAX_PAGE, Cursor
from loglineos.backend import Backend

FOLLOW_PAUSE_S = 1.0
BEGINNING = "beginning"

SpanBody = dict[str, Any]


@dataclass(frozen=True)
class Caller:
    """A user of a tenant, and the deployment that they speak to."""

    backend: Backend
    user: str
    tenant: str

    def ask(self, action: str, **fields: Any) -> dict[str, Any]:
        """The loader's body on success. Raises CommandFailed, or LedgerUnavailable."""
        return self.backend.load({"action": action, "user_id": self.user, "tenant_id": self.tenant, **fields})

    def append(self, **span: Any) -> SpanBody:
        """The span as the ledger sealed it."""
        body: SpanBody = self.ask("append", span=span)["spans"][0]
        return body

    def newest(self, entity_type: str, *, latest: bool = False) -> Iterator[SpanBody]:
        """All spans of a type that the user may see, newest first, read by the page as they are needed.

        `latest`: no outdated versions, and none of what has been deleted.
        """
        fields: dict[str, Any] = {"entity_type": entity_type, "limit": MAX_PAGE, "latest": latest}
        while True:
            body = self.ask("timeline", **fields)
            yield from body["spans"]
            if body["cursor"] == fields.get("before"):
                return
            fields["before"] = body["cursor"]

    def follow(self, entity_type: str, after: str) -> Iterator[SpanBody]:
        """What is committed after a cursor, in commit order, missing nothing. It never ends."""
        while True:
            body = self.ask("timeline", entity_type=entity_type, limit=MAX_PAGE, after=after)
            yield from body["spans"]
            after = body["cursor"]
            if not body["spans"]:
                time.sleep(FOLLOW_PAUSE_S)


def place_before(span: SpanBody) -> str:
    """The cursor after which a span comes first."""
    return str(Cursor(span["era"], int(span["xid"]), span["position"] - 1))


def place_of(span: SpanBody) -> str:
    """The cursor at which a span stands."""
    return str(Cursor(span["era"], int(span["xid"]), span["position"]))
