"""The project's own files, as the tidiness tests see them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("appliance", "connectors")
FOLDERS = (
    *PACKAGES,
    "native",
    "config",
    "packaging",
    "tests",
    "benchmarks",
    "docs",
    ".ci",
)


@dataclass(frozen=True)
class Module:
    """One Python module of the product: `name` is dotted, a package's `__init__` is the package."""

    name: str
    path: Path

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))

    @property
    def tree(self) -> ast.Module:
        return parse(self.path)

    def imports(self) -> Iterator[str]:
        """The dotted names it imports, at whatever depth, those for type checkers too."""
        package = self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    above = package.split(".")[: len(package.split(".")) - node.level + 1]
                    base = ".".join([*above, base] if base else above)
                for alias in node.names:
                    inner = f"{base}.{alias.name}"
                    yield inner if inner in names() else base


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


@cache
def modules() -> tuple[Module, ...]:
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found.append(Module(".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return tuple(found)


@cache
def names() -> frozenset[str]:
    """The product's modules by name, and the packages that hold them."""
    dotted = {module.name for module in modules()} | {"appliance._native"}
    return frozenset(dotted | {name.rpartition(".")[0] for name in dotted})


def files(*suffixes: str) -> Iterator[Path]:
    """Everything we wrote with one of these endings, whatever folder it is in."""
    tops = [path for path in ROOT.iterdir() if path.is_file()]
    nested = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    for path in sorted(tops + nested):
        if path.suffix in suffixes and "__pycache__" not in path.parts:
            yield path


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))
