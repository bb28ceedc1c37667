"""Which route a request belongs to, by API Gateway's order: exact, greedy, `$default`."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote

DEFAULT = "$default"
Found = tuple[str, dict[str, str]]  # the route's key, the values of its path's variables


def find_route(keys: Iterable[str], method: str, path: str) -> Found | None:
    """The best of the routes `METHOD /path/{variable}/{rest+}`, `ANY …` and `$default`; None if none is."""
    best: tuple[tuple[int, ...], Found] | None = None
    for key in keys:
        rank, values = _match(key, method, path)
        if rank and (best is None or rank > best[0]):
            best = rank, (key, values)
    return best[1] if best else None


def _match(key: str, method: str, path: str) -> tuple[tuple[int, ...], dict[str, str]]:
    """How well it fits, the greater the better and empty for not at all; and the path's variables."""
    if key == DEFAULT:
        return (0,), {}
    wanted_method, _, pattern = key.partition(" ")
    if wanted_method not in (method, "ANY"):
        return (), {}
    values: dict[str, str] = {}
    ranks: list[int] = []
    wanted, given = pattern.split("/"), path.split("/")
    for n, part in enumerate(wanted):
        if part.startswith("{") and part.endswith("+}"):
            rest = "/".join(given[n:])
            values[part[1:-2]] = unquote(rest)
            return ((1, *ranks, int(wanted_method != "ANY")), values) if rest else ((), {})
        if n >= len(given):
            return (), {}
        if part.startswith("{") and given[n]:
            values[part[1:-1]] = unquote(given[n])
            ranks.append(0)
        elif part == given[n]:
            ranks.append(1)
        else:
            return (), {}
    return ((2, *ranks, int(wanted_method != "ANY")), values) if len(wanted) == len(given) else ((), {})
