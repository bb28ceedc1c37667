"""What a policy may ask for: the answer of its untrusted code, taken apart (docs/policies.md)."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError

from ledger.errors import InvalidInput
from ledger.span import JsonObject, SpanId, Text, first_problem

MAX_ACTIONS: Final = 10  # of one evaluation

Word = Annotated[Text, Field(min_length=1, max_length=100)]


class Strict(BaseModel):
    """Nothing that is not asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Run(Strict):
    """Ask for a run of a function: a `request`."""

    action: Literal["run"]
    function_id: SpanId
    input: Any = None


class EmitSpan(Strict):
    """Append a span, within the rules of a caller's own append."""

    action: Literal["emit_span"]
    span: JsonObject


class StatusPatch(Strict):
    """Mark the span that was seen, once for each status."""

    action: Literal["status_patch"]
    status: Word


class Metric(Strict):
    """Record a measured value."""

    action: Literal["metric"]
    name: Annotated[StrictStr, Field(pattern=r"^[A-Za-z][A-Za-z0-9]{0,99}$")]
    value: Annotated[float, Field(allow_inf_nan=False, strict=True)]
    unit: Literal["Milliseconds", "Seconds", "Bytes", "Percent", "Count", "None"] = "None"
    dimensions: Annotated[dict[Word, Word], Field(max_length=5)] = {}


class Rollup(Strict):
    """Add to the sums of one tenant, day and key."""

    action: Literal["rollup"]
    name: Word
    day: Annotated[StrictStr, Field(pattern=r"^\d{4}-\d\d-\d\d$")]
    key: Annotated[dict[Word, Word], Field(max_length=5)] = {}
    sums: Annotated[dict[Word, Annotated[StrictInt, Field(ge=0, le=2**40)]], Field(min_length=1, max_length=10)]


class Report(Strict):
    """Tell the operators. They are no members of the tenant: `message` must not repeat what is private."""

    action: Literal["report"]
    message: Annotated[Text, Field(min_length=1, max_length=500)]


class Violation(Strict):
    """Record that the tenant reached a limit, once for each day and kind."""

    action: Literal["violation"]
    kind: Word
    limit: StrictInt
    used: StrictInt


Action = Run | EmitSpan | StatusPatch | Metric | Rollup | Report | Violation
OF_TENANTS: Final[dict[str, type[Action]]] = {
    "run": Run,
    "emit_span": EmitSpan,
    "status_patch": StatusPatch,
    "metric": Metric,
}
OF_THE_SYSTEM: Final[dict[str, type[Action]]] = {
    **OF_TENANTS,
    "rollup": Rollup,
    "report": Report,
    "violation": Violation,
}


def parse_actions(answer: Any, allowed: dict[str, type[Action]]) -> list[Action]:
    """The actions that `on(span)` returned: None, one, or a list of them.

    Raises:
        InvalidInput: names the field and what was expected.
    """
    asked = [] if answer is None else answer if isinstance(answer, list) else [answer]
    if len(asked) > MAX_ACTIONS:
        raise InvalidInput("actions", f"at most {MAX_ACTIONS} for one span, got {len(asked)}")
    return [_parse(values, f"actions[{number}]", allowed) for number, values in enumerate(asked)]


def _parse(values: Any, path: str, allowed: dict[str, type[Action]]) -> Action:
    if not isinstance(values, dict):
        raise InvalidInput(path, 'expected an object such as {"action": "run", "function_id": "…"}')
    name = values.get("action")
    kind = allowed.get(name) if isinstance(name, str) else None
    if kind is None:
        raise InvalidInput(f"{path}.action", f"expected one of {', '.join(allowed)}; got {name!r:.60}")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise first_problem(error, path, tuple(kind.model_fields)) from None
