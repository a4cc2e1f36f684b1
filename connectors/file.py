"""Files: read by the lane from where it left off; written by it at a place the cut decides.

A source's partitions are its files and a position is a byte offset, so a file is replayable.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from appliance.connect import Chunk, NativeEnd, Resume, sink, source
from appliance.errors import EnvironmentFailure
from appliance.limits import GLOB_MAX_COUNT


@source("file")
class FileSource:
    """Read the file at `path`, or those that match `glob` in the order of their names, to their
    ends.

    With `follow` the ends are not the end: what is appended is read as it comes. A file that is not
    there yet is waited for, and those that match `glob` later are read when they appear; one that
    was truncated is read from its start. When a log is rotated the old one is read to its end, then
    the new one.
    """

    path: Path | None = None
    glob: Path | None = None
    follow: bool = False

    def __post_init__(self) -> None:
        if (self.path is None) == (self.glob is None):
            raise ValueError('either path = "FILE" or glob = "PATTERN" is needed')
        if self.follow and self.glob is not None and "**" in self.glob.parts:
            raise ValueError(
                f"follow cannot watch all folders at any depth ({self.glob}): "
                "name each level, as in logs/*/*.log"
            )
        self._paths: list[str] = []

    def open(self, positions: Mapping[str, bytes]) -> None:
        self._paths = [str(self.path)] if self.path is not None else self._matching()
        for path in self._paths:
            self._check(path)

    def _matching(self) -> list[str]:
        import glob

        matching = glob.iglob(str(self.glob), recursive=True)
        found = sorted(path for path in matching if os.path.isfile(path))
        if len(found) > GLOB_MAX_COUNT:
            raise EnvironmentFailure(
                f"{self.glob} matches {len(found)} files; one source reads at most {GLOB_MAX_COUNT}"
            )
        if not found and not (self.follow and self._plain_folder().is_dir()):
            raise EnvironmentFailure(f"no file matches {self.glob}")
        return found

    def _plain_folder(self) -> Path:
        """Where the lane begins to watch: the folders before the first wildcard."""
        assert self.glob is not None
        parents = [*self.glob.parents][::-1]
        plain = [folder for folder in parents if not set(str(folder)) & set("*?[")]
        return plain[-1] if plain else Path()

    def _check(self, path: str) -> None:
        """Say now, in words, what the lane could only count later."""
        try:
            mode = os.stat(path).st_mode
        except FileNotFoundError as error:
            if self.follow and os.path.isdir(os.path.dirname(path) or "."):
                return  # the lane waits for it to appear
            raise EnvironmentFailure(f"there is no file {path}") from error
        except OSError as error:
            raise EnvironmentFailure(f"cannot read {path}: {error.strerror}") from error
        if not stat.S_ISREG(mode):
            raise EnvironmentFailure(f"{path} is not a file; a pipe can be read with stdin")
        if not os.access(path, os.R_OK):
            raise EnvironmentFailure(f"cannot read {path}: no permission")

    def native(self) -> NativeEnd:
        label = str(self.path if self.path is not None else self.glob)
        pattern = str(self.glob) if self.glob is not None and self.follow else ""
        return NativeEnd(
            "files", paths=tuple(self._paths), follow=self.follow, pattern=pattern, label=label
        )

    def bounded(self) -> bool:
        return not self.follow

    def replayable(self) -> bool:
        return True

    def read(self, limit: int) -> Chunk | None:
        raise AssertionError("the lane reads this source itself")

    def close(self) -> None:
        """Nothing: the lane opens and closes the files."""


@sink("file")
class FileSink:
    """Write results to the file at `path`, one a line for text formats.

    A run that starts from nothing replaces the file; otherwise results go on where the flow's state
    says, or behind what is there when the file is new to it.
    """

    path: Path

    def __post_init__(self) -> None:
        self._fd = -1

    def open(self, resume: Resume) -> None:
        # Not O_APPEND: with it the kernel ignores the place that is given to pwrite.
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        if resume.fresh:
            flags |= os.O_TRUNC
        try:
            self._fd = os.open(self.path, flags, 0o644)
        except FileNotFoundError as error:
            raise EnvironmentFailure(
                f"cannot write {self.path}: there is no folder {self.path.parent}"
            ) from error
        except OSError as error:
            raise EnvironmentFailure(f"cannot write {self.path}: {error.strerror}") from error

    def native(self) -> NativeEnd:
        fd, self._fd = self._fd, -1
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode):
            return NativeEnd("file", fd=fd, offset=status.st_size, label=str(self.path))
        return NativeEnd("stream", fd=fd, label=str(self.path))  # a pipe or a device

    def size(self) -> int:
        status = os.fstat(self._fd)
        return status.st_size if stat.S_ISREG(status.st_mode) else -1

    def write_at(self, place: int, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            count = os.pwrite(self._fd, view, place)
            view, place = view[count:], place + count

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def write(self, records: Sequence[bytes]) -> None:
        raise AssertionError("a file is written by place")

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
