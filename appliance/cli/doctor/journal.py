"""The service's log, where a journal keeps it."""

from __future__ import annotations

import subprocess

from appliance.limits import DOCTOR_LOG_LINE_COUNT, DOCTOR_LOG_MAX_BYTES, DOCTOR_PROGRAM_S

_COMMAND = (
    "journalctl", "--unit=bettong", f"--lines={DOCTOR_LOG_LINE_COUNT}", "--output=short-iso",
    "--no-hostname", "--no-pager", "--quiet",
)  # fmt: skip


def recent_log() -> str:
    """The newest lines; "" when there is no journal, or nothing of ours in it."""
    try:
        ended = subprocess.run(
            _COMMAND,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=DOCTOR_PROGRAM_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    if ended.returncode:
        return ""
    data = ended.stdout
    if len(data) > DOCTOR_LOG_MAX_BYTES:
        data = data[-DOCTOR_LOG_MAX_BYTES:].partition(b"\n")[2]
    return data.decode("utf-8", "replace")
