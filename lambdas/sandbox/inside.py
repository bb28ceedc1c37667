"""Runs in the sandbox, ahead of the untrusted code: brings the argument in as JSON, and the answer out as JSON.

What it uses is bound as defaults, so that the code may call its own names `list`, `type` or `print`. It protects
nothing: whatever the code makes of these names, the host measures the text that comes out.
"""

import json as _json
from typing import Any as _Any

_loads = _json.loads


def _text(
    answer: _Any,
    limit: int,
    dumps: _Any = _json.dumps,
    is_a: _Any = isinstance,
    kind_of: _Any = type,
    length: _Any = len,
    mapping: _Any = dict,
    sequences: _Any = (list, tuple),
    string: _Any = str,
    wrong: _Any = TypeError,
    unfit: _Any = ValueError,
) -> _Any:
    """The answer as JSON, or more than `limit` characters. Raises TypeError for what JSON has not."""
    try:
        text = dumps(answer, allow_nan=False, ensure_ascii=False)
    except unfit as problem:  # not a number, or a circle
        raise wrong(string(problem))  # noqa: B904 - its cause says nothing more
    if length(text) > limit:
        return text[: limit + 1]
    rest = [answer]
    while rest:
        value = rest.pop()
        if is_a(value, mapping):
            for key in value:
                if not is_a(key, string):  # JSON would make a string of it
                    raise wrong("keys must be strings, and one is of type " + kind_of(key).__name__)
            rest.extend(value.values())
        elif is_a(value, sequences):
            rest.extend(value)
    return text


def _answer(answer: _Any, limit: int, text_of: _Any = _text, write: _Any = print) -> None:
    """Write the answer out."""
    write(text_of(answer, limit), end="")


def _each(
    entry: _Any,
    arguments: list[str],
    limit: int,
    text_of: _Any = _text,
    write: _Any = print,
    loads: _Any = _loads,
    dumps: _Any = _json.dumps,
    length: _Any = len,
    any_error: _Any = Exception,
) -> None:
    """Write a list of answers out, each as JSON text; null for an argument with which the entry failed."""
    answers: list[str | None] = []
    for argument in arguments:
        try:
            text = text_of(entry(loads(argument)), limit)
            answers.append(text if length(text) <= limit else None)
        except any_error:
            answers.append(None)
    write(dumps(answers), end="")
