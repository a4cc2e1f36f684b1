"""A format that reaches disk or wire has a page, and the page's example is read by a test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tidy.project import ROOT, files

PAGES = sorted(path for path in (ROOT / "docs/formats").glob("*.md") if path.name != "README.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_a_page_has_an_example_in_hexadecimal(page: Path) -> None:
    blocks = re.findall(r"```hex\n(.*?)```", page.read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        digits = re.sub(r"#.*", "", block)
        assert bytes.fromhex(digits)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_some_test_reads_the_page(page: Path) -> None:
    readers = [path for path in files(".py") if page.name in path.read_text()]
    assert [path for path in readers if "tests" in path.parts]


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs/formats/README.md").read_text()
    assert not [page.name for page in PAGES if page.name not in index]
