"""What the function may be asked, and how a wrong question is answered."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, ValidationError

from ledger.errors import InvalidInput
from ledger.span import Hash, Word, first_problem

from .xray.action import NEWEST, SECTIONS


class Event(BaseModel):
    """Fields that every action shares."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Migrate(Event):
    """Apply pending migrations; `phase: pre` stops before the first `post` one, `dry_run` only tells."""

    action: Literal["migrate"]
    phase: Literal["pre", "post"] | None = None
    dry_run: StrictBool = False


class Seed(Event):
    """Append the rows that the ledger does not have."""

    action: Literal["seed"]


class Query(Event):
    """One read-only statement; `params` fill `$1`, `$2`, …."""

    action: Literal["query"]
    sql: Word
    params: Annotated[list[Any], Field(max_length=1000)] = []


class Queue(Event):
    """What is pending, running and dead; `rebuild` puts the index back to what the ledger says."""

    action: Literal["queue"]
    rebuild: StrictBool = False


class Keys(Event):
    """Whose signatures count; with `retire`, what a retirement of that key would mean from a checkpoint size on."""

    action: Literal["keys"]
    retire: Hash | None = None
    from_size: Annotated[StrictInt, Field(ge=0)] | None = None


class Checkpoint(Event):
    """Seal what is new, for about `seconds`: then there may be `more`.

    `rebuild` writes the log again from the ledger's spans, from the checkpoint of `after` spans on.
    """

    action: Literal["checkpoint"]
    rebuild: StrictBool = False
    after: Annotated[StrictInt, Field(ge=0, le=2**53 - 1)] = 0
    seconds: Annotated[StrictInt, Field(ge=0, le=720)] = 720  # of the 15 minutes that db-deploy has


class Archive(Event):
    """Put what was sealed `older_than_days` ago into the archive, for about `seconds`: then there may be `more`."""

    action: Literal["archive"]
    older_than_days: Annotated[StrictInt, Field(ge=0, le=36_500)] = 365
    seconds: Annotated[StrictInt, Field(ge=1, le=720)] = 720  # of the 15 minutes that db-deploy has


class Era(Event):
    """The eras; with a `reason`, the next one begins first."""

    action: Literal["era"]
    reason: Annotated[Word, Field(max_length=1000)] | None = None


class Xray(Event):
    """What an operator wants to know: the named sections, all of them by default.

    `verify`: of how many of the newest spans hash and signature are recomputed, for two seconds at most.
    """

    action: Literal["xray"]
    sections: Annotated[list[Literal[SECTIONS]], Field(min_length=1)] = list(SECTIONS)  # type: ignore[valid-type]
    verify: Annotated[StrictInt, Field(ge=0, le=1_000_000)] = NEWEST


Request = Migrate | Seed | Query | Queue | Keys | Checkpoint | Archive | Era | Xray
_ACTIONS: dict[str, type[Request]] = {
    "migrate": Migrate,
    "seed": Seed,
    "query": Query,
    "queue": Queue,
    "keys": Keys,
    "checkpoint": Checkpoint,
    "archive": Archive,
    "era": Era,
    "xray": Xray,
}


def parse_event(event: object) -> Request:
    """A valid request. Raises InvalidInput that names the field and what was expected."""
    if not isinstance(event, dict):
        raise InvalidInput("event", "expected a JSON object with an action")
    action = event.get("action")
    kind = _ACTIONS.get(action) if isinstance(action, str) else None
    if kind is None:
        raise InvalidInput("action", f"expected one of {', '.join(_ACTIONS)}; got {action!r:.60}")
    try:
        return kind.model_validate(event)
    except ValidationError as error:
        raise first_problem(error, "", tuple(kind.model_fields)) from None
