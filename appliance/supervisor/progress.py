"""One line on a terminal that says how far a bounded run is; it goes when something is said."""

from __future__ import annotations

import os

_CLEAR = "\r\x1b[K"


class Progress:
    """Writes and removes the line. `fd` is a terminal, or nothing is written at all."""

    def __init__(self, fd: int, begun_s: float) -> None:
        self._fd = fd
        self._begun_s = begun_s
        self._last = (begun_s, 0)
        self._shown = False

    def show(self, events: int, pending_bytes: int, now_s: float) -> None:
        """So many events until now."""
        before_s, before = self._last
        self._last = (now_s, events)
        rate = (events - before) / (now_s - before_s) if now_s > before_s else 0.0
        waiting = f", {pending_bytes:,} bytes waiting" if pending_bytes else ""
        took_s = now_s - self._begun_s
        # The cursor goes back to the start: what another process says covers the line.
        self._write(f"{_CLEAR}{events:,} events, {rate:,.0f}/s, {took_s:.0f} s{waiting}\r")
        self._shown = True

    def hide(self) -> None:
        """Make room for other words."""
        if self._shown:
            self._write(_CLEAR)
            self._shown = False

    def _write(self, text: str) -> None:
        try:
            os.write(self._fd, text.encode())
        except OSError:
            # The terminal has gone; the run goes on without it.
            return
