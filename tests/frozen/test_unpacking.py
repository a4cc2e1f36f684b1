"""Where the one file unpacks itself: what is said when it cannot, and what is removed when it could
not be."""

from __future__ import annotations

import os
import signal

from appliance.limits import SWEEP_MIN_AGE_S
from appliance.unpacked import MARKER
from frozen.boxes import Box, needs_a_box
from frozen.test_frozen import TCP

pytestmark = needs_a_box

REMEDY = b"TMPDIR=/a/folder"


def test_a_folder_where_nothing_may_run_is_said(one_file: Box) -> None:
    ended = one_file.run("version", more={"TMP_OPTIONS": "noexec"})
    assert ended.returncode == 3
    assert b"/tmp at each start" in ended.stderr and b"noexec" in ended.stderr
    assert REMEDY in ended.stderr


def test_a_full_folder_is_said(one_file: Box) -> None:
    ended = one_file.run("version", more={"TMP_OPTIONS": "size=9m"})
    assert ended.returncode == 3
    assert b"9 MB are free" in ended.stderr and REMEDY in ended.stderr


def test_it_unpacks_where_it_is_told_to(one_file: Box) -> None:
    more = {"TMP_OPTIONS": "noexec", "TMPDIR": "/job"}
    ended = one_file.run("version", more=more)
    assert ended.returncode == 0, ended.stderr
    assert list(one_file.job.iterdir()) == []


def test_no_folder_at_all_is_said(one_file: Box) -> None:
    (one_file.root / "tmp").rmdir()
    try:
        ended = one_file.run("version")
    finally:
        (one_file.root / "tmp").mkdir()
    assert ended.returncode == 3
    assert b"can write to none" in ended.stderr and REMEDY in ended.stderr


def test_what_a_kill_has_left_is_removed_by_a_later_start(one_file: Box) -> None:
    """Not while somebody lives in it, not while it may still be being unpacked, and nothing that
    another program has left."""
    (one_file.job / "flow.toml").write_text(TCP)
    (one_file.root / "tmp" / "_MEI00000001abcdef").mkdir()
    (foreign,) = one_file.unpacked
    with one_file.running("run", "/job/flow.toml") as running:
        running.wait_for(" running ")
        (folder,) = set(one_file.unpacked) - {foreign}
        past = (folder / MARKER).stat().st_mtime - SWEEP_MIN_AGE_S - 1
        os.utime(folder / MARKER, (past, past))
        assert one_file.run("version").returncode == 0
        assert folder.exists(), "somebody lives in it"
        running.signal(signal.SIGKILL)
        running.end()
    assert folder.exists()
    os.utime(folder / MARKER)
    assert one_file.run("version").returncode == 0
    assert folder.exists(), "it may still be being unpacked"
    os.utime(folder / MARKER, (past, past))
    assert one_file.run("version").returncode == 0
    assert one_file.unpacked == [foreign]
