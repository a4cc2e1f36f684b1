"""The clock: is it set, does anybody keep it right, and is it cheap to read?"""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass
from pathlib import Path

from appliance import clock
from appliance.cli.doctor.facts import ROOT, text_of
from appliance.cli.doctor.finding import Finding, fault, ok, warning

GROUP = "clock"

#: Clocks of the kernel that take a system call, or a slow device, for each reading.
_SLOW = {"hpet", "acpi_pm", "jiffies", "refined-jiffies", "pit"}

_STA_UNSYNC, _TIME_ERROR = 0x40, 5
_TIMEX_BYTES = 512  # `struct timex` has 208 on 64-bit Linux
_TIMEX_MAX_ERROR_AT, _TIMEX_STATUS_AT = 24, 40


@dataclass(frozen=True)
class Kept:
    """What the kernel knows of its clock: whether somebody keeps it right, and how far off it may
    be, in microseconds."""

    synchronised: bool
    error_max_us: int


def check_clock(root: Path = ROOT) -> list[Finding]:
    """All of it, as it is now."""
    return [
        check_set(clock.known_s(), clock.wall_us()),
        check_kept(ask_kernel()),
        check_source(root),
    ]


def check_set(known_s: int, wall_us: int) -> Finding:
    """Whether the time can be true. `known_s` is 0 while it cannot."""
    text = clock.utc_text(wall_us)
    if known_s:
        return ok(GROUP, "set", text)
    remedy = "set the clock (`date -s`), or connect the box to a time server; a box without a"
    return fault(
        GROUP, "set", f"{text} is before this program was made", f"{remedy} battery needs one"
    )


def check_kept(kept: Kept | None) -> Finding:
    """Whether a time service keeps it right."""
    if kept is None:
        remedy = "look at it with `timedatectl`"
        return warning(GROUP, "synchronised", "the kernel does not say", remedy)
    if kept.synchronised:
        return ok(GROUP, "synchronised", f"at most {kept.error_max_us / 1000:,.0f} ms off")
    remedy = "start a time service: `timedatectl set-ntp true`, chrony or ntpd"
    return warning(GROUP, "synchronised", "nobody keeps the clock right: it drifts", remedy)


def check_source(root: Path = ROOT) -> Finding:
    """What the kernel reads the time from."""
    folder = root / "sys/devices/system/clocksource/clocksource0"
    name = text_of(folder / "current_clocksource")
    if name not in _SLOW:
        return ok(GROUP, "source", name or "the kernel does not say")
    others = text_of(folder / "available_clocksource")
    remedy = f"see why the kernel prefers it (`dmesg | grep -i clocksource`); there are: {others}"
    return warning(GROUP, "source", f"{name} is slow to read", remedy)


def ask_kernel() -> Kept | None:
    """`adjtimex`, which changes nothing when it is asked to change nothing."""
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    except (AttributeError, OSError):
        return None
    if state < 0:
        return None
    status = struct.unpack_from("<i", buffer, _TIMEX_STATUS_AT)[0]
    error_max_us = struct.unpack_from("<q", buffer, _TIMEX_MAX_ERROR_AT)[0]
    return Kept(state != _TIME_ERROR and not status & _STA_UNSYNC, error_max_us)
