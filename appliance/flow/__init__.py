"""The Python API: a flow as one chain.

    flow = Flow("word-count")
    (
        flow.source(tcp.listen(7010), lines())
        .flat_map(words)
        .key_by(itself)
        .stateful(count, Total)
        .sink(tcp.connect("127.0.0.1:7002"), text("{word} => {count}"))
    )

It has the words of the flow file and makes the same plan; `bettong run app.py` takes the flows
found in a module. Nothing runs while a chain is written: what is wrong with it is told all at once,
by `Flow.plan`.
"""

from __future__ import annotations

from appliance.flow.chain import Stream, Windowed
from appliance.flow.flow import Flow

__all__ = ["Flow", "Stream", "Windowed"]
