"""What a frozen program takes from its environment, and which folders of killed ones it removes."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from appliance import clock
from appliance.frozen import take_environment
from appliance.limits import SWEEP_FOLDER_MAX_COUNT, SWEEP_MIN_AGE_S
from appliance.unpacked import MARKER, bootloader_of, sweep


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"LD_LIBRARY_PATH": "/packed"}, {}),
        (
            {"LD_LIBRARY_PATH": "/packed:/own", "LD_LIBRARY_PATH_ORIG": "/own"},
            {"LD_LIBRARY_PATH": "/own"},
        ),
        ({"_PYI_ARCHIVE_FILE": "/bettong", "_PYI_PARENT_PROCESS_LEVEL": "1"}, {}),
    ],
)
def test_what_user_code_starts_sees_nothing_of_the_bootloader(
    before: dict[str, str], after: dict[str, str]
) -> None:
    environ = {**before, "HOME": "/root"}
    assert take_environment(environ) == before
    assert environ == {**after, "HOME": "/root"}


def no_process() -> int:
    """The number of a process that has been and is no more."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def folder(
    parent: Path, pid: int, age_s: float = 2 * SWEEP_MIN_AGE_S, tail: str = "abcdef"
) -> Path:
    made = parent / f"_MEI{pid:08x}{tail}"
    made.mkdir()
    (made / MARKER).write_text("ours")
    then = clock.wall_us() / 1e6 - age_s
    os.utime(made / MARKER, (then, then))
    return made


def test_the_bootloader_stands_in_the_name() -> None:
    assert bootloader_of("_MEI0000302fiS3f4W") == 0x302F
    assert bootloader_of("_MEIxxxxxxxxiS3f4W") is None
    assert bootloader_of("_MEI302fiS3f4W") is None
    assert bootloader_of("_internal") is None


def test_what_a_killed_one_has_left_is_removed(tmp_path: Path) -> None:
    left = folder(tmp_path, no_process())
    assert sweep(tmp_path) == 1
    assert not left.exists()


def test_nothing_else_is_removed(tmp_path: Path) -> None:
    gone = no_process()
    alive = folder(tmp_path, os.getpid())
    young = folder(tmp_path, gone, age_s=0, tail="young0")
    held = folder(tmp_path, gone, tail="held00")
    foreign = folder(tmp_path, gone, tail="other0")
    (foreign / MARKER).unlink()
    pointing = tmp_path / f"_MEI{gone:08x}links0"
    (tmp_path / "elsewhere").mkdir()
    pointing.symlink_to(folder(tmp_path / "elsewhere", gone))
    with (held / MARKER).open() as marker:
        fcntl.flock(marker, fcntl.LOCK_SH)
        assert sweep(tmp_path) == 0
    assert {alive, young, held, foreign, pointing} <= set(tmp_path.iterdir())
    assert pointing.resolve().exists()


def test_one_start_removes_so_many(tmp_path: Path) -> None:
    gone = no_process()
    for number in range(SWEEP_FOLDER_MAX_COUNT + 1):
        folder(tmp_path, gone, tail=f"{number:06}")
    assert sweep(tmp_path) == SWEEP_FOLDER_MAX_COUNT
    assert sweep(tmp_path) == 1


def test_a_folder_that_is_not_there_has_nothing_to_remove(tmp_path: Path) -> None:
    assert sweep(tmp_path / "away") == 0
