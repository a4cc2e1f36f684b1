"""The contracts of sources and sinks, and how they are found by name.

A connector is a dataclass with verbs; its fields are its configuration and there is no second
declaration. A source moves *chunks of bytes* and says to which partition they belong and how far it
has got after each; framing and decoding are the lane's work, and so are all guarantees: retry,
limits, numbering and spooling are wrapped around a sink and never written in one.

    @source("counter")
    class Counter:
        '''Say the numbers below `until`, one a line.'''

        until: int

        def open(self, positions: Mapping[str, bytes]) -> None:
            self._next = int(positions.get("", b"0"))

        def read(self, limit: int) -> Chunk | None:
            if self._next >= self.until:
                raise EndOfInput
            self._next += 1
            return Chunk(b"%d\\n" % (self._next - 1), position=b"%d" % self._next)

        def close(self) -> None:
            pass

A flow names it by path: `connector = { path = "counter.py:Counter", until = 10 }`.
"""

from __future__ import annotations

from appliance.connect.contracts import (
    Acknowledging,
    Batch,
    Bounded,
    Chunk,
    Confirming,
    EndOfInput,
    Later,
    Log,
    Messages,
    Native,
    NativeEnd,
    Numbered,
    Placed,
    Replayable,
    Resume,
    Sink,
    Source,
    Telling,
    guarantee,
    is_bounded,
    is_native,
    is_replayable,
)
from appliance.connect.options import (
    Address,
    Duration,
    OptionFault,
    Rate,
    Size,
    check_options,
    construct,
    is_secret,
)
from appliance.connect.records import Records
from appliance.connect.registry import (
    SINK_NAMES,
    SOURCE_NAMES,
    load_user_connector,
    sink,
    sink_class,
    source,
    source_class,
)
from appliance.connect.system import (
    address_text,
    listening_socket,
    own_stream,
    parse_address,
)

__all__ = [
    "Acknowledging",
    "Batch",
    "Bounded",
    "Chunk",
    "Confirming",
    "EndOfInput",
    "Later",
    "Log",
    "Messages",
    "Native",
    "NativeEnd",
    "Numbered",
    "Placed",
    "Records",
    "Replayable",
    "Resume",
    "Sink",
    "Source",
    "Telling",
    "guarantee",
    "is_bounded",
    "is_native",
    "is_replayable",
    "SINK_NAMES",
    "SOURCE_NAMES",
    "load_user_connector",
    "sink",
    "sink_class",
    "source",
    "source_class",
    "Address",
    "Duration",
    "OptionFault",
    "Rate",
    "Size",
    "check_options",
    "construct",
    "is_secret",
    "address_text",
    "listening_socket",
    "own_stream",
    "parse_address",
]
