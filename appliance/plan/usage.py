"""Which fields of its event a user's function reads, found by looking at it and never by running
it.

When every use of the event is `event.name`, `event["name"]` or `event.get("name")`, the lane
decodes just those fields. When the event goes anywhere else (into a call, a result, another name),
the function may read any field.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: What an event has beside its fields.
METHODS = frozenset({"get", "keys", "items", "values", "as_dict"})


def fields_read(
    function: Callable[..., Any] | None, reference: str, base: str, position: int
) -> frozenset[str] | None:
    """The fields that a function (or a class's `on_event`) reads of its argument number `position`;
    None: maybe all.
    """
    try:
        tree = _tree(function, reference, base)
    except (OSError, TypeError, SyntaxError, ValueError):
        return None  # no source to look at: it may read any field
    if isinstance(tree, ast.ClassDef):
        methods = [
            node
            for node in tree.body
            if isinstance(node, ast.FunctionDef) and node.name == "on_event"
        ]
        return _uses(methods[0], position + 1) if methods else None
    return _uses(tree, position) if isinstance(tree, ast.FunctionDef) else None


def _tree(function: Callable[..., Any] | None, reference: str, base: str) -> ast.AST | None:
    if function is not None:
        module = ast.parse(textwrap.dedent(inspect.getsource(function)))
        return module.body[0] if module.body else None
    path, _, name = reference.rpartition(":")
    module = ast.parse(Path(base, path).read_text(encoding="utf-8"))
    found = [node for node in module.body if getattr(node, "name", None) == name]
    return found[-1] if found else None


def _uses(function: ast.FunctionDef, position: int) -> frozenset[str] | None:
    arguments = [*function.args.posonlyargs, *function.args.args]
    if function.decorator_list or position >= len(arguments):
        return None
    event = arguments[position].arg
    found: set[str] = set()
    expected = 0
    for node in ast.walk(function):
        name = _field(node, event)
        if name is not None:
            found.add(name)
            expected += 1
    mentions = sum(isinstance(node, ast.Name) and node.id == event for node in ast.walk(function))
    return frozenset(found) if mentions == expected else None


def _field(node: ast.AST, event: str) -> str | None:
    """The field that one of the three plain forms reads."""
    match node:
        case ast.Attribute(ast.Name(id=name), field, ast.Load()) if (
            name == event and field not in METHODS
        ):
            return field
        case ast.Subscript(ast.Name(id=name), ast.Constant(str(field)), ast.Load()) if (
            name == event
        ):
            return field
        case ast.Call(ast.Attribute(ast.Name(id=name), "get"), [ast.Constant(str(field)), *_]) if (
            name == event
        ):
            return field
    return None
