"""What can be read of a source without running it: its size, its entry, its imports, whether it keeps a state.

Python's own parser reads it, never runs it, and only after Monty's has found it sound and not deeply nested.
"""

from __future__ import annotations

import ast
import keyword
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from .errors import SandboxError

LONGEST = 262_144  # bytes


@dataclass(frozen=True)
class Import:
    """An import that has to work for the code to run, as a statement, and its place."""

    statement: str
    line: int
    column: int


def refuse_unfit(code: str, entry: str) -> None:
    """Raise SandboxError (`compile`) for what is not worth a worker."""
    if not entry.isidentifier() or keyword.iskeyword(entry):
        raise SandboxError("compile", f"{entry[:50]!r} is no name of a function")
    size = len(code.encode(errors="replace"))
    if size > LONGEST:
        raise SandboxError("compile", f"the source has {size} bytes, and at most {LONGEST} are allowed")
    surrogate = next((character for character in code if "\ud800" <= character <= "\udfff"), None)
    if surrogate:
        raise SandboxError("compile", f"the source holds {surrogate!r}, which no text can hold")


def tree_of(code: str) -> ast.Module | None:
    """The syntax tree; None where this Python's grammar is older than Monty's."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def refuse_entry(tree: ast.Module, entry: str) -> None:
    """Raise SandboxError (`compile`) unless `entry` is a function that one argument can be given to."""
    wanted = f"`def {entry}(argument)` is expected at the top of the source"
    found = [node for node in tree.body if isinstance(node, _FUNCTION) and node.name == entry]
    if not found:
        if entry not in _bound_names(tree):
            raise SandboxError("compile", f"there is no function {entry}; {wanted}")
        return
    function = found[-1]
    place = {"line": function.lineno, "column": function.col_offset + 1}
    if isinstance(function, ast.AsyncFunctionDef):
        raise SandboxError("compile", f"line {function.lineno}: {entry} is async; {wanted}", **place)
    given = function.args
    positional = len(given.posonlyargs) + len(given.args)
    required = positional - len(given.defaults)
    keywords = any(default is None for default in given.kw_defaults)
    if required > 1 or keywords or (positional == 0 and given.vararg is None):
        raise SandboxError("compile", f"line {function.lineno}: {entry} does not take one argument; {wanted}", **place)


_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def _bound_names(tree: ast.Module) -> set[str]:
    stored = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    defined = {node.name for node in ast.walk(tree) if isinstance(node, _FUNCTION)}
    imported = {name.asname or name.name for node in ast.walk(tree) if isinstance(node, _IMPORT) for name in node.names}
    return stored | defined | imported


_IMPORT = (ast.Import, ast.ImportFrom)


def imports_of(tree: ast.Module) -> Iterator[Import]:
    """Each import once, but for those in a `try`, which may fail."""
    attempts = [node for node in ast.walk(tree) if isinstance(node, ast.Try)]
    optional = {id(inner) for attempt in attempts for inner in ast.walk(attempt)}
    seen: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, _IMPORT) and id(node) not in optional:
            for name in node.names:
                statement = _statement(node, name.name)
                if statement not in seen:
                    seen.add(statement)
                    yield Import(statement, node.lineno, node.col_offset + 1)


def _statement(node: ast.Import | ast.ImportFrom, name: str) -> str:
    if isinstance(node, ast.Import):
        return f"import {name}"
    return f"from {'.' * node.level}{node.module or ''} import {name}"


# Names by which code can do what its syntax does not show, and modules in which a call leaves nothing behind (as a seed
# in `random` or a precision in `decimal` would be).
_OPAQUE = {"exec", "eval", "setattr", "globals", "vars"}
_STATELESS_MODULES = {"base64", "collections", "datetime", "functools", "hashlib", "itertools", "json", "math", "re",
                      "time", "typing", "unicodedata"}  # fmt: skip


def keeps_no_state(tree: ast.Module | None) -> bool:
    """Whether it is plain to see that a call cannot leave anything behind for the next: only then one session may
    serve several arguments."""
    if tree is None or not all(_plain_statement(node) for node in tree.body):
        return False
    for node in ast.walk(tree):
        if isinstance(node, ast.Global) or (isinstance(node, ast.Name) and node.id in _OPAQUE):
            return False
        if isinstance(node, _IMPORT) and not _modules_of(node) <= _STATELESS_MODULES:
            return False
        if isinstance(node, _FUNCTION) and not _plain_function(node):
            return False
    return True


def _modules_of(node: ast.Import | ast.ImportFrom) -> set[str]:
    return {name.name for name in node.names} if isinstance(node, ast.Import) else {node.module or ""}


def _plain_statement(node: ast.stmt) -> bool:
    if isinstance(node, ast.Assign):
        return _constant(node.value) and all(isinstance(target, ast.Name) for target in node.targets)
    if isinstance(node, ast.AnnAssign):
        return node.value is None or _constant(node.value)
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, (*_IMPORT, ast.FunctionDef))


def _plain_function(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    defaults = [*node.args.defaults, *node.args.kw_defaults]
    return not node.decorator_list and all(default is None or _constant(default) for default in defaults)


def _constant(node: ast.expr) -> bool:
    """Whether it is a value that nothing can change."""
    if isinstance(node, ast.Tuple):
        return all(_constant(item) for item in node.elts)
    if isinstance(node, ast.UnaryOp):
        return _constant(node.operand)
    if isinstance(node, ast.BinOp):
        return _constant(node.left) and _constant(node.right)
    return isinstance(node, ast.Constant)
