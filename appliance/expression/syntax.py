"""The text of an expression: its syntax tree, where its parts stand, and what to say when it is not
one.
"""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import replace

from appliance.errors import Place
from appliance.expression.faults import ExpressionError
from appliance.expression.library import FUNCTIONS
from appliance.limits import EXPRESSION_TEXT_MAX_COUNT

# Texts and comments, which may contain anything; the operators that are looked for; and all else.
_TOKEN = re.compile(
    r"""(?P<text>'''.*?'''|\"\"\".*?\"\"\"|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|\#[^\n]*)"""
    r"""|(?P<sign>==|!=|<=|>=|:=|<>|&&|\|\||=|!|\?|;|[()\[\]{}])|(?P<word>\w+)|.""",
    re.DOTALL,
)
_WRONG_SIGNS = {
    "=": ("= sets nothing here", "write == to compare"),
    ":=": ("an expression sets nothing", "write == to compare"),
    "<>": ("<> is not part of expressions", "write !="),
    "&&": ("&& is not part of expressions", "write `and`"),
    "||": ("|| is not part of expressions", "write `or`"),
    "!": ("! is not part of expressions", "write `not`"),
    "?": ("? is not part of expressions", "write `x if condition else y`"),
    ";": ("there is one expression only", "leave out the semicolon"),
}
_WRONG_WORDS = {"AND": "and", "OR": "or", "NOT": "not", "IN": "in", "IF": "if", "ELSE": "else"}
_CLOSING = {")": "(", "]": "[", "}": "{"}

_REFUSED: dict[str, tuple[str, str]] = {
    "Lambda": ("functions cannot be made here", "write a Python step for it"),
    "NamedExpr": ("an expression sets nothing", "put it into `set` of a step before"),
    "JoinedStr": ("f-strings are not part of expressions", 'write format("{} °C", temp)'),
    "TemplateStr": ("t-strings are not part of expressions", 'write format("{} °C", temp)'),
    "Tuple": ("a tuple is not part of expressions", "write a list: [a, b]"),
    "Set": ("a set is not part of expressions", "write a list: [a, b]"),
    "Starred": ("* is not part of expressions", "write the items one by one"),
    "Constant": ("this constant is not part of expressions", ""),
    "Slice": ("a slice stands alone in its brackets", "write x[start:stop]"),
}
_LOOPS = ("ListComp", "SetComp", "DictComp", "GeneratorExp")


