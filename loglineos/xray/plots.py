"""Plots as static SVG: bars over time, stacked by kind; bars side by side; a line with its forecast.

Colours are classes of the page's style sheet, so that they follow light and dark. Each plot has a title for those who
do not see it, and the page has its figures as a table beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log10
from typing import Final

from loglineos.xray.markup import Markup, tag

WIDTH: Final = 720
HEIGHT: Final = 240
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 12, 34
COLOURS: Final = 8


def stacked(title: str, labels: Sequence[str], series: Sequence[tuple[str, Sequence[float]]]) -> Markup:
    """A bar for each label, put together from each series' value there."""
    totals = [sum(values[n] for _, values in series) for n in range(len(labels))]
    top = _top(max(totals, default=0))
    step = (WIDTH - LEFT - RIGHT) / max(len(labels), 1)
    bars: list[Markup] = []
    for n, label in enumerate(labels):
        floor = 0.0
        for colour, (name, values) in enumerate(series):
            if values[n]:
                y, height = _y(floor + values[n], top), _y(floor, top) - _y(floor + values[n], top)
                place = {
                    "x": _n(LEFT + n * step + step * 0.1),
                    "width": _n(step * 0.8),
                    "height": _n(height),
                    "y": _n(y),
                }
                said = tag("title", f"{label}: {name} {_short(values[n])}")
                bars.append(tag("rect", said, class_=_colour(colour), **place))
                floor += values[n]
    return _figure(title, [*_grid(top), *bars, *_labels(labels, step)], [name for name, _ in series])


def across(title: str, rows: Sequence[tuple[str, float]], unit: str = "") -> Markup:
    """A horizontal bar for each row, the value at its end."""
    line, left = 24, 190
    widest = max((value for _, value in rows), default=0) or 1
    drawn: list[Markup] = []
    for n, (name, value) in enumerate(rows):
        y, width = TOP + n * line, (WIDTH - left - 90) * value / widest
        drawn += [
            tag("text", _clipped(name, 26), tag("title", name), x=left - 8, y=y + 15, text_anchor="end"),
            tag("rect", x=left, y=y + 3, width=_n(max(width, 1)), height=line - 8, class_=_colour(0)),
            tag("text", f"{_short(value)}{unit}", x=_n(left + width + 6), y=y + 15),
        ]
    return _figure(title, drawn, [], height=TOP + line * len(rows) + 8)


def forecast(
    title: str, past: Sequence[tuple[str, float]], ahead: Sequence[tuple[str, float]], limit: float | None
) -> Markup:
    """A line through what was, dashed through what will be, and the limit, if it is near enough to be seen."""
    points = [*past, *ahead]
    top = _top(max([value for _, value in points] + ([limit] if limit else []), default=0))
    step = (WIDTH - LEFT - RIGHT) / max(len(points) - 1, 1)
    places = [(LEFT + n * step, _y(value, top)) for n, (_, value) in enumerate(points)]
    drawn = [*_grid(top), tag("path", d=_path(places[: len(past)]), class_="line")]
    if ahead:
        drawn.append(tag("path", d=_path(places[len(past) - 1 :]), class_="line dashed"))
    if limit:
        y = _n(_y(limit, top))
        said = f"storage: {_short(limit)} GiB"
        drawn.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="limit"))
        drawn.append(tag("text", said, x=LEFT + 6, y=float(y) + 14, class_="limit-text"))
    return _figure(title, [*drawn, *_labels([label for label, _ in points], step, at_points=True)], [])


def _figure(title: str, drawn: Sequence[Markup], names: Sequence[str], height: float = HEIGHT) -> Markup:
    plot = tag("svg", tag("title", title), *drawn, viewBox=f"0 0 {WIDTH} {_n(height)}", role="img", aria_label=title)
    keys = [tag("li", tag("span", class_=f"key {_colour(n)}"), name) for n, name in enumerate(names)]
    return tag(
        "figure", tag("figcaption", title), plot, *([tag("ul", *keys, class_="legend")] if len(keys) > 1 else [])
    )


def _grid(top: float) -> list[Markup]:
    lines: list[Markup] = []
    for n in range(5):
        value, y = top * n / 4, _n(_y(top * n / 4, top))
        lines += [tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"),
                  tag("text", _short(value), x=LEFT - 8, y=float(y) + 4, text_anchor="end")]  # fmt: skip
    return lines


def _labels(labels: Sequence[str], step: float, *, at_points: bool = False) -> list[Markup]:
    """As many as there is room for."""
    every = max(1, ceil(len(labels) * 62 / (WIDTH - LEFT - RIGHT)))
    shift = 0 if at_points else step / 2
    return [
        tag("text", label, x=_n(LEFT + n * step + shift), y=HEIGHT - 10, text_anchor="middle")
        for n, label in enumerate(labels)
        if n % every == 0
    ]


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * value / top


def _top(largest: float) -> float:
    """A round number that is not below the largest value."""
    if largest <= 0:
        return 4.0
    unit = 10.0 ** int(log10(largest)) if largest >= 1 else 0.1
    return float(next(unit * n for n in (1, 2, 3, 4, 5, 6, 8, 10, 20) if unit * n >= largest))


def _path(places: Sequence[tuple[float, float]]) -> str:
    return "M" + " L".join(f"{_n(x)},{_n(y)}" for x, y in places) if places else "M0,0"


def _colour(n: int) -> str:
    return f"c{n % COLOURS}"


def _clipped(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _short(value: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 10 * size or (value >= size and value % size == 0):
            return f"{value / size:.3g}{unit}"
    return f"{value:,.4g}" if value < 1e4 else f"{value:,.0f}"


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
