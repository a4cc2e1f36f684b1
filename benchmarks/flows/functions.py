"""The user functions of the benchmarks: the flows call them, and so do the plain loops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

WEIGHT = 0.05  # of a new value in the averages
WARM_UP = 30  # values before the first alert


@dataclass(slots=True)
class Ema:
    """What one device's temperature has been like: exponential mean and variance."""

    count: int = 0
    mean: float = 0.0
    variance: float = 0.0


def score(state: Ema, event: Any) -> dict[str, Any] | None:
    """An alert when a value is more than three standard deviations off the device's average."""
    temp = event.temp
    off = temp - state.mean
    alert = None
    if state.count >= WARM_UP and off * off > 9.0 * state.variance:
        alert = {"device": event.device, "ts": event.ts, "temp": temp, "mean": state.mean}
    if state.count == 0:
        state.mean = temp
    else:
        step = WEIGHT * off
        state.mean += step
        state.variance = (1.0 - WEIGHT) * (state.variance + step * off)
    state.count += 1
    return alert


def fahrenheit(event: Any) -> float:
    """Degrees Fahrenheit."""
    return event.celsius * 1.8 + 32.0  # type: ignore[no-any-return]
