"""What we need of the kernel, by using each of it once."""

from __future__ import annotations

import ctypes
import os
import select
from collections.abc import Callable
from pathlib import Path

from appliance.cli.doctor.facts import ROOT, number_of
from appliance.cli.doctor.finding import Finding, fault, ok, warning
from appliance.limits import DOCTOR_WATCH_MIN_COUNT, DOCTOR_WATCHER_MIN_COUNT

GROUP = "kernel"

_PR_GET_PDEATHSIG = 2
_IN_CLOEXEC = os.O_CLOEXEC
_STRICT = 2  # of vm.overcommit_memory


def check_kernel(root: Path = ROOT) -> list[Finding]:
    """Features, and the settings that bound them."""
    return [
        check_features(),
        check_watches(root),
        check_overcommit(number_of(root / "proc/sys/vm/overcommit_memory")),
    ]


def check_features(features: dict[str, Callable[[], None]] | None = None) -> Finding:
    """Each is used once; a container's filter may refuse what the kernel has."""
    missing = []
    for name, use in (_FEATURES if features is None else features).items():
        try:
            use()
        except OSError as error:
            missing.append(f"{name} ({error.strerror})")
    about = os.uname()
    found = f"{about.sysname} {about.release} {about.machine}"
    if missing:
        remedy = "use Linux 5.4 or newer; in a container, let its filter allow them"
        return fault(GROUP, "features", f"{found} does not give us {', '.join(missing)}", remedy)
    return ok(GROUP, "features", f"{found}: {', '.join(_FEATURES)}")


def check_watches(root: Path = ROOT) -> Finding:
    """Followed files are watched: one watcher a source, one watch a file and its folder."""
    folder = root / "proc/sys/fs/inotify"
    watches = number_of(folder / "max_user_watches")
    watchers = number_of(folder / "max_user_instances")
    if watches is None or watchers is None:
        return ok(GROUP, "watches", "the kernel does not say")
    found = f"{watches:,} watches, {watchers:,} watchers a user"
    if watches < DOCTOR_WATCH_MIN_COUNT:
        remedy = f"sysctl fs.inotify.max_user_watches={DOCTOR_WATCH_MIN_COUNT}"
        return warning(GROUP, "watches", f"{found}: few for followed files", remedy)
    if watchers < DOCTOR_WATCHER_MIN_COUNT:
        remedy = f"sysctl fs.inotify.max_user_instances={DOCTOR_WATCHER_MIN_COUNT}"
        return warning(GROUP, "watches", f"{found}: few for several flows", remedy)
    return ok(GROUP, "watches", found)


def check_overcommit(mode: int | None) -> Finding:
    """Under strict accounting, stacks that are never used count too."""
    if mode != _STRICT:
        return ok(GROUP, "memory", "promised as it is asked for")
    remedy = "sysctl vm.overcommit_memory=0, unless something else on the box needs 2"
    return warning(GROUP, "memory", "strict accounting: a worker may be refused memory", remedy)


# ---- the features ----


def _epoll() -> None:
    select.epoll().close()


def _eventfd() -> None:
    os.close(os.eventfd(0, os.EFD_CLOEXEC))


def _memfd() -> None:
    os.close(os.memfd_create("bettong-doctor", os.MFD_CLOEXEC))


def _inotify() -> None:
    os.close(_call("inotify_init1", _IN_CLOEXEC))


def _death_signal() -> None:
    number = ctypes.c_int()
    _call("prctl", _PR_GET_PDEATHSIG, ctypes.byref(number))


def _call(name: str, *arguments: object) -> int:
    """A function of the C library. OSError."""
    result = getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(result)


_FEATURES: dict[str, Callable[[], None]] = {
    "epoll": _epoll,
    "eventfd": _eventfd,
    "memfd": _memfd,
    "inotify": _inotify,
    "death signal": _death_signal,
}
