"""The plain Python loops that Python steps are measured against: `python loops.py NAME IN OUT`.

Each calls the same function as the flow of that name, reads the same input and writes the same
bytes; nothing else: no errors set aside, no metrics, no state kept for a restart.
"""

from __future__ import annotations

import struct
import sys

import msgspec

from flows.functions import Ema, fahrenheit, score


class Reading(msgspec.Struct):
    device: str
    ts: int
    temp: float
    hum: float
    status: str


class Frame(msgspec.Struct):
    celsius: float


def ema(source: str, target: str) -> None:
    states: dict[str, Ema] = {}
    with open(source, "rb") as lines, open(target, "wb") as out:
        for line in lines:
            event = msgspec.json.decode(line, type=Reading)
            state = states.get(event.device)
            if state is None:
                state = states[event.device] = Ema()
            alert = score(state, event)
            if alert is not None:
                out.write(msgspec.json.encode(alert) + b"\n")


def celsius(source: str, target: str) -> None:
    frame = struct.Struct(">If")
    with open(source, "rb") as file, open(target, "wb") as out:
        while chunk := file.read(frame.size * 32_768):
            for size, value in frame.iter_unpack(chunk):
                out.write(frame.pack(size, fahrenheit(Frame(value))))


if __name__ == "__main__":
    {"ema": ema, "celsius": celsius}[sys.argv[1]](sys.argv[2], sys.argv[3])