class Source:
    """One expression's text, read in brackets so that it may have line breaks."""

    def __init__(self, text: str, place: Place) -> None:
        self.text = text.replace("\r\n", "\n").replace("\r", "\n")
        self.place = place
        self.lines = self.text.split("\n")

    def tree(self) -> ast.expr:
        """The syntax tree. Raises ExpressionError."""
        if not self.text.strip():
            raise ExpressionError.of("an expression is missing", "write one").at(self.place)
        if len(self.text) > EXPRESSION_TEXT_MAX_COUNT:
            message = f"the expression is longer than {EXPRESSION_TEXT_MAX_COUNT} characters"
            raise ExpressionError.of(message, "compute a part before").at(self.place)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # an unknown escape in a text is a fault, too
                tree = ast.parse(f"({self.text}\n)", mode="eval").body
        except (RecursionError, MemoryError):
            message = "the expression is nested too deeply"
            raise ExpressionError.of(message, "compute a part before").at(self.place) from None
        except (SyntaxError, ValueError) as error:
            raise self.syntax_fault(error) from None
        if (tree.lineno, tree.col_offset) == (1, 0) and not isinstance(
            tree, ast.Tuple | ast.GeneratorExp
        ):
            # Our own bracket was closed by the text: `a) + (b`.
            raise self.syntax_fault(SyntaxError("the brackets do not match"))
        return tree

    def place_of(self, tree: ast.AST) -> Place:
        """Where a part of the tree begins."""
        line = getattr(tree, "lineno", 1) - 1
        return self.place_at(line, self.column(line, getattr(tree, "col_offset", 1)))

    def place_at(self, line: int, column: int) -> Place:
        """The place of a line and a column of the text, both from 0."""
        line = min(max(line, 0), len(self.lines) - 1)
        if line == 0 and self.place.column:
            return self.place.moved(column)
        if line == 0 and self.place.text:
            return self.place
        number = self.place.line + line if self.place.line else 0
        return replace(self.place, line=number, column=column + 1, text=self.lines[line])

    def column(self, line: int, offset: int) -> int:
        """A column in characters, from the parser's offset in bytes of UTF-8."""
        if line >= len(self.lines):  # the closing bracket of our own
            return 0
        before = ("(" + self.lines[0] if line == 0 else self.lines[line]).encode()[:offset]
        return max(len(before.decode(errors="ignore")) - (line == 0), 0)

    def name_of(self, tree: ast.Name | ast.Attribute) -> str:
        """A name as it is written: the parser itself would replace look-alikes, `µ` by `μ`."""
        line, offset = (tree.end_lineno or 1) - 1, tree.end_col_offset or 0
        end = self.column(line, offset)
        start = end
        while start and ("a" + self.lines[line][start - 1 : end]).isidentifier():
            start -= 1
        return self.lines[line][start:end]

    def syntax_fault(self, error: SyntaxError | ValueError) -> ExpressionError:
        """What is wrong with a text that is no expression: our own words where we know the slip."""
        known = self.known_slip()
        if known is not None:
            offset, message, remedy = known
            before = self.text[:offset].split("\n")
            return ExpressionError.of(message, remedy).at(
                self.place_at(len(before) - 1, len(before[-1]))
            )
        if not isinstance(error, SyntaxError) or error.lineno is None:
            return ExpressionError.of(f"this is no expression: {error.args[0]}").at(self.place)
        line, column = error.lineno - 1, (error.offset or 1) - 1
        if line >= len(self.lines):
            line, column = len(self.lines) - 1, len(self.lines[-1])
        elif line == 0:
            column -= 1
        return ExpressionError.of(f"this is no expression: {error.msg}").at(
            self.place_at(line, max(column, 0))
        )

    def known_slip(self) -> tuple[int, str, str] | None:
        """The first well-known slip in the text: its offset, what it is, what to write."""
        waiting: list[tuple[str, int]] = []
        for match in _TOKEN.finditer(self.text):
            sign, word = match["sign"], match["word"]
            named = sign == "=" and self.text[: match.start()].rstrip().endswith("where")
            if sign in _WRONG_SIGNS and not named:
                return (match.start(), *_WRONG_SIGNS[sign])
            if word in _WRONG_WORDS:
                return match.start(), f"{word} is not a word here", f"write `{_WRONG_WORDS[word]}`"
            if sign in _CLOSING.values():
                waiting.append((sign, match.start()))
            elif sign in _CLOSING and (not waiting or waiting.pop()[0] != _CLOSING[sign]):
                return (
                    match.start(),
                    f"this {sign} closes nothing",
                    "leave it out, or open it before",
                )
        if waiting:
            return waiting[-1][1], f"this {waiting[-1][0]} is never closed", "close it"
        return None


def refused(tree: ast.expr) -> tuple[str, str]:
    """Why a form of Python is not part of expressions, and what to write instead."""
    form = type(tree).__name__
    if form in _LOOPS:
        return "there are no loops in expressions", "write a Python step for it"
    return _REFUSED.get(form, ("this is not part of expressions", ""))


def method_remedy(source: Source, tree: ast.Call, function: ast.Attribute) -> str:
    """`x.lower()` is written lower(x)."""
    name = function.attr
    if name not in FUNCTIONS:
        return "write a function of the library: lower(x), not x.lower()"
    written = ast.unparse(function.value)
    if len(written) > 40 or tree.args:
        return f"write {FUNCTIONS[name].signature}, not x.{name}(…)"
    return f"write {name}({written}), not {written}.{name}()"
