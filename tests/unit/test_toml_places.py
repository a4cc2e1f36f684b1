"""The scanner finds the place of everything that tomllib reads, and of nothing else."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.toml_places import Path, Places

DOCUMENT = """\
# a comment with [brackets] and "quotes"
version = 1
a.b = "x # not a comment"   # but this is
'quoted key' . "an\\"other" = [1, [2, 3], { z = 4 }]

[table]
text = \"\"\"
first \\"\"\" still
last\"\"\"\"
raw = '''it's ] } # here'''
when = 1979-05-27 07:32:00  # a space inside
array = [
    "one",   # first
    { a = 1, b.c = 'two' },
]
[[list]]
name = "first"
[list.sub]
x = true
[[list]]
[list.sub]
x = false
[deep.er]
k = -1.5e3
[deep]
"""


def paths_of(value: Any, path: Path = ()) -> dict[Path, Any]:
    """Every path below `value` with what stands there."""
    found: dict[Path, Any] = {path: value} if path else {}
    if isinstance(value, dict):
        for key, inner in value.items():
            found |= paths_of(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found |= paths_of(inner, (*path, index))
    return found


def assert_agrees(text: str) -> None:
    """The same paths as tomllib, and behind each leaf's span the text of that very value."""
    expected = paths_of(tomllib.loads(text))
    places = Places(text)
    assert set(places.spots) == set(expected)
    for path, value in expected.items():
        spot = places.spots[path]
        if not isinstance(value, (dict, list)):
            raw = places.text[spot.value : spot.end]
            assert tomllib.loads("v = " + raw)["v"] == value
        if isinstance(path[-1], str):
            key = places.text[spot.key :].lstrip("[ \t")
            assert key.startswith((path[-1], '"', "'")), (path, key[:20])


def test_every_path_of_a_document_with_all_of_toml_has_its_place() -> None:
    assert_agrees(DOCUMENT)


def test_line_ends_of_windows_change_no_line() -> None:
    assert_agrees(DOCUMENT.replace("\n", "\r\n"))
    places = Places('a = 1\r\nb = "x"\r\n')
    assert places.position(places.spots[("b",)].value) == (2, 5)
    assert places.line(2) == 'b = "x"'


def test_lines_and_columns_count_from_one() -> None:
    places = Places("[t]\n  k = { x = 'y' }")
    spot = places.spots[("t", "k", "x")]
    assert places.position(spot.key) == (2, 9)
    assert places.position(spot.value) == (2, 13)
    assert places.line(2) == "  k = { x = 'y' }"


KEYS = st.sampled_from(["a", "b-1", "3", '"q q"', "'l.l'", '"e\\"s"', '"\\u00e9"'])
GAPS = st.sampled_from(["", " ", "\t", "  "])
STRINGS = st.sampled_from(
    [
        '"plain"', '"a\\"b # ]"', "'lit\\'", '""', "''",
        '"""m\nn\\"""x"""', '"""a"""""', "'''l'''''", "'''\nq ' ''r'''", '"""\\\n   cont"""',
    ]
)  # fmt: skip
BARE = st.sampled_from(
    ["1", "-2_000", "0x1F", "1.5e-3", "true", "inf", "1979-05-27 07:32:00", "07:32:00"]
)
LINES = st.sampled_from(["", " ", "\n", " # c ] }\n", "\n\n  "])


@st.composite
def arrays(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    items = draw(st.lists(inner, max_size=3))
    text = "[" + draw(LINES)
    for index, item in enumerate(items):
        text += item + draw(LINES)
        if index < len(items) - 1 or draw(st.booleans()):
            text += "," + draw(LINES)
    return text + "]"


@st.composite
def inline_tables(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    keys = draw(st.lists(KEYS, max_size=3, unique=True))
    pairs = [f"{key}{draw(GAPS)}={draw(GAPS)}{draw(inner)}" for key in keys]
    return "{" + draw(GAPS) + ", ".join(pairs) + draw(GAPS) + "}"


VALUES = st.recursive(
    STRINGS | BARE, lambda inner: arrays(inner) | inline_tables(inner), max_leaves=8
)


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Lines that are each TOML. A document with a key given twice is not: the caller skips it."""
    lines: list[str] = []
    for _ in range(draw(st.integers(0, 8))):
        key = ".".join(draw(st.lists(KEYS, min_size=1, max_size=3)))
        kind = draw(st.sampled_from(["pair", "pair", "pair", "header", "array header"]))
        if kind == "pair":
            lines.append(f"{draw(GAPS)}{key}{draw(GAPS)}={draw(GAPS)}{draw(VALUES)}{draw(GAPS)}# c")
        elif kind == "header":
            lines.append(f"{draw(GAPS)}[{draw(GAPS)}{key}{draw(GAPS)}]")
        else:
            lines.append(f"[[{key}]]")
    return "\n".join(lines)


@settings(max_examples=400, deadline=None)
@given(documents())
def test_the_scanner_agrees_with_tomllib_on_generated_documents(text: str) -> None:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert_agrees(text)
