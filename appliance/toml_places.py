"""Where each key and value of a TOML document stands.

`tomllib` alone parses values, and forgets where they were. This scanner knows nothing of values: it
walks a document that `tomllib` has accepted and notes, for every key path, the place of the key and
the span of the value. A path is the keys from the top, with an index for each element of an array:
`("source", "a", "schema", "x")`, `("step", "b", "from", 0)`. A property test holds it against
`tomllib`.
"""

from __future__ import annotations

import tomllib
from bisect import bisect_right

from msgspec import Struct

Path = tuple[str | int, ...]

_BARE_END = frozenset(",]}\n#")
_WHITE = " \t"


class Spot(Struct, frozen=True):
    """One key, or one element of an array (then the key's offset is the value's). Offsets count
    characters from the start of the document; `end` is behind the value. A table opened by a header
    has its header as value."""

    key: int
    value: int
    end: int


class Places:
    """The spots of a document, and lines and columns (from 1) for offsets in it."""

    def __init__(self, text: str) -> None:
        """`text` must have been read by `tomllib` without error."""
        self.text = text.replace("\r\n", "\n")
        self.spots: dict[Path, Spot] = {}
        self._starts = [0, *(i + 1 for i, char in enumerate(self.text) if char == "\n")]
        _Scanner(self.text, self.spots).document()

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, both from 1."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of a line."""
        start = self._starts[number - 1]
        end = self.text.find("\n", start)
        return self.text[start:] if end < 0 else self.text[start:end]


class _Scanner:
    """One pass over the text. `at` is the offset of the next character."""

    def __init__(self, text: str, spots: dict[Path, Spot]) -> None:
        self.text = text
        self.spots = spots
        self.at = 0
        self.arrays: dict[Path, int] = {}  # arrays of tables: how many tables each has so far

    def document(self) -> None:
        table: Path = ()
        while self.skip_lines():
            if self.text.startswith("[[", self.at):
                table = self.header(2)
            elif self.text[self.at] == "[":
                table = self.header(1)
            else:
                self.pair(table)

    def header(self, brackets: int) -> Path:
        """`[a.b]` or `[[a.b]]`: the path of the table that the next pairs belong to."""
        start = self.at
        self.at += brackets
        keys = self.keys()
        self.skip_white()
        self.at += brackets
        path: Path = ()
        for name, offset in keys[:-1]:
            path = self.inside((*path, name))
            self.note(path, offset, start, self.at)
        name, offset = keys[-1]
        path = (*path, name)
        if brackets == 2:
            self.note(path, offset, start, self.at)
            index = self.arrays.get(path, 0)
            self.arrays[path] = index + 1
            path = (*path, index)
            self.spots[path] = Spot(offset, start, self.at)
        else:
            # A table that was only implied so far gets its own header as its place.
            self.spots[path] = Spot(offset, start, self.at)
        return path

    def inside(self, path: Path) -> Path:
        """A header that goes through an array of tables means its last table."""
        count = self.arrays.get(path)
        return path if count is None else (*path, count - 1)

    def pair(self, table: Path) -> None:
        """`a.b = value`."""
        keys = self.keys()
        self.skip_white()
        self.at += 1  # the equals sign
        self.skip_white()
        path = table
        for name, offset in keys[:-1]:
            path = (*path, name)
            self.note(path, offset, offset, offset + len(name))
        name, offset = keys[-1]
        path = (*path, name)
        start = self.at
        self.value(path)
        self.spots[path] = Spot(offset, start, self.at)

    def note(self, path: Path, key: int, value: int, end: int) -> None:
        """A table met for the first time; later mentions do not move it."""
        if path not in self.spots:
            self.spots[path] = Spot(key, value, end)

    def keys(self) -> list[tuple[str, int]]:
        """A dotted key: the names and where each begins."""
        names: list[tuple[str, int]] = []
        while True:
            self.skip_white()
            start = self.at
            if self.text[start] in "\"'":
                self.string()
                raw = self.text[start : self.at]
                names.append((tomllib.loads("k = " + raw)["k"], start))
            else:
                while self.text[self.at] not in " \t.=]":
                    self.at += 1
                names.append((self.text[start : self.at], start))
            self.skip_white()
            if self.text[self.at] != ".":
                return names
            self.at += 1

    def value(self, path: Path) -> None:
        char = self.text[self.at]
        if char in "\"'":
            self.string()
        elif char == "[":
            self.array(path)
        elif char == "{":
            self.inline_table(path)
        else:
            self.bare()

    def array(self, path: Path) -> None:
        self.at += 1
        index = 0
        while self.skip_lines() and self.text[self.at] != "]":
            start = self.at
            element = (*path, index)
            self.value(element)
            self.spots[element] = Spot(start, start, self.at)
            index += 1
            self.skip_lines()
            if self.text[self.at] == ",":
                self.at += 1
        self.at += 1

    def inline_table(self, path: Path) -> None:
        self.at += 1
        while self.skip_lines() and self.text[self.at] != "}":
            self.pair(path)
            self.skip_lines()
            if self.text[self.at] == ",":
                self.at += 1
        self.at += 1

    def string(self) -> None:
        """Any of the four kinds of string; escapes matter only where they hide a quote."""
        quote = self.text[self.at]
        closing = quote * 3 if self.text.startswith(quote * 3, self.at) else quote
        self.at += len(closing)
        while not self.text.startswith(closing, self.at):
            self.at += 2 if quote == '"' and self.text[self.at] == "\\" else 1
        self.at += len(closing)
        if len(closing) == 3:  # up to two quotes may stand right before the closing three
            while self.at < len(self.text) and self.text[self.at] == quote:
                self.at += 1

    def bare(self) -> None:
        """A number, a boolean or a date (which may hold one space)."""
        start = self.at
        while self.at < len(self.text) and self.text[self.at] not in _BARE_END:
            self.at += 1
        self.at = start + len(self.text[start : self.at].rstrip(_WHITE))

    def skip_white(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in _WHITE:
            self.at += 1

    def skip_lines(self) -> bool:
        """Over white space, line ends and comments; False at the end of the document."""
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            elif char in " \t\n":
                self.at += 1
            else:
                return True
        return False
