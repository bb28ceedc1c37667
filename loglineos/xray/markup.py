"""HTML and SVG made by functions: whatever is not itself made here is text, and is escaped."""

from __future__ import annotations

from html import escape
from typing import Any, Final


class Markup(str):
    """What `tag` has made. Only this module makes it of anything else."""

    __slots__ = ()


Child = Any
_VOID: Final = frozenset(["meta", "rect", "line", "path", "circle"])


def tag(element: str, /, *children: Child, **attributes: Any) -> Markup:
    """`<element …>children</element>`. An attribute's underscores are hyphens; `class_` is `class`; None leaves it out.

    Names of elements and attributes are this program's own words; values and children may be anybody's.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if element in _VOID and not children:
        return Markup(f"<{element}{given}{'>' if element == 'meta' else '/>'}")
    return Markup(f"<{element}{given}>{join(children)}</{element}>")


def join(children: Any) -> Markup:
    """One after the other, each escaped unless it was made by `tag`."""
    return Markup("".join(child if isinstance(child, Markup) else text(child) for child in children))


def text(value: Any) -> str:
    """Text that is safe between tags and in attributes; what no reader could see is a space."""
    shown = "" if value is None else str(value)
    return escape("".join(c if c.isprintable() or c == "\n" else " " for c in shown), quote=True)


def trusted(source: str) -> Markup:
    """This program's own style sheet, which nobody else's words are part of."""
    return Markup(source)
