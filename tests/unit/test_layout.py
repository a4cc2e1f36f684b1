"""Where an installed Bettong has what."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from appliance.layout import Layout


def test_the_places_of_a_box() -> None:
    layout = Layout()
    assert layout.program("0.1.0") == Path("/opt/bettong/versions/0.1.0/bettong")
    assert layout.current == Path("/opt/bettong/current")
    assert layout.command == Path("/usr/bin/bettong")
    assert layout.settings == Path("/etc/bettong/bettong.toml")
    assert layout.flows == Path("/etc/bettong/flows")
    assert layout.data == Path("/var/lib/bettong")


def test_a_version_is_switched_by_its_link(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert layout.current_version() is None and layout.installed() == []
    for name in ("0.1.0", "0.2.0"):
        layout.version(name).mkdir(parents=True)
        layout.switch(name)
        assert layout.current_version() == name
        assert os.readlink(layout.current) == f"versions/{name}"
    assert layout.installed() == ["0.1.0", "0.2.0"]
    layout.switch("0.1.0")
    assert layout.current.resolve() == layout.version("0.1.0")
    assert sorted(path.name for path in layout.home.iterdir()) == ["current", "versions"]


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "1..2", "-1", "x"])
def test_what_is_no_version_leads_nowhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no name of a version"):
        Layout(tmp_path).version(name)
