"""A look at a user's Python file without running it: is the name there, and what is it?

`check` must find a missing file, a syntax error or a misspelt function, and must not execute
anything. So files are parsed, and only names bound at the top of the module are seen. What cannot
be known this way (a star import, a name made by a call) is let through; loading the flow finds it
then.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from appliance.errors import Fault, Place
from appliance.limits import FLOW_FILE_MAX_BYTES
from appliance.plan.table import nearest

_Function = ast.FunctionDef | ast.AsyncFunctionDef


class Found(Struct, frozen=True):
    """What a reference names. `kind`: function, class, or unknown (imported, assigned)."""

    kind: str
    positional_min: int = 0  # a function's: how many positional arguments it needs …
    positional_max: int | None = None  # … and takes; None: any number
    methods: frozenset[str] = frozenset()  # a class's own and those of bases in the same file
    open_bases: bool = False  # a class with a base from elsewhere may have more methods
    settings: frozenset[str] = (
        frozenset()
    )  # names with an annotation in a class's body: a dataclass's fields
    bases: frozenset[str] = frozenset()  # what stands behind a class's name, without its modules
    bare: bool = False  # a class with neither base nor decorator: it is just what is written there


def look(reference: str, base: str, place: Place) -> Found | Fault:
    """What `"score.py:Score"` names, its path relative to `base`; or the fault, which stands at
    `place` (where the reference is) or in the user's file (a syntax error)."""
    path_text, _, name = reference.rpartition(":")
    if not path_text or not name.isidentifier():
        remedy = 'write the file, a colon and the name: "score.py:Score"'
        return Fault(place, f'"{reference}" is not FILE.py:NAME', remedy)
    path = Path(base, path_text)
    parsed = _parse(path, path_text, place)
    if isinstance(parsed, Fault):
        return parsed
    names = dict(_bindings(parsed.body))
    if name in names:
        return _found(names[name], names)
    if "*" in names or "__getattr__" in names:
        return Found("unknown")
    callables = [
        word for word, node in names.items() if isinstance(node, (_Function, ast.ClassDef))
    ]
    remedy = nearest(name, [*names], listed=False) or nearest(name, callables[:12])
    return Fault(place, f"{path_text} has no {name!r}", remedy)


def _parse(path: Path, said: str, place: Place) -> ast.Module | Fault:
    try:
        with path.open("rb") as file:
            data = file.read(FLOW_FILE_MAX_BYTES + 1)
    except OSError as error:
        remedy = f"the path starts from {path.parent}" if not Path(said).is_absolute() else ""
        return Fault(place, f"{said} cannot be read: {error.strerror}", remedy)
    if len(data) > FLOW_FILE_MAX_BYTES:
        return Fault(place, f"{said} is larger than {FLOW_FILE_MAX_BYTES} bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of the user's own code; Python will say them when it runs
            return ast.parse(data, filename=str(path))
    except SyntaxError as error:
        text = (error.text or "").rstrip("\n")
        where = Place(str(path), error.lineno or 0, error.offset or 0, text)
        return Fault(where, f"not Python: {error.msg}")
    except (ValueError, RecursionError, MemoryError) as error:  # NUL bytes; nested without end
        return Fault(Place(str(path)), f"not Python: {error}")


def _bindings(body: list[ast.stmt]) -> Iterator[tuple[str, ast.AST]]:
    """Names bound at the top of a module, also inside if, try and with; later ones win."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name, node
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                yield alias.asname or alias.name.partition(".")[0], node
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                for part in ast.walk(target):
                    if isinstance(part, ast.Name):
                        yield part.id, node
        else:
            for field in ("body", "orelse", "finalbody"):
                yield from _bindings(getattr(node, field, []))
            for handler in getattr(node, "handlers", []):
                yield from _bindings(handler.body)


def _found(node: ast.AST, names: dict[str, ast.AST]) -> Found:
    if isinstance(node, ast.AsyncFunctionDef):
        return Found("async")
    if isinstance(node, ast.FunctionDef):
        least, most = _positional(node)
        known = not node.decorator_list  # a decorator may change what it takes
        return Found("function", least if known else 0, most if known else None)
    if isinstance(node, ast.ClassDef):
        methods, settings, is_open = _members(node, names, set())
        bases = frozenset(ast.unparse(base).rpartition(".")[2] for base in node.bases)
        bare = not node.bases and not node.decorator_list
        return Found(
            "class", 0, None, frozenset(methods), is_open, frozenset(settings), bases, bare
        )
    return Found("unknown")


def _positional(node: ast.FunctionDef) -> tuple[int, int | None]:
    arguments = node.args
    most = len(arguments.posonlyargs) + len(arguments.args)
    least = most - len(arguments.defaults)
    # A keyword-only argument without a default can never be given: show it as one positional too
    # many.
    if any(default is None for default in arguments.kw_defaults):
        least = most + 1
    return least, None if arguments.vararg else most


def _members(
    node: ast.ClassDef, names: dict[str, ast.AST], seen: set[str]
) -> tuple[set[str], set[str], bool]:
    """Methods and annotated names of a class with its bases in this file, and whether it has
    others."""
    seen.add(node.name)
    methods = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
    assigned = [
        target for item in node.body if isinstance(item, ast.Assign) for target in item.targets
    ]
    methods |= {target.id for target in assigned if isinstance(target, ast.Name)}
    settings = {
        item.target.id
        for item in node.body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    }
    is_open = bool(node.keywords)
    for base in node.bases:
        parent = names.get(base.id) if isinstance(base, ast.Name) else None
        if isinstance(parent, ast.ClassDef) and parent.name not in seen:
            more, fields, further = _members(parent, names, seen)
            methods |= more
            settings |= fields
            is_open |= further
        elif not (isinstance(base, ast.Name) and base.id == "object"):
            is_open = True
    return methods, settings, is_open
